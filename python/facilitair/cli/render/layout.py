"""The layout of the live view: where the panels are, and every row of the screen. Pure.

Each row is pieces at their columns, none wider than the room up to the next. A screen that is too small for the
cast has no layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size

from . import words
from .board import Activity, Board, News, NewsTone, Panel, Part
from .pen import COLOURS
from .sanitize import one_line

NARROWEST: Final = 60
LOWEST: Final = 12

_PANEL_WIDTH: Final = 26
_PANEL_HEIGHT: Final = 3
_GOOD_WIDTH: Final = 50  # wider panels and higher ones read no better
_GOOD_TEXT: Final = 8
_STATES: Final[dict[Activity, str]] = {
    "waiting": "dim",
    "thinking": "yellow",
    "writing": "bold",
    "retrying": "bright_red",
    "done": "green",
    "failed": "bold red",
}
_TONES: Final[dict[NewsTone, str]] = {
    "deed": "",
    "retraction": "yellow",
    "info": "dim",
    "warning": "yellow",
    "error": "bold red",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Text in one style at a column."""

    column: int
    text: str
    style: str = ""


Row = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a screen is divided: rows of the news and the synthesis, and the grid of the agents' panels."""

    width: int
    height: int
    news: int
    synthesis: int
    columns: int
    lines: int


def layout(width: int, height: int, agents: int) -> Layout | None:
    """Return the division of the screen that shows most; `None` when it is too small."""
    if width < NARROWEST or height < LOWEST:
        return None
    news = 1 if height < 18 else 2 if height < 30 else 3 if height < 45 else 4
    synthesis = max(_PANEL_HEIGHT, min(height // 4, 14))
    room = height - 1 - news - synthesis
    best: tuple[tuple[int, ...], int] | None = None
    for columns in range(1, max(agents, 1) + 1):
        lines = _lines(agents, columns)
        high, wide = room // lines, width // columns
        if high < _PANEL_HEIGHT or wide < _PANEL_WIDTH:
            continue
        gaps = lines * columns - agents
        score = (min(high - 2, _GOOD_TEXT), min(wide, _GOOD_WIDTH), -gaps, columns)
        if best is None or score > best[0]:
            best = score, columns
    if best is None:
        return None
    return Layout(width, height, news, synthesis, best[1], _lines(agents, best[1]))


def rows(board: Board, plan: Layout) -> list[Row]:
    """Return all rows of the screen."""
    panels = board.panels()
    drawn = [_header(board, plan.width)]
    room = plan.height - 1 - plan.news - plan.synthesis
    for line in range(plan.lines if panels else 0):
        inside = panels[line * plan.columns : (line + 1) * plan.columns]
        drawn += _beside(inside, plan.width, _share(room, plan.lines, line))
    news = list(board.news)[-plan.news :]
    drawn += [_news(item, plan.width) for item in news]
    drawn += [()] * (plan.news - len(news))
    # Whatever rounding and an absent cast leave over belongs to the synthesis.
    drawn += _panel(board.synthesis(), 0, plan.width, plan.height - len(drawn))
    return drawn


def fit(text: str, width: int) -> str:
    """Return `text` cut to `width` cells, with an ellipsis where it was cut."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""


def _lines(agents: int, columns: int) -> int:
    return -(-max(agents, 1) // columns)


def _share(total: int, among: int, number: int) -> int:
    return total * (number + 1) // among - total * number // among


def _header(board: Board, width: int) -> Row:
    state = board.state
    facts = [
        one_line(state.strategy, 40),
        f"{state.completed_chunks}/{state.total_chunks} chunks",
        words.clock(board.now),
    ]
    if not state.simulated or state.cost_usd:
        facts.append(words.money(state.cost_usd))
    if state.simulated:
        facts.append("simulated")
    right = fit(" · ".join(filter(None, facts)), width // 2 + 10)
    start = width - cell_len(right)
    task = fit(one_line(state.task, 400), start - 14)
    return (
        Piece(0, "Facilitair", "bold"),
        Piece(12, task),
        Piece(start, right, "yellow" if state.simulated else "dim"),
    )


def _news(item: News, width: int) -> Row:
    stamp = f"{words.clock(item.ts):>5} "
    who = f"{item.who} " if item.who else ""
    column = len(stamp) + cell_len(who)
    return (
        Piece(0, stamp, "dim"),
        Piece(len(stamp), who, "bold" if item.number is None else f"bold {_colour(item.number)}"),
        Piece(column, fit(item.text, width - column), _TONES[item.tone]),
    )


def _beside(panels: list[Panel], width: int, height: int) -> list[Row]:
    """Return the rows of panels beside each other; those of a last line share its whole width."""
    drawn: list[Row] = [()] * height
    for number, panel in enumerate(panels):
        start = width * number // len(panels)
        own = _panel(panel, start, _share(width, len(panels), number), height)
        drawn = [(*row, *more) for row, more in zip(drawn, own, strict=True)]
    return drawn


def _panel(panel: Panel, start: int, width: int, height: int) -> list[Row]:
    colour = _colour(panel.number)
    inner = width - 4
    texts = _texts(panel, inner, height - 2)
    body = [
        (
            Piece(start, "│", colour),
            Piece(start + 2, text, style),
            Piece(start + width - 1, "│", colour),
        )
        for text, style in texts
    ]
    return [_top(panel, start, width), *body, _bottom(panel, start, width)]


def _top(panel: Panel, start: int, width: int) -> Row:
    colour = _colour(panel.number)
    name, state = f"{panel.icon} {panel.name}", f" {panel.activity} "
    room = width - 6 - len(state)
    if panel.time is not None and cell_len(name) + len(time := f"{words.clock(panel.time)} ") <= room:
        state, room = state + time, room - len(time)
    name = fit(name, room)
    after = start + 3 + cell_len(name)
    end = start + width
    return (
        Piece(start, "╭─ ", colour),
        Piece(start + 3, name, f"bold {colour}"),
        Piece(after, (" " + "─" * width)[: end - 2 - len(state) - after], colour),
        Piece(end - 2 - len(state), state, _STATES[panel.activity]),
        Piece(end - 2, "─╮", colour),
    )


def _bottom(panel: Panel, start: int, width: int) -> Row:
    colour = _colour(panel.number)
    model = fit(panel.model, width - 7)
    label = f" {model} " if model else ""
    after = start + 2 + cell_len(label)
    return (
        Piece(start, "╰─", colour),
        Piece(start + 2, label, "dim"),
        Piece(after, "─" * (start + width - 1 - after) + "╯", colour),
    )


def _texts(panel: Panel, width: int, height: int) -> list[tuple[str, str]]:
    """Return the rows inside a panel; several texts share it, or the last one has it when there is no room."""
    parts = panel.parts if 3 * len(panel.parts) <= height else panel.parts[-1:]
    texts: list[tuple[str, str]] = []
    for number, part in enumerate(parts):
        texts += _part(part, width, _share(height, len(parts), number), panel)
    return texts + [("", "")] * (height - len(texts))


def _part(part: Part, width: int, height: int, panel: Panel) -> list[tuple[str, str]]:
    head = (
        [(fit(part.title, width), f"underline {_colour(panel.number)}")] if part.title and height > 2 else []
    )
    note = [(fit(part.note, width), "dim")] if part.note and height - len(head) > 1 else []
    style = "dim" if panel.activity == "done" else ""
    body = [(row, style) for row in part.tail.rows(part.text, width, height - len(head) - len(note))]
    if not body and part.note and not note:
        body = [(fit(part.note, width), "dim")]
    drawn = head + body + note
    return drawn + [("", "")] * (height - len(drawn))


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
