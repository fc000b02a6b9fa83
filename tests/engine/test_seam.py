from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.engine.seam import BlankSeam, FirstSeam, OverlapSeam, ParagraphSeam, Seam

words = st.text(alphabet="ab c\n", max_size=40)


def joined(seam: Seam, text: str, cuts: list[int]) -> str:
    """Feed `text` in pieces and return what the seam releases."""
    edges = sorted({0, len(text), *(c % (len(text) + 1) for c in cuts)})
    pieces = [text[a:b] for a, b in pairwise(edges)]
    return "".join(seam.feed(p) for p in pieces) + seam.flush()


@given(words, st.lists(st.integers(0, 40)))
def test_the_beginning_passes_through_without_blank_lines(text: str, cuts: list[int]) -> None:
    lines = text.split("\n")
    blank = next((n for n, line in enumerate(lines) if line.strip()), len(lines))
    assert joined(FirstSeam(), text, cuts) == "\n".join(lines[blank:])


@given(words, words, st.lists(st.integers(0, 40)))
def test_splits_do_not_change_what_a_seam_releases(own: str, text: str, cuts: list[int]) -> None:
    for kind in (BlankSeam, ParagraphSeam, OverlapSeam):
        assert joined(kind(own), text, cuts) == joined(kind(own), text, [])


@given(
    st.text(alphabet="ab c\n", min_size=1).filter(str.strip), st.integers(0, 60), st.lists(st.integers(0, 60))
)
def test_a_prefill_cut_anywhere_gives_the_whole_text(text: str, at: int, cuts: list[int]) -> None:
    own = text[: at % len(text)]
    continuation = text[len(own.rstrip()) :]
    whole = own + joined(BlankSeam(own), continuation, cuts)
    if continuation.strip():
        assert whole == text
    else:
        assert whole.rstrip() == text.rstrip()


def test_a_repeated_overlap_is_cut() -> None:
    own = "The parser reads one line and then the next line"
    assert joined(OverlapSeam(own), "then the next line of input.", [3, 9, 17]) == " of input."


def test_the_longest_overlap_is_cut() -> None:
    own = "ready, set, go; ready, set, go;"
    assert joined(OverlapSeam(own), "ready, set, go; ready, set, go; done", []) == " done"


def test_a_short_likeness_is_no_overlap() -> None:
    assert joined(OverlapSeam("it ends with the"), "the rest", []) == "the rest"


def test_text_that_only_begins_like_an_overlap_is_kept() -> None:
    assert joined(OverlapSeam("we call the function"), "the functor maps", [4]) == "the functor maps"


def test_an_addition_begins_a_paragraph() -> None:
    assert joined(ParagraphSeam("The end."), " More.", []) == "\n\nMore."
    assert joined(ParagraphSeam("The end.\n"), "\nMore.", [1]) == "\nMore."
    assert joined(ParagraphSeam("The end."), "\n \n", [1]) == ""


@pytest.mark.parametrize(
    ("own", "continuation", "whole"),
    [
        ("One. ", "\n\n```py\nx\n```\n", "One. \n\n```py\nx\n```\n"),
        ("One.\n", "\n\nTwo.", "One.\n\nTwo."),
        ("def f():\n    ", "\n    return 1", "def f():\n    return 1"),
        ("def f():\n    ", "return 1", "def f():\n    return 1"),
        ("def f():\n", "\n    return 1", "def f():\n    return 1"),
        ("One ", " two", "One two"),
    ],
)
def test_a_prefill_keeps_paragraphs_and_indents(own: str, continuation: str, whole: str) -> None:
    assert own + joined(BlankSeam(own), continuation, [1, 2, 5]) == whole


@pytest.mark.parametrize(
    ("own", "continuation", "whole"),
    [
        (
            "One. Sentence two is here. ",
            "Sentence two is here.\n\nNext.",
            "One. Sentence two is here. \n\nNext.",
        ),
        ("One. Sentence two is here. ", "Sentence two is here. Next.", "One. Sentence two is here. Next."),
        ("- item one is long\n", "- item one is long\n- item two", "- item one is long\n- item two"),
        ("It ends here.", "Next begins.", "It ends here. Next begins."),
        ("It ends here.", " Next begins.", "It ends here. Next begins."),
        ("It ends here. ", "Next begins.", "It ends here. Next begins."),
        ("About 3.", "14 of them", "About 3.14 of them"),
        ("half a wo", "rd", "half a word"),
    ],
)
def test_a_turn_that_goes_on_keeps_its_blanks(own: str, continuation: str, whole: str) -> None:
    for cuts in ([], [1, 4, 9], [21, 22]):
        assert own + joined(OverlapSeam(own), continuation, cuts) == whole
