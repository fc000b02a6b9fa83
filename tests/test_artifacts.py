"""Files in a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.artifacts import artifacts_in, fenced_in


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("```python title=app.py\nx\n```", "app.py"),
        ('```ts {file="src/a.ts"}\nx\n```', "src/a.ts"),
        ("```ts:src/a.ts\nx\n```", "src/a.ts"),
        ("```ts src/a.ts\nx\n```", "src/a.ts"),
        ("```src/a.ts\nx\n```", "src/a.ts"),
        ("**`src/a.ts`**\n\n```ts\nx\n```", "src/a.ts"),
        ("### ./a.ts\n```ts\nx\n```", "a.ts"),
        ("1. Datei: `a.ts` (neu)\n```ts\nx\n```", "a.ts"),
        ("```js\n// web/d.js\nx\n```", "web/d.js"),
        ("```html\n<!-- index.html -->\nx\n```", "index.html"),
        ("~~~make\n# Makefile\nx\n~~~", "Makefile"),
        ("```sh\nnpm install\n```", None),
        ("See this code.\n```python\nx\n```", None),
        ("../../etc/passwd.txt\n```\nx\n```", None),
        ("```py title=/etc/cron.py\nx\n```", None),
        ("```py title=a/../../b.py\nx\n```", None),
    ],
)
def test_a_file_is_named_by_its_fence_the_line_above_or_its_first_comment(
    text: str, name: str | None
) -> None:
    (code,) = fenced_in(text)
    assert code.name == name


def test_the_content_of_a_file_is_what_stands_in_its_fence() -> None:
    text = "Intro.\n\n````md title=a.md\n```py\nx\n```\n````\n\n`b.py`\n```py\ny\n```\n```py title=c.py\nopen"
    assert {a.name: text[a.start : a.end] for a in artifacts_in(text)} == {
        "a.md": "```py\nx\n```\n",
        "b.py": "y\n",
        "c.py": "open",
    }


def test_of_two_files_of_one_name_the_last_counts() -> None:
    text = "```py title=a.py\nold\n```\n```py title=a.py\nnew\n```\n"
    (artifact,) = artifacts_in(text)
    assert text[artifact.start : artifact.end] == "new\n"


parts = st.sampled_from(
    ["```\n", "```py title=a.py\n", "~~~\n", "text\n", "`b.ts`\n", "\n", "````\n", "  ```", "é🦀"]
)


@given(st.lists(parts, max_size=14).map("".join))
def test_fences_stand_in_order_and_within_the_text(text: str) -> None:
    at = 0
    for code in fenced_in(text):
        assert at <= code.lead <= code.start <= code.body <= code.body_end <= code.end <= len(text)
        at = code.end
