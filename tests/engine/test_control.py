"""What a control line says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.engine.control import VERBS, Object, OutlineTitle, Retract, Verdict, read_control
from facilitair_rust import ChunkText, Control


@pytest.mark.parametrize(
    "words",
    [
        "approve.",
        "approve: fine",
        "Approve",
        "**approve**",
        "approved",
        "approve, fine",
        "APPROVE - all good",
        "approval",
        "approval granted",
        "approve - no changes needed",
        "approve: it works with every input",
    ],
)
def test_an_approval_is_understood_however_it_is_written(words: str) -> None:
    assert read_control("verdict", f" {words} ") == Verdict("approve", words)


@pytest.mark.parametrize(
    "words",
    [
        "revise.",
        "**Revise**: too short",
        "revision needed",
        "`revise`",
        "approach is wrong, revise",
        "approve with these changes: rewrite everything",
        "approve, but the lock is never released",
        "Approved once the tests pass",
        "needs revision: no tests",
    ],
)
def test_a_revision_is_understood_however_it_is_written(words: str) -> None:
    assert read_control("verdict", words) == Verdict("revise", words)


@pytest.mark.parametrize("words", [
        "disapprove", "not approve", "unclear", "", "!!", "app", "I approve", "approval withheld", "approve or revise",
        "approach is fine", "no revise needed", "not approved, revise?",
    ],
)  # fmt: skip
def test_what_is_neither_is_taken_for_neither(words: str) -> None:
    assert read_control("verdict", words) == Verdict("other", words)


@pytest.mark.parametrize(
    ("rest", "title"),
    [("Data model", "Data model"), ("  Data \t model ", "Data model"), ("T" * 100, "T" * 80)],
)
def test_a_title_is_one_line_of_bounded_length(rest: str, title: str) -> None:
    assert read_control("section", rest) == OutlineTitle(title)


@pytest.mark.parametrize(
    ("rest", "fragment", "reason"),
    [("#2", "#2", ""), (" #2 it was wrong ", "#2", "it was wrong"), ("task/a.1#3 no", "task/a.1#3", "no"),
        ("[#2] it was wrong", "#2", "it was wrong"), ("#2: it was wrong", "#2", "it was wrong"), ("`#2`", "#2", ""),
        ("[task/a.1#3], no", "task/a.1#3", "no"), ("fragment #2 no", "#2", "no"), ("2 no", "2", "no"),
    ],
)  # fmt: skip
def test_a_fragment_is_named_before_the_reason(rest: str, fragment: str, reason: str) -> None:
    assert read_control("retract", rest) == Retract(fragment, reason)
    assert read_control("object", rest) == Object(fragment, reason)


@pytest.mark.parametrize("verb", ["section", "retract", "object"])
def test_a_line_that_names_nothing_says_nothing(verb: str) -> None:
    assert read_control(verb, "") is None
    assert read_control(verb, "  ") is None


@pytest.mark.parametrize("rest", ["everything", "#2nd draft", "#two", "##2", "the rest #2"])
def test_what_names_no_fragment_takes_nothing_back(rest: str) -> None:
    assert read_control("retract", rest) is None
    assert read_control("object", rest) is None


@given(st.sampled_from([*VERBS, "sing", ""]), st.text())
def test_any_line_can_be_read(verb: str, rest: str) -> None:
    line = read_control(verb, rest)
    assert (verb in VERBS) or line is None
    match line:
        case OutlineTitle(title):
            assert 0 < len(title) <= 80
            assert len(title.splitlines()) == 1
        case Verdict(words=words):
            assert words == words.strip()
        case Retract(fragment, reason) | Object(fragment, reason):
            assert fragment in rest
            assert reason in rest


@pytest.mark.parametrize("verb", VERBS)
def test_the_parser_of_texts_takes_out_the_lines_that_are_read_here(verb: str) -> None:
    text = ChunkText("0123456789", VERBS)
    segments = [
        *text.feed(f"@@0123456789 {verb} approve it\n"),
        *text.feed("@@0123456789 sing it\n"),
        *text.flush(),
    ]
    lines = [s for s in segments if isinstance(s, Control)]
    assert [(line.verb, line.rest.strip()) for line in lines] == [(verb, "approve it")]
    assert text.text == "@@0123456789 sing it\n"
