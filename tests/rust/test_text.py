"""`ChunkText` through Python: what it finds does not depend on how the text arrives."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from facilitair_rust import Boundary, ChunkText, Control, Segment, Text

PIECES = [
    "word ", "word", "end. ", "。", "e.g. ", "J. ", '?!" ', "\n", "\n\n", "\r\n", "- ", "1. ", "# ", "```", "~~~",
    "```py\n", "    ", "@@n0 object a#1 no\n", "@@n0 ", "retract x", "@", "ä\u2028🦀", "x" * 700, " " * 300,
]  # fmt: skip
writing = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
cuts = st.lists(st.integers(0, 3000), max_size=6)


def chunk() -> ChunkText:
    return ChunkText("n0", ["object", "retract"])


def pieces(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def feed(into: ChunkText, parts: list[str]) -> list[Segment]:
    return [segment for part in parts for segment in into.feed(part)] + into.flush()


def boundaries(segments: list[Segment]) -> list[tuple[int, int, int]]:
    return [(s.number, s.start, s.end) for s in segments if isinstance(s, Boundary)]


def controls(segments: list[Segment]) -> list[tuple[str, str]]:
    return [(s.verb, s.rest) for s in segments if isinstance(s, Control)]


def shown(segments: list[Segment]) -> str:
    text = ""
    for segment in segments:
        if isinstance(segment, Text):
            assert segment.start == len(text)
            text += segment.text
    return text


@given(writing, cuts)
def test_any_split_gives_the_same(text: str, places: list[int]) -> None:
    whole, split = chunk(), chunk()
    expected, found = feed(whole, [text]), feed(split, pieces(text, places))
    assert shown(found) == shown(expected) == whole.text == split.text
    assert boundaries(found) == boundaries(expected)
    assert controls(found) == controls(expected)
    assert len(split) == len(split.text)


@given(writing)
def test_fragments_tile(text: str) -> None:
    parser = chunk()
    end = 0
    for number, (found, start, stop) in enumerate(boundaries(feed(parser, [text])), 1):
        assert (found, start) == (number, end)
        fragment = parser.text[start:stop]
        assert fragment.strip()
        assert len(fragment) <= 1500 or not fragment[:750].strip()
        end = stop
    assert not parser.text[end:].strip()


@given(writing, writing, st.integers(0, 3000))
def test_truncation_equals_never_having_fed(a: str, b: str, place: int) -> None:
    cut, fresh = chunk(), chunk()
    closed = boundaries(cut.feed(a))
    keep = place % (len(cut) + 1)
    cut.truncate(keep)
    assert len(cut) == keep
    kept = [end for _, _, end in closed if end <= keep]
    known = [end for _, _, end in boundaries(fresh.feed(cut.text))]
    assume(fresh.text == cut.text)  # a shown line is text; a fresh parser may hold it as a control line
    after_cut, after_fresh = feed(cut, [b]), feed(fresh, [b])
    assert cut.text == fresh.text
    assert controls(after_cut) == controls(after_fresh)
    if kept == known:
        assert [span[1:] for span in boundaries(after_cut)] == [span[1:] for span in boundaries(after_fresh)]
    numbers = [number for number, _, _ in boundaries(after_cut)]
    assert numbers == list(range(len(closed) + 1, len(closed) + 1 + len(numbers)))


def test_a_token_at_a_time() -> None:
    parser = chunk()
    assert [type(s) for s in parser.feed("Hello.")] == [Text]
    text, boundary, rest = parser.feed(" Next")
    assert isinstance(text, Text)
    assert (text.start, text.text) == (6, " ")
    match boundary:
        case Boundary(number, start, end):
            assert (number, start, end) == (1, 0, 7)
        case _:
            pytest.fail(repr(boundary))
    assert repr(rest) == "Text(start=7, text='Next')"


def test_a_control_line_is_not_text() -> None:
    parser = chunk()
    assert parser.feed("@@n0 obj") == []
    (control,) = parser.feed("ect a/b.1#2 'wrong'\n")
    assert repr(control) == "Control(verb='object', rest=\"a/b.1#2 'wrong'\")"
    assert parser.text == ""


def test_code_points_are_counted() -> None:
    parser = chunk()
    parser.feed("🦀. ab")
    parser.truncate(4)
    assert (parser.text, len(parser)) == ("🦀. a", 4)


@pytest.mark.parametrize(
    ("nonce", "verbs"), [("", ["object"]), ("a b", ["object"]), ("n", [""]), ("n", ["a\n"])]
)
def test_words_are_checked(nonce: str, verbs: list[str]) -> None:
    with pytest.raises(ValueError, match="word"):
        ChunkText(nonce, verbs)


def test_nothing_can_be_kept_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="cannot keep 1 of 0"):
        chunk().truncate(1)
