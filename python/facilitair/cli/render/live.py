"""The live view: all agents side by side on the alternate screen, drawn by the clock and not by the tokens.

Events are folded and nothing else; a frame is drawn when something changed, at most `FRAMES` times a second. On a
screen that is too small, or too small now, the run is told in lines instead, and drawn again when there is room.
What remains on the normal screen at the end is what the lines end with.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Final, TextIO

from ... import events as ev
from .alternate import AlternateScreen
from .board import Board
from .layout import Layout, layout, rows
from .narrator import Narrator
from .terminal import TerminalPen

FRAMES: Final = 15
_SETTLED_S: Final = 0.5  # a window that is being dragged passes through sizes nobody chose


class LiveView:
    """Shows a run on the terminal `out`."""

    period = 1 / FRAMES

    def __init__(self, out: TextIO, pen: TerminalPen, *, colours: bool, answer_follows: bool) -> None:
        self._pen = pen
        self._screen = AlternateScreen(out, colours=colours)
        self._narrator = Narrator(pen, "full", whole_lines=False, answer_follows=answer_follows)
        self._board = Board()
        self._out = out
        self._redirected = contextlib.ExitStack()
        self._mode: str | None = None  # nothing is decided before the cast is known
        self._dirty = False
        self._event_at = 0.0
        self._second = -1
        self._size = (0, 0)
        self._small_since: float | None = None

    def handle(self, event: ev.AnyEvent | ev.UnknownEvent, now: float) -> None:
        """Take one event; what it changes is drawn with the next frame."""
        self._board.handle(event)
        self._event_at = now
        self._dirty = True
        if self._mode is None:
            self._mode = "lines" if self._layout() is None else "live"
            if self._mode == "live":
                self._hold()
        if self._mode == "lines":
            self._narrator.handle(event, now)
        elif isinstance(event, ev.TERMINAL):
            self._sum_up(event, now)

    def tick(self, now: float) -> None:
        """Draw a frame, if there is anything new to see."""
        if self._mode == "live":
            self._tick_live(now)
        elif self._mode == "lines":
            if self._layout() is None:
                self._narrator.tick(now)
            else:
                self._pen.end_speech()
                self._mode = "live"
                self._hold()
                self._tick_live(now)

    def close(self) -> None:
        """Give the screen back, however the run ended."""
        self._screen.leave()
        self._redirected.close()
        self._mode = None

    def _tick_live(self, now: float) -> None:
        plan = self._layout()
        if plan is None:
            self._small_since = now if self._small_since is None else self._small_since
            if now - self._small_since >= _SETTLED_S or not self._screen.active:
                self._go_on_in_lines(now)
            return
        self._small_since = None
        self._board.now = self._board.state.ts + (now - self._event_at)
        second, size = int(self._board.now), (plan.width, plan.height)
        if not self._screen.active:
            self._screen.enter()
        elif not self._dirty and (second, size) == (self._second, self._size):
            return
        self._dirty, self._second, self._size = False, second, size
        self._screen.draw(rows(self._board, plan), size)

    def _layout(self) -> Layout | None:
        agents = sum(agent.role != "synthesizer" for agent in self._board.state.agents)
        return layout(*self._screen.size(), agents)

    def _go_on_in_lines(self, now: float) -> None:
        self.close()
        self._mode, self._small_since = "lines", None
        state = self._board.state
        self._narrator.handle(
            ev.StateSnapshotEvent(stream_id=state.stream_id, seq=state.seq, ts=state.ts, state=state), now
        )

    def _sum_up(self, event: ev.TerminalEvent, now: float) -> None:
        self.close()
        narrator = Narrator(self._pen, "filtered", whole_lines=False, answer_follows=False)
        narrator.resume(self._board.state)
        for trouble in self._board.troubles:
            narrator.handle(trouble, now)
        narrator.handle(event, now)

    def _hold(self) -> None:
        held = _Held(self._out, self._note)
        self._redirected.callback(held.release)
        self._redirected.enter_context(contextlib.redirect_stderr(held))

    def _note(self, line: str) -> None:
        self._board.note(line)
        self._dirty = True


class _Held(io.TextIOBase):
    """Standard error while the alternate screen is shown: its lines are news, and are written when it is left."""

    def __init__(self, out: TextIO, tell: Callable[[str], None]) -> None:
        self._out = out
        self._tell = tell
        self._text = ""
        self._released = False

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property there, too, but a plain one for mypy
        return self._out.encoding

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._released:  # somebody, such as a logger, has kept this stream
            return self._out.write(text)
        *lines, _ = (self._text.rpartition("\n")[2] + text).split("\n")
        self._text += text
        for line in lines:
            self._tell(line)
        return len(text)

    def flush(self) -> None:
        if self._released:
            self._out.flush()

    def release(self) -> None:
        self._released = True
        self._out.write(self._text)
        self._out.flush()
