"""One run on one screen: events come from a live run or a recording, and go to a renderer and a recorder."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from ..errors import RecordingError
from ..events import TERMINAL, AnyEvent, TerminalEvent, UnknownEvent
from .render.sanitize import clean

if TYPE_CHECKING:
    from ..recording import Recorder
    from .render.narrator import Verbosity

_TICK_S: Final = 0.25


class Renderer(Protocol):
    """Shows events as they come."""

    def handle(self, event: AnyEvent | UnknownEvent, now: float) -> None:
        """Show `event`; `now` is monotonic seconds."""
        ...

    def tick(self, now: float) -> None:
        """Show what has waited long enough for others."""
        ...


def is_rich(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that wants colours and boxes."""
    capable = os.environ.get("TERM", "dumb").lower() not in {"dumb", "unknown", ""}
    return stream.isatty() and capable and not os.environ.get("NO_COLOR")


def renderer_for(*, json: bool, verbosity: Verbosity) -> Renderer:
    """Return the renderer for the process's standard streams."""
    if json:
        from .render.json_lines import JsonLines

        return JsonLines(sys.stdout.buffer)
    from .render.narrator import Narrator

    if not is_rich(sys.stderr):
        from .render.plain import PlainPen

        return Narrator(PlainPen(sys.stderr), verbosity, whole_lines=True, answer_follows=False)
    from .render.terminal import TerminalPen, console_for

    pen = TerminalPen(console_for(sys.stderr))
    return Narrator(pen, verbosity, whole_lines=False, answer_follows=sys.stdout.isatty())


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
        await asyncio.wait([ticker])
    if not ticker.cancelled():
        ticker.result()
    return end, recorded


async def _tick(renderer: Renderer) -> None:
    while True:
        await asyncio.sleep(_TICK_S)
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


def say(message: str) -> None:
    """Write a line about the command itself to standard error."""
    print(f"facilitair: {message}", file=sys.stderr, flush=True)  # noqa: T201
