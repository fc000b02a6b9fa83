"""One run on one screen: events come from a live run or a recording, and go to a renderer and a recorder."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Protocol

from ..errors import RecordingError
from ..events import TERMINAL, AnyEvent, TerminalEvent, UnknownEvent
from .messages import say
from .render.sanitize import clean

if TYPE_CHECKING:
    from ..recording import Recorder
    from .output import Output, Streams


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


def renderer_for(output: Output) -> Renderer:
    """Return the renderer that shows a run as `output` says, on the process's standard streams."""
    if output.style == "json":
        from .render.json_lines import JsonLines

        return JsonLines(sys.stdout.buffer)
    if output.style == "live":
        return _live_view(output.streams)
    from .render.narrator import Narrator

    if output.style == "plain":
        from .render.plain import PlainPen

        return Narrator(PlainPen(sys.stderr), output.verbosity, whole_lines=True, answer_follows=False)
    from .render.terminal import TerminalPen, console_for

    pen = TerminalPen(console_for(sys.stderr))
    return Narrator(pen, output.verbosity, whole_lines=False, answer_follows=output.streams.out_is_terminal)


def _live_view(streams: Streams) -> Renderer:
    from .render.live import LiveView
    from .render.terminal import TerminalPen, console_for

    pen = TerminalPen(console_for(sys.stderr))
    return LiveView(sys.stderr, pen, colours=streams.colours, answer_follows=streams.out_is_terminal)


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


def print_answer(text: str, *, formatted: bool) -> None:
    """Write the answer to standard output: `formatted` for a terminal, or as it is."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if formatted:
        from .render.terminal import console_for, markdown

        console = console_for(sys.stdout)
        console.print()
        console.print(markdown(text))
        return
    sys.stdout.write(clean(text).rstrip("\n") + "\n")
    sys.stdout.flush()
