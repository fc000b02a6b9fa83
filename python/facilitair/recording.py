"""Recorded runs: every event of a run in a file, one JSON object a line, in order.

A line is written out before the next event is taken, so that a process that is killed leaves a file that can be
read up to its last whole line. Lines hold no raw control characters, so that a recording can be shown with any
tool. Reading tolerates what this version does not know: event types (`UnknownEvent`) and a last line that was
cut off (`Recording.truncated`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from . import events as ev
from .errors import RecordingError, SequenceError
from .stream import EventStream

_MAX_LINE_BYTES: Final = 64 * 1024 * 1024

# JSON allows these raw in strings; some terminals obey them and some tools split lines at them.
_RAW_CONTROLS = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def event_line(event: ev.AnyEvent | ev.UnknownEvent) -> bytes:
    """Return the event as one line of printable JSON, with its line end."""
    data = event.raw.strip() if isinstance(event, ev.UnknownEvent) else ev.encode(event)
    if not data.isascii():
        data = _RAW_CONTROLS.sub(_escaped, data.decode()).encode()
    return data.replace(b"\x7f", b"\\u007f") + b"\n"


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


class Recorder:
    """Writes events to a file; a context manager. An existing file is replaced when it opens."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        """Open the file. Raises `RecordingError` when it cannot be written."""
        try:
            self._file = self._path.open("wb", buffering=0)
        except (OSError, ValueError) as error:
            raise self._failure(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, event: ev.AnyEvent | ev.UnknownEvent) -> None:
        """Append `event`. Raises `RecordingError` when it could not be written, and when used outside `with`."""
        if self._file is None:
            raise RecordingError(f"the recording {str(self._path)!r} is not open; use `with Recorder(path)`")
        try:
            rest = memoryview(event_line(event))
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> RecordingError:
        reason = error.strerror if isinstance(error, OSError) else error
        return RecordingError(f"cannot write the recording {str(self._path)!r}: {reason}")


class Recording:
    """The events of a recorded run; iterate once. After that `truncated` says whether the last line was cut off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._events = self._read()
        self.truncated = False

    def __iter__(self) -> Iterator[ev.AnyEvent | ev.UnknownEvent]:
        """Return the events. Raises `RecordingError` for a file that cannot be read or is no recording."""
        return self._events

    def _read(self) -> Iterator[ev.AnyEvent | ev.UnknownEvent]:
        try:
            with self._path.open("rb") as file:
                number, owner = 0, None
                for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), start=1):
                    event = self._decoded(number, line)
                    if event is None:
                        continue
                    if owner is None and not isinstance(event, ev.UnknownEvent):
                        # It may be of a run that was watched from its middle.
                        first = event.seq if event.first_seq is None else event.first_seq
                        owner = EventStream(event.stream_id, after=first - 1)
                    if owner is not None:
                        self._check(number, owner, event)
                    yield event
                if number == 0:
                    raise RecordingError(f"{str(self._path)!r} is no recording: it is empty")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RecordingError(f"cannot read the recording {str(self._path)!r}: {reason}") from error

    def _check(self, number: int, owner: EventStream, event: ev.AnyEvent | ev.UnknownEvent) -> None:
        try:
            if owner.take(event) or isinstance(event, ev.UnknownEvent):
                return
            problem = f"event {event.seq} comes twice"
        except SequenceError as error:
            problem = str(error)
        raise RecordingError(f"the recording {str(self._path)!r} is damaged: line {number}: {problem}")

    def _decoded(self, number: int, line: bytes) -> ev.AnyEvent | ev.UnknownEvent | None:
        try:
            event = ev.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if number > 1 and not line.endswith(b"\n"):
                self.truncated = True
                return None
            raise RecordingError(self._no_recording(number)) from error
        if number == 1 and isinstance(event, ev.UnknownEvent):
            raise RecordingError(self._no_recording(number))
        return event

    def _no_recording(self, number: int) -> str:
        if number == 1:
            return f"{str(self._path)!r} is no recording: its first line is not an event of a run"
        return f"the recording {str(self._path)!r} is damaged: line {number} is not an event"


def read_recording(path: Path) -> Recording:
    """Return the events recorded in the file; it is opened when iteration begins."""
    return Recording(path)
