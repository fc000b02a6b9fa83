"""`ChunkText` through Python: what it finds does not depend on how the text arrives."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from facilitair_rust import Block, Boundary, ChunkText, Control, Segment, Text

PIECES = [
    "word ", "word", "end. ", "。", "e.g. ", "J. ", '?!" ', "\n", "\n\n", "\r\n", "- ", "1. ", "# ", "```", "~~~",
    "```py\n", "    ", "@@n0 object a#1 no\n", "**Note:** `", "```\n@@n0 object #2\n", "| a. b |\n", "\n\n- ",
    "@@n0 ", "retract x", "@", "ä\u2028🦀", "x" * 700, " " * 300,
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


def traits(segments: list[Segment]) -> list[tuple[bool, bool]]:
    return [(s.forced, s.in_code) for s in segments if isinstance(s, Boundary)]


def blocks(segments: list[Segment]) -> list[tuple[int, int, int, str]]:
    return [(s.start, s.body, s.end, s.kind) for s in segments if isinstance(s, Block)]


def controls(segments: list[Segment]) -> list[tuple[str, str]]:
    return [(s.verb, s.rest) for s in segments if isinstance(s, Control)]


def shown(segments: list[Segment]) -> str:
    text = ""
    for segment in segments:
        if isinstance(segment, Text):
            assert segment.start <= len(text)
            text = text[: segment.start] + segment.text
    return text


@given(writing, cuts)
def test_any_split_gives_the_same(text: str, places: list[int]) -> None:
    whole, split = chunk(), chunk()
    expected, found = feed(whole, [text]), feed(split, pieces(text, places))
    assert shown(found) == shown(expected) == whole.text == split.text
    assert boundaries(found) == boundaries(expected)
    assert traits(found) == traits(expected)
    assert blocks(found) == blocks(expected)
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


@given(writing)
def test_blocks_tile(text: str) -> None:
    parser = chunk()
    end = 0
    for start, body, stop, kind in blocks(feed(parser, [text])):
        assert start == end
        assert start <= body <= stop
        assert (kind == "heading") == (not parser.text[body:stop].strip())
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


def test_a_label_that_was_shown_is_taken_back_when_a_control_line_follows_it() -> None:
    parser = chunk()
    parser.feed("One.\n\n**Note:** ")
    back, control, after = parser.feed("`@@n0 object a#1 no`\nTwo")
    assert isinstance(back, Text)
    assert (back.start, back.text) == (6, "")
    assert controls([control]) == [("object", "a#1 no")]
    assert repr(after) == "Text(start=6, text='Two')"
    assert parser.text == "One.\n\nTwo"


def test_a_block_closes_when_the_next_one_begins() -> None:
    parser = chunk()
    assert blocks(parser.feed("# A\n\nOne.\n\n")) == []
    assert blocks(parser.feed("Two")) == [(0, 5, 11, "prose")]
    match parser.flush()[-1]:
        case Block(start, body, end, kind):
            assert (start, body, end, kind) == (11, 11, 14, "prose")
        case other:
            pytest.fail(repr(other))


def test_a_fragment_says_whether_it_was_forced_and_whether_its_code_goes_on() -> None:
    found = feed(chunk(), ["One.\n```py\na = 1\n\nb = 2\n```\n", "x" * 1600])
    prose, forced, code_goes_on = (False, False), (True, False), (False, True)
    assert traits(found) == [prose, code_goes_on, prose, forced, prose]


def test_the_line_of_an_open_fence_is_known() -> None:
    parser = chunk()
    said = []
    for line in ("Text.\n", "~~~py x\n", "a\n", "~~~\n"):
        parser.feed(line)
        said.append(parser.open_fence)
    assert said == [None, "~~~py x", "~~~py x", None]


def test_a_piece_is_inserted_as_it_is() -> None:
    parser = chunk()
    parser.feed("See:\n\n")
    piece = "```py\n@@n0 object a#1 no\n\nb. c\n```\n"
    found = parser.insert(piece)
    end = 6 + len(piece)
    assert boundaries(found)[-1][1:] == (6, end)
    assert blocks(found) == [(0, 0, 6, "prose"), (6, 6, end, "code")]
    assert controls(found) == []
    assert parser.text == f"See:\n\n{piece}"
    with pytest.raises(ValueError, match="cannot"):
        parser.truncate(10)
    with pytest.raises(ValueError, match="line end"):
        parser.insert("no end")


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
