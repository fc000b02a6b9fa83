"""A run shown here: its events on the screen and in a recording, then its answer, or what there is of it."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, nullcontext
from errno import EBADF
from pathlib import Path
from typing import Final, TypeAlias

from ..errors import TABLE, RecordingError, run_error
from ..events import (
    AnyEvent,
    StateSnapshotEvent,
    SynthesisCompletedEvent,
    TaskCancelledEvent,
    TaskCompletedEvent,
    TaskErrorEvent,
    TaskStartedEvent,
    TerminalEvent,
    UnknownEvent,
)
from ..finish import is_whole
from ..recording import Recorder
from .exit_codes import ExitCode
from .files import place_for_partial, write_whole
from .messages import say
from .output import Output
from .render.sanitize import clean
from .renderers import Renderer, renderer_for

_Event: TypeAlias = AnyEvent | UnknownEvent

SIMULATED_MARK: Final = "> **Simulated**: a script of the built-in simulator; no model wrote this."


class Presentation:
    """One run, shown as `output` says from its first event to the exit code of the command."""

    def __init__(self, output: Output) -> None:
        self.end: TerminalEvent | None = None  # the event that ended the run, once it was shown
        self._output = output
        self._recorded = True
        self._unseen: OSError | None = None  # why the run is no longer shown
        self._simulated = False
        self._stop: Callable[[], object] | None = None
        self._reasons: dict[str, str] = {}  # why the answer of each section ends

    async def show(self, events: AsyncGenerator[_Event], stop: Callable[[], object] | None = None) -> None:
        """Show all events, record them if that was asked for, and close `events` however it ends.

        A recording or a screen that cannot be written any more is given up: the run has been paid for. Raises
        `RecordingError` when a recording cannot even begin, and what `events` raises. Where the events were to go to
        standard output and to no other place, and that cannot be written, `stop` is called; without it, it is an
        `OSError`.
        """
        self._stop = stop
        renderer = renderer_for(self._output)
        record = self._output.record
        async with aclosing(events):
            with nullcontext() if record is None else Recorder(record) as recorder:
                await self._follow(events, renderer, recorder)

    def conclude(self, *, interrupted: bool = False) -> ExitCode:
        """Deliver the answer, or save what there is of it; return what the command ends with. `interrupted`: it was
        this process that had the run cancelled."""
        code, kept = _code_of(self.end, interrupted=interrupted), True
        if self.end is None:
            say("the run broke off without an end; please report this")
        elif isinstance(self.end, TaskCompletedEvent):
            return self._deliver(self.end, code)
        else:
            why = self.end.code if isinstance(self.end, TaskErrorEvent) else self.end.reason
            kept = self._keep_partial(self.end.stream_id, f"<!-- partial: {why} -->", self.end.partial)
        if self._output.json and self._unseen is not None:
            return self._unwritten(self._unseen)
        return ExitCode.FAILED if code is ExitCode.OK and not (self._recorded and kept) else code

    def print_answer(self) -> None:
        """Write the answer, if there is one, to standard output; nothing where the events went there. Raises
        `OSError`."""
        if self._output.json or not isinstance(self.end, TaskCompletedEvent):
            return
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        if self._output.streams.out_is_closed:
            raise OSError(EBADF, "it is closed")
        text = self._marked(self.end.content)
        if self._output.formats_answer:
            from .render.terminal import console_for, markdown

            console = console_for(sys.stdout)
            console.print()
            console.print(markdown(text))
            return
        sys.stdout.write(_as_file(text))
        sys.stdout.flush()

    def _deliver(self, end: TaskCompletedEvent, code: ExitCode) -> ExitCode:
        """Put the answer where it was wanted; where that cannot be written, somewhere else."""
        asked, saved = self._output.answer, True
        if asked is not None:
            whole = all(map(is_whole, self._reasons.values()))
            place = asked if whole else place_for_partial(asked)
            saved = _save(place, self._marked(end.content))
            if saved and place != asked:
                say(
                    f"the answer is not whole, and {str(asked)!r} is kept as it is; what there is is in {place}"
                )
        if self._output.folder is not None:
            saved = self._output.folder.write(end) and saved
        failure = self._unseen if self._output.json else None
        try:
            self.print_answer()
        except OSError as error:
            failure = error
        if (asked is not None and not saved) or (
            failure is not None and asked is None and not self._output.json
        ):
            name = _name("answer", end.stream_id)
            self._keep(_elsewhere(name), self._marked(end.content), "the answer")
        if failure is not None:
            return self._unwritten(failure)
        lost = not (self._recorded and saved)
        return ExitCode.FAILED if code is ExitCode.OK and lost else code

    def _unwritten(self, error: OSError) -> ExitCode:
        """Say that standard output failed; one whose reader has left needs no words."""
        if isinstance(error, BrokenPipeError):
            return ExitCode.BROKEN_PIPE
        say(f"standard output cannot be written: {error.strerror}")
        return ExitCode.FAILED

    def _marked(self, text: str) -> str:
        return f"{SIMULATED_MARK}\n\n{text}" if self._simulated else text

    async def _follow(
        self, events: AsyncGenerator[_Event], renderer: Renderer, recorder: Recorder | None
    ) -> None:
        ticker = asyncio.create_task(self._tick(renderer))
        try:
            async for event in events:
                if recorder is not None and self._recorded:
                    self._record(event, recorder)
                self._progress(renderer.handle, event, time.monotonic())
                self._note(event)
        finally:
            ticker.cancel()
            self._progress(renderer.close)
            await asyncio.wait([ticker])
        if not ticker.cancelled():
            ticker.result()

    async def _tick(self, renderer: Renderer) -> None:
        while True:
            await asyncio.sleep(renderer.period)
            self._progress(renderer.tick, time.monotonic())

    def _progress(self, show: Callable[..., None], *arguments: object) -> None:
        if self._unseen is not None:
            return
        try:
            show(*arguments)
        except OSError as error:
            wanted_elsewhere = self._output.answer is not None or self._output.record is not None
            if self._output.json and not wanted_elsewhere:
                if self._stop is None:
                    raise
                self._stop()
            self._unseen = error

    def _note(self, event: _Event) -> None:
        match event:
            case TaskStartedEvent():
                self._simulated = event.simulated
            case StateSnapshotEvent():
                self._simulated = event.state.simulated
                self._reasons = {
                    name: synthesis.finish_reason or "stop"
                    for name, synthesis in event.state.syntheses.items()
                }
            case SynthesisCompletedEvent():
                self._reasons[event.section] = event.finish_reason
            case TaskCompletedEvent() | TaskErrorEvent() | TaskCancelledEvent():
                self.end = event
                if isinstance(event, TaskCompletedEvent):
                    self._simulated = event.simulated
            case _:
                pass

    def _record(self, event: _Event, recorder: Recorder) -> None:
        try:
            recorder.write(event)
        except RecordingError as error:
            self._recorded = False
            say(f"{error}; the run goes on without it")

    def _keep_partial(self, stream_id: str, mark: str, partial: str) -> bool:
        if not partial.strip():
            if not isinstance(self._unseen, BrokenPipeError):  # whose reader did not wait for any
                say("nothing of the answer had been written yet, so nothing was saved")
            return True
        asked = self._output.answer
        places = [] if asked is None else [place_for_partial(asked)]
        places += _elsewhere(_name("partial", stream_id))
        return self._keep(places, f"{mark}\n{self._marked(partial)}", "the partial answer")

    def _keep(self, places: Sequence[Path], text: str, what: str) -> bool:
        """Save `text` in the first of `places` that takes it, and say where."""
        for place in places:
            if _save(place, text):
                say(f"{what} is in {place}")
                return True
        return False


def _name(what: str, stream_id: str) -> str:
    return f"facilitair-{what}-{re.sub(r'[^A-Za-z0-9_-]', '_', stream_id)}.md"


def _elsewhere(name: str) -> list[Path]:
    return [Path(name), Path(tempfile.gettempdir()) / name]


def _code_of(end: TerminalEvent | None, *, interrupted: bool) -> ExitCode:
    match end:
        case TaskCompletedEvent():
            return ExitCode.PARTIAL if end.degraded else ExitCode.OK
        case TaskErrorEvent():
            return ExitCode(TABLE[run_error(end.code).code].exit_status)
        case TaskCancelledEvent():  # somebody else's wish, or the end of a server, is no Ctrl-C
            return ExitCode(TABLE["cancelled"].exit_status) if interrupted else ExitCode.FAILED
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
