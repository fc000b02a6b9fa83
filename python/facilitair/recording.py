"""Recorded runs: every event of a run in a file, one JSON object a line, in order.

A line is written out before the next event is taken, so that a process that is killed leaves a file that can be
read up to its last whole line. What a file held before stays until there is an event to replace it. Lines hold no raw
control characters, so that a recording can be shown with any tool. Reading tolerates what this version does not know:
event types (`UnknownEvent`) and a last line that was cut off (`Recording.truncated`).
"""

from __future__ import annotations

import fcntl
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from os import fstat
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
    """Writes events to a file; a context manager. What an existing file holds is replaced by the first event."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._is_new = False
        self._is_begun = False

    def __enter__(self) -> Self:
        """Open the file. Raises `RecordingError` when it cannot be written, or another run is recorded there."""
        try:
            self._is_new = not self._path.exists()
            self._file = self._path.open("ab", buffering=0)
            if self._is_regular():
                self._lock(self._file)
        except (OSError, ValueError) as error:
            self._close()
            raise self._failure(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; one that was made for nothing is removed."""
        if self._is_new and not self._is_begun and self._is_regular():
            with suppress(OSError):  # it is gone, which is what was wanted
                self._path.unlink()
        self._close()

    def write(self, event: ev.AnyEvent | ev.UnknownEvent) -> None:
        """Append `event`. Raises `RecordingError` when it could not be written, and when used outside `with`."""
        if self._file is None:
            raise RecordingError(f"the recording {str(self._path)!r} is not open; use `with Recorder(path)`")
        try:
            if not self._is_begun and self._is_regular():
                self._file.truncate(0)
            self._is_begun = True
            rest = memoryview(event_line(event))
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._failure(error) from error

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _is_regular(self) -> bool:
        return self._file is not None and stat.S_ISREG(fstat(self._file.fileno()).st_mode)

    def _lock(self, file: FileIO) -> None:
        """Keep others from recording into the same file: the lines of two runs would be a recording of none."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._is_new = False
            self._close()
            raise RecordingError(
                f"another run is being recorded in {str(self._path)!r}; name another file"
            ) from None
        except OSError:
            return  # a file system that has no locks, such as some network ones

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
