"""One run on one screen: events come from a live run or a recording, and go to a renderer and a recorder."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from ..errors import RecordingError, UsageError
from ..events import TERMINAL, AnyEvent, TerminalEvent, UnknownEvent
from .messages import say
from .render.sanitize import clean

if TYPE_CHECKING:
    from ..recording import Recorder
    from .render.narrator import Verbosity

View = Literal["auto", "live", "lines"]


class Renderer(Protocol):
    """Shows events as they come."""

    @property
    def period(self) -> float:
        """How many seconds pass between two ticks."""
        ...

    def handle(self, event: AnyEvent | UnknownEvent, now: float) -> None:
        """Show `event`; `now` is monotonic seconds."""
        ...

    def tick(self, now: float) -> None:
        """Show what has waited long enough for others."""
        ...

    def close(self) -> None:
        """Give back what was taken of the terminal, however the run ended."""
        ...


def is_capable(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that understands escape sequences."""
    return stream.isatty() and os.environ.get("TERM", "dumb").lower() not in {"dumb", "unknown", ""}


def is_rich(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that wants colours and boxes."""
    return is_capable(stream) and not os.environ.get("NO_COLOR")


def check_view(view: View, *, json: bool, verbosity: Verbosity) -> None:
    """Raise `UsageError` when the live view is asked for where there cannot be one."""
    if view != "live":
        return
    if json or verbosity != "full":
        other = "--json" if json else f"--verbosity {verbosity}"
        raise UsageError(f"--view live shows everything; leave out {other}, or use --view lines")
    if not (is_capable(sys.stderr) and _is_utf8(sys.stderr)):
        raise UsageError(
            "--view live needs a UTF-8 terminal as standard error, and TERM naming it; leave it out, "
            "and the run is told in lines where there is none"
        )


def renderer_for(*, json: bool, verbosity: Verbosity, view: View) -> Renderer:
    """Return the renderer for the process's standard streams."""
    if json:
        from .render.json_lines import JsonLines

        return JsonLines(sys.stdout.buffer)
    wanted = view == "auto" and verbosity == "full" and is_rich(sys.stderr) and _is_utf8(sys.stderr)
    if wanted or view == "live":
        return _live_view()
    from .render.narrator import Narrator

    if not is_rich(sys.stderr):
        from .render.plain import PlainPen

        return Narrator(PlainPen(sys.stderr), verbosity, whole_lines=True, answer_follows=False)
    from .render.terminal import TerminalPen, console_for

    pen = TerminalPen(console_for(sys.stderr))
    return Narrator(pen, verbosity, whole_lines=False, answer_follows=sys.stdout.isatty())


def _live_view() -> Renderer:
    from .render.live import LiveView
    from .render.terminal import TerminalPen, console_for

    pen = TerminalPen(console_for(sys.stderr))
    colours = not os.environ.get("NO_COLOR")
    return LiveView(sys.stderr, pen, colours=colours, answer_follows=sys.stdout.isatty())


def _is_utf8(stream: TextIO) -> bool:
    return stream.encoding.lower().replace("-", "") == "utf8"


async def show(
    source: AsyncIterable[AnyEvent | UnknownEvent], renderer: Renderer, recorder: Recorder | None = None
) -> tuple[TerminalEvent | None, bool]:
    """Show all events; return the one that ended the run, and whether all of them were recorded.

    A recording that cannot go on is said once and given up: the run has been paid for.
    """
    end: TerminalEvent | None = None
    recorded = True
    ticker = asyncio.create_task(_tick(renderer))
    try:
        async for event in source:
            if recorder is not None and recorded:
                try:
                    recorder.write(event)
                except RecordingError as error:
                    recorded = False
                    say(f"{error}; the run goes on without it")
            renderer.handle(event, time.monotonic())
            if isinstance(event, TERMINAL):
                end = event
    finally:
        ticker.cancel()
        renderer.close()
        await asyncio.wait([ticker])
    if not ticker.cancelled():
        ticker.result()
    return end, recorded


async def _tick(renderer: Renderer) -> None:
    while True:
        await asyncio.sleep(renderer.period)
        renderer.tick(time.monotonic())


def print_answer(text: str) -> None:
    """Write the answer to standard output: rendered on a terminal, as it is anywhere else."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if is_rich(sys.stdout):
        from .render.terminal import console_for, markdown

        console = console_for(sys.stdout)
        console.print()
        console.print(markdown(text))
        return
    sys.stdout.write(clean(text).rstrip("\n") + "\n")
    sys.stdout.flush()
