"""The end of a growing text: wrapped piece by piece as it would be in one go, and never wider than its panel."""

from __future__ import annotations

import time

from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from facilitair.cli.render.tail import Tail, wrap

TEXT = st.text(st.sampled_from([*"ab \n\t[m漢👍👩", "\u0301", "\u200d", "\x1b", "\u202e"]))


@given(st.lists(TEXT), st.integers(4, 30), st.integers(1, 6))
@example(["\u200d\u200d漢", "[漢"], 4, 1)
def test_pieces_wrap_as_the_whole(pieces: list[str], width: int, height: int) -> None:
    grown, text = Tail(), ""
    for piece in pieces:
        text += piece
        grown.rows(text, width, height)
    rows = grown.rows(text, width, height)
    if len(text) <= width * height:
        assert rows == Tail().rows(text, width, height)
    assert len(rows) <= height
    assert all(cell_len(row) <= width for row in rows), rows


def test_words_wrap_and_long_ones_are_cut() -> None:
    assert wrap("the quick brown fox", 10) == ["the quick", "brown fox"]
    assert wrap("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert wrap("    indented", 20) == ["    indented"]
    assert wrap("漢字漢字", 5) == ["漢字", "漢字"]


def test_an_escape_sequence_in_pieces_is_no_text() -> None:
    tail = Tail()
    for end in range(1, 21):
        rows = tail.rows("red \x1b[31mtext\u202e here"[:end], 40, 3)
    assert rows == ["red text here"]


def test_a_cut_text_is_wrapped_again() -> None:
    tail = Tail()
    assert tail.rows("one\ntwo\nthree", 20, 5) == ["one", "two", "three"]
    tail.cut(4)
    assert tail.rows("one\nother words", 20, 5) == ["one", "other words"]


def test_another_size_shows_the_same_end() -> None:
    tail, text = Tail(), "word " * 1000 + "last"
    assert tail.rows(text, 40, 5)[-1].endswith("last")
    assert len(tail.rows(text, 10, 20)) == 20
    assert tail.rows(text, 10, 20)[-1].endswith("last")


def test_marks_without_end_stay_small() -> None:
    tail, text = Tail(), "a"
    for _ in range(100):
        text += "\u0301" * 1000
        rows = tail.rows(text, 20, 3)
    assert sum(map(len, rows)) < 1000


def test_a_long_text_costs_no_more_than_a_short_one() -> None:
    """A megabyte is not looked at again for each frame: 2,000 frames would take minutes."""
    tail, text = Tail(), "word " * 200_000
    tail.rows(text, 40, 10)
    began = time.process_time()
    for _ in range(2000):
        text = text[:-1] + " x"  # as long as a fold makes it; the copy is not ours
        tail.rows(text, 40, 10)
    assert time.process_time() - began < 20
