"""Nothing a model writes reaches a terminal as anything but text."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.cli.render.sanitize import Sanitizer, clean, one_line

# Text rich in what starts, parts and ends control sequences.
hostile = st.text(
    st.one_of(
        st.sampled_from(
            "\x1b\x9b\x9d\x90\x98\x9e\x9f\x9c\x07\x18\x1a[]PX^_\\;?0mHJ hcL\n\t\r\b\x00\u202e\u2066"
        ),
        st.characters(),
    ),
    max_size=200,
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@given(hostile, st.lists(st.integers(0, 200)))
def test_any_split_gives_what_the_whole_gives(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    sanitizer = Sanitizer()
    pieces = [sanitizer.feed(text[start:end]) for start, end in pairwise(edges)]
    assert "".join(pieces) == clean(text)


@given(hostile)
def test_no_control_survives_and_cleaning_twice_changes_nothing(text: str) -> None:
    cleaned = clean(text)
    assert not CONTROL.search(cleaned)
    assert clean(cleaned) == cleaned


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
def test_plain_text_is_left_alone(text: str) -> None:
    assert clean(f"{text}\n\t{text}") == f"{text}\n\t{text}"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;2;1;2;3mred", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;ZXZpbA==\x1b\\text", "text"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$tx\x1b\\text", "text"),
        ("\x1b_hidden\x1b\\\x1b^hidden\x1b\\\x1bXhidden\x1b\\text", "text"),
        ("\x9b2Jtext", "text"),
        ("\x9d0;title\x9ctext", "text"),
        ("\x1bctext", "text"),
        ("\x1b(0text", "text"),
        ("a\r\nb\x08\x7f\x00", "a\nb"),
        ("\x1b]0;never ended\nthe next line", "\nthe next line"),
        ("\x1b[31\nthe next line", "\nthe next line"),
        ("\x1b\x1b[1mx", "x"),
        ("safe\u202egnp.exe", "safegnp.exe"),
        ("👩\u200d💻 e\u0301", "👩\u200d💻 e\u0301"),
    ],
)
def test_sequences_go_with_all_they_carry(written: str, shown: str) -> None:
    assert clean(written) == shown


def test_one_line_is_one_line() -> None:
    assert one_line("a\n\tb\u2028c  d") == "a b c d"
    assert one_line("x" * 300, 10) == "x" * 9 + "…"
