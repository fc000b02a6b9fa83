"""A run shown here: its events on the screen and in a recording, then its answer, or what there is of it."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import TypeAlias

from ..errors import TABLE, RecordingError, run_error
from ..events import (
    TERMINAL,
    AnyEvent,
    TaskCancelledEvent,
    TaskCompletedEvent,
    TaskErrorEvent,
    TerminalEvent,
    UnknownEvent,
)
from ..recording import Recorder
from .exit_codes import ExitCode
from .files import write_whole
from .messages import say
from .output import Output
from .render.sanitize import clean
from .renderers import Renderer, renderer_for

_Event: TypeAlias = AnyEvent | UnknownEvent


class Presentation:
    """One run, shown as `output` says from its first event to the exit code of the command."""

    def __init__(self, output: Output) -> None:
        self.end: TerminalEvent | None = None  # the event that ended the run, once it was shown
        self._output = output
        self._recorded = True

    async def show(self, events: AsyncGenerator[_Event]) -> None:
        """Show all events, record them if that was asked for, and close `events` however it ends.

        A recording that cannot go on is said once and given up: the run has been paid for. Raises `RecordingError`
        when it cannot even begin, and what `events` raises.
        """
        renderer = renderer_for(self._output)
        record = self._output.record
        async with aclosing(events):
            with nullcontext() if record is None else Recorder(record) as recorder:
                await self._follow(events, renderer, recorder)

    def conclude(self) -> ExitCode:
        """Deliver the answer, or save what there is of it; return what the command ends with."""
        code, kept = _code_of(self.end), True
        if self.end is None:
            say("the run broke off without an end; please report this")
        elif isinstance(self.end, TaskCompletedEvent):
            if self._output.answer is not None:
                kept = _save(self._output.answer, self.end.content)
            self.print_answer()
        else:
            why = self.end.code if isinstance(self.end, TaskErrorEvent) else self.end.reason
            kept = self._keep_partial(self.end.stream_id, f"<!-- partial: {why} -->", self.end.partial)
        return ExitCode.FAILED if code is ExitCode.OK and not (self._recorded and kept) else code

    def print_answer(self) -> None:
        """Write the answer, if there is one, to standard output; nothing where the events went there."""
        if self._output.json or not isinstance(self.end, TaskCompletedEvent):
            return
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        if self._output.formats_answer:
            from .render.terminal import console_for, markdown

            console = console_for(sys.stdout)
            console.print()
            console.print(markdown(self.end.content))
            return
        sys.stdout.write(_as_file(self.end.content))
        sys.stdout.flush()

    async def _follow(
        self, events: AsyncGenerator[_Event], renderer: Renderer, recorder: Recorder | None
    ) -> None:
        ticker = asyncio.create_task(_tick(renderer))
        try:
            async for event in events:
                if recorder is not None and self._recorded:
                    self._record(event, recorder)
                renderer.handle(event, time.monotonic())
                if isinstance(event, TERMINAL):
                    self.end = event
        finally:
            ticker.cancel()
            renderer.close()
            await asyncio.wait([ticker])
        if not ticker.cancelled():
            ticker.result()

    def _record(self, event: _Event, recorder: Recorder) -> None:
        try:
            recorder.write(event)
        except RecordingError as error:
            self._recorded = False
            say(f"{error}; the run goes on without it")

    def _keep_partial(self, stream_id: str, mark: str, partial: str) -> bool:
        if not partial.strip():
            say("nothing of the answer had been written yet, so nothing was saved")
            return True
        name = f"facilitair-partial-{re.sub(r'[^A-Za-z0-9_-]', '_', stream_id)}.md"
        asked = self._output.answer
        for place in [Path(name), Path(tempfile.gettempdir()) / name] if asked is None else [asked]:
            if _save(place, f"{mark}\n{partial}"):
                say(f"the partial answer is in {place}")
                return True
        return False


async def _tick(renderer: Renderer) -> None:
    while True:
        await asyncio.sleep(renderer.period)
        renderer.tick(time.monotonic())


def _code_of(end: TerminalEvent | None) -> ExitCode:
    match end:
        case TaskCompletedEvent():
            return ExitCode.PARTIAL if end.degraded else ExitCode.OK
        case TaskErrorEvent():
            return ExitCode(TABLE[run_error(end.code).code].exit_status)
        case TaskCancelledEvent():
            return ExitCode(TABLE["cancelled"].exit_status)
        case None:  # the stream broke off
            return ExitCode.FAILED


def _save(path: Path, text: str) -> bool:
    try:
        write_whole(path, _as_file(text))
    except OSError as error:
        say(f"cannot write {str(path)!r}: {error.strerror}")
        return False
    return True


def _as_file(text: str) -> str:
    return clean(text).rstrip("\n") + "\n"
