"""One event a line, for programs. Nothing else is written to this stream."""

from __future__ import annotations

from typing import BinaryIO

from ...events import AnyEvent, UnknownEvent
from ...recording import event_line


class JsonLines:
    """Writes each event as soon as it comes."""

    period = 1.0

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def handle(self, event: AnyEvent | UnknownEvent, now: float) -> None:  # noqa: ARG002 (the renderers' contract)
        """Write the event."""
        self._out.write(event_line(event))
        self._out.flush()

    def tick(self, now: float) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing is held here."""
