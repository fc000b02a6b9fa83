"""The layout of the live view: everything has its place on every screen, whatever the models write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from facilitair import events as ev
from facilitair.cli.render.board import Board
from facilitair.cli.render.layout import Row, fit, layout, rows

from .events import Script

NAMES = ("architect", "coder", "reviewer", "refiner", "tester", "documenter")
HOSTILE = "red \x1b[31m\x1b]0;title\x07 \u202egnihton \u2066 \x9b2J\r\b 漢字 👩\u200d👩\u200d👧 e\u0301\n"


def board_of(*events: ev.AnyEvent) -> Board:
    board = Board()
    for event in events:
        board.handle(event)
    return board


def drawn(board: Board, width: int = 120, height: int = 40) -> list[Row]:
    agents = len(board.panels())
    plan = layout(width, height, agents)
    assert plan is not None
    return rows(board, plan)


def text_of(row: Row) -> str:
    line = ""
    for piece in row:
        line += " " * (piece.column - cell_len(line)) + piece.text
    return line.rstrip()


def text(board: Board, width: int = 120, height: int = 40) -> str:
    return "\n".join(map(text_of, drawn(board, width, height)))


@given(st.integers(1, 300), st.integers(1, 100), st.integers(0, 12))
def test_what_has_a_layout_is_filled_exactly(width: int, height: int, agents: int) -> None:
    plan = layout(width, height, agents)
    if plan is None:
        return
    script = Script()
    names = [f"agent{number}" for number in range(agents)]
    board = board_of(*script.begin(*names), *(script.text(name, HOSTILE * 20) for name in names))
    screen = rows(board, plan)
    assert len(screen) == height
    assert_no_piece_reaches_another(screen, width)
    shown = "\n".join(map(text_of, screen))
    assert all(board.panels()[n].name[:3] in shown for n in range(agents))


def assert_no_piece_reaches_another(screen: list[Row], width: int) -> None:
    for row in screen:
        ends = ([piece.column for piece in row] + [width])[1:]
        for piece, end in zip(row, ends if row else (), strict=True):
            assert piece.column + cell_len(piece.text) <= end, row


@pytest.mark.parametrize(
    ("width", "height", "agents", "fits"),
    [(60, 12, 3, True), (59, 12, 1, False), (60, 11, 1, False), (60, 12, 6, False), (80, 24, 6, True)],
)
def test_a_screen_too_small_for_the_cast_has_none(width: int, height: int, agents: int, fits: bool) -> None:
    assert (layout(width, height, agents) is not None) is fits


@given(st.text(), st.text(), st.text())
def test_nothing_a_model_writes_is_obeyed_or_breaks_a_border(tokens: str, name: str, reason: str) -> None:
    script = Script()
    board = board_of(
        *script.begin("coder", name or "x"),
        script.text("coder", HOSTILE + tokens),
        script.fragment("coder", 1, 0, 5),
        script.reaction("coder", "s1/coder.1#1"),
        script.retracted("coder", 5, "s1/coder.1#1", reason=reason + HOSTILE),
        script.make(ev.SystemMessageEvent, message=HOSTILE + tokens, level="warning"),
        *script.synthesis(HOSTILE + tokens),
    )
    screen = drawn(board)
    assert_no_piece_reaches_another(screen, 120)
    for row in screen:
        for piece in row:
            assert not any(
                char < " " or "\x7f" <= char <= "\x9f" or char in "\u202e\u2066" for char in piece.text
            )


def test_a_panel_says_who_with_what_does_what_for_how_long() -> None:
    script = Script()
    board = board_of(*script.begin("coder", "tester"), script.text("coder", "def f():", ts=7.0))
    shown = text(board)
    assert "Coder ─" in shown
    assert "writing 0:06" in shown
    assert "acme/m-coder" in shown
    assert "def f():" in shown
    assert "thinking" in shown


@pytest.mark.parametrize(
    ("message", "activity"),
    [("waits to try m again", "retrying"), ("m is reasoning", "thinking")],
)
def test_signs_of_life_are_states(message: str, activity: str) -> None:
    script = Script()
    sign = script.make(
        ev.AgentThinkingEvent, chunk_id="s1/coder.1", agent="coder", message=message, waiting_s=4.0
    )
    board = board_of(*script.begin("coder"), sign)
    assert board.panels()[0].activity == activity
    assert f"{message} (4.0 s)" in text(board)


@pytest.mark.parametrize(("reason", "activity"), [("stop", "done"), ("error", "failed")])
def test_ends_are_states(reason: str, activity: str) -> None:
    script = Script()
    board = board_of(*script.begin("coder"), script.text("coder", "x"), script.done("coder", "x", reason))
    assert board.panels()[0].activity == activity
    assert f"{activity} 0:03" in text(board)


def test_an_agent_without_a_chunk_waits() -> None:
    script = Script()
    assert board_of(script.begin("coder")[0]).panels()[0].activity == "waiting"


def test_the_header_cuts_the_task_and_not_the_facts() -> None:
    script = Script()
    begin = script.begin("coder", simulated=True)
    assert isinstance(begin[0], ev.TaskStartedEvent)
    long = script.make(
        ev.TaskStartedEvent,
        task="\x1b[2J Write a\nvery long 漢字 task " * 20,
        context={},
        strategy="balanced",
        agents=begin[0].agents,
        simulated=True,
    )
    header = text_of(drawn(board_of(long, *begin[1:]), 80)[0])
    assert "Write a very long" in header
    assert "…" in header
    assert header.endswith("balanced · 0/1 chunks · 0:00 · simulated")


def test_reactions_and_retractions_are_news() -> None:
    script = Script()
    board = board_of(
        *script.begin("coder", "tester"),
        script.text("coder", "Use a bucket. No."),
        script.fragment("coder", 1, 0, 13),
        script.reaction("tester", "s1/coder.1#1"),
        script.retracted("coder", 13, "s1/coder.1#2"),
    )
    shown = text(board)
    assert "Tester considers Coder #1 “Use a bucket.” (resume)" in shown
    assert "Coder takes back 1 fragment (it is wrong)" in shown
    assert " No." not in shown


@given(st.text(), st.integers(0, 20))
def test_what_is_cut_fits(value: str, width: int) -> None:
    assert cell_len(fit(value, width)) <= width
