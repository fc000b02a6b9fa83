"""Several agents write at once: no line holds two of them, nobody's text is lost, and nobody waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facilitair.cli.render.sanitize import clean
from facilitair.cli.render.weaver import OPEN_PATIENCE, READY_PATIENCE, Piece, Weaver

writes = st.lists(
    st.tuples(st.sampled_from("ab"), st.text("xy \n\x1b[m", min_size=1, max_size=6), st.floats(0, 0.7)),
    max_size=40,
)


def said(pieces: list[Piece], chunk: str) -> str:
    return "".join(piece.text for piece in pieces if piece.chunk_id == chunk)


@given(writes, st.booleans())
def test_every_agents_text_comes_out_whole_and_in_order(
    script: list[tuple[str, str, float]], whole: bool
) -> None:
    weaver, now, texts = Weaver(whole=whole), 0.0, {"a": "", "b": ""}
    pieces: list[Piece] = []
    for chunk, text, pause in script:
        now += pause
        texts[chunk] += text
        weaver.write(chunk, texts[chunk], now)
        pieces += weaver.pieces(0.0, now)
    for chunk in "ab":
        pieces += weaver.close(chunk, 0.0, now)
        assert said(pieces, chunk) == clean(texts[chunk])


@given(writes)
def test_what_waits_is_shown_when_its_patience_is_over(script: list[tuple[str, str, float]]) -> None:
    weaver, now, texts = Weaver(whole=False), 0.0, {"a": "", "b": ""}
    pieces: list[Piece] = []
    for chunk, text, pause in script:
        now += pause
        texts[chunk] += text
        weaver.write(chunk, texts[chunk], now)
        pieces += weaver.pieces(0.0, now)
    for _ in "ab":
        now += OPEN_PATIENCE
        pieces += weaver.pieces(0.0, now)
    assert {chunk: said(pieces, chunk) for chunk in "ab"} == {c: clean(t) for c, t in texts.items()}


def test_a_single_agent_is_shown_as_it_writes() -> None:
    weaver, shown = Weaver(whole=False), []
    for end in range(1, 6):
        weaver.write("a", "hello"[:end], 0.0)
        shown += [piece.text for piece in weaver.pieces(0.0, 0.0)]
    assert shown == list("hello")


def test_the_line_passes_on_at_the_end_of_a_fragment() -> None:
    weaver = Weaver(whole=False)
    weaver.write("a", "One", 0.0)
    assert [p.text for p in weaver.pieces(0.0, 0.0)] == ["One"]
    weaver.write("b", "Two", 0.1)
    assert list(weaver.pieces(0.0, 0.1)) == []
    weaver.write("a", "One.", 0.2)
    weaver.boundary("a", 4)
    assert [(p.chunk_id, p.text) for p in weaver.pieces(0.0, 0.2)] == [("a", "."), ("b", "Two")]


def test_a_complete_piece_waits_half_a_second_and_an_unfinished_one_longer() -> None:
    weaver = Weaver(whole=False)
    weaver.write("a", "One", 0.0)
    list(weaver.pieces(0.0, 0.0))
    weaver.write("b", "Two.\nThr", 0.0)
    weaver.write("a", "One a", 0.4)
    assert [p.text for p in weaver.pieces(0.0, 0.4)] == [" a"]
    weaver.write("a", "One ab", READY_PATIENCE)
    assert [(p.chunk_id, p.text) for p in weaver.pieces(0.0, READY_PATIENCE)] == [("a", "b"), ("b", "Two.\n")]
    weaver.write("a", "One abc", 1.9)
    assert [p.text for p in weaver.pieces(0.0, 1.9)] == ["c"]
    later = READY_PATIENCE + OPEN_PATIENCE
    weaver.write("a", "One abcd", later)
    assert [(p.chunk_id, p.text) for p in weaver.pieces(0.0, later)] == [("a", "d"), ("b", "Thr")]


def test_a_holder_that_falls_silent_gives_the_line_up() -> None:
    weaver = Weaver(whole=False)
    weaver.write("a", "One", 0.0)
    list(weaver.pieces(0.0, 0.0))
    weaver.write("b", "Two", 0.3)
    assert list(weaver.pieces(0.0, 0.4)) == []
    assert [p.text for p in weaver.pieces(0.0, READY_PATIENCE)] == ["Two"]


def test_whole_pieces_only() -> None:
    weaver = Weaver(whole=True)
    weaver.write("a", "One. Tw", 0.0)
    weaver.boundary("a", 4)
    assert [p.text for p in weaver.pieces(0.0, 9.0)] == ["One."]
    weaver.write("a", "One. Two\nThr", 0.0)
    assert [p.text for p in weaver.pieces(0.0, 9.0)] == [" Two\n"]


def test_cutting_says_what_had_been_shown() -> None:
    weaver = Weaver(whole=True)
    weaver.write("a", "One. Two. Thr", 0.0)
    weaver.boundary("a", 9)
    list(weaver.pieces(0.0, 0.0))
    assert weaver.cut("a", 11) == ""
    assert weaver.cut("a", 4) == " Two."
    weaver.write("a", "One. Four.\n", 1.0)
    assert [p.text for p in weaver.pieces(0.0, 1.0)] == [" Four.\n"]


def test_a_sequence_split_over_a_cut_is_still_seen() -> None:
    weaver = Weaver(whole=False)
    weaver.write("a", "x\x1b[3wrong", 0.0)
    list(weaver.pieces(0.0, 0.0))
    weaver.cut("a", 4)
    weaver.write("a", "x\x1b[31mred", 0.0)
    assert "".join(p.text for p in weaver.pieces(0.0, 0.0)) == "red"
