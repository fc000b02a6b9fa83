"""The source of a run's events: numbers and stamps them, keeps the folded state, queues them for the consumer."""

from __future__ import annotations

from typing import TypedDict

from .. import events as ev
from ..fold import apply
from ..transport import Clock


class Stamp(TypedDict):
    """The envelope of one event."""

    stream_id: str
    seq: int
    ts: float


class Emitter:
    """Gives out envelopes in order and collects the events made with them."""

    def __init__(self, stream_id: str, clock: Clock) -> None:
        self._stream_id = stream_id
        self._clock = clock
        self._start = clock.now()
        self._seq = 0
        self._queue: list[ev.AnyEvent] = []
        self.state = ev.RunState(stream_id=stream_id)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock.now() - self._start

    def stamp(self) -> Stamp:
        """Return the envelope of the next event; every stamp must be emitted."""
        self._seq += 1
        return {"stream_id": self._stream_id, "seq": self._seq, "ts": round(self.elapsed, 6)}

    def emit(self, event: ev.AnyEvent) -> None:
        """Fold and queue `event`. Raises `RuntimeError` after a terminal one: that is a mistake of the engine."""
        if self.state.status != "running":
            raise RuntimeError(f"{type(event).__name__} after the end of the run")
        self.state = apply(self.state, event)
        self._queue.append(event)

    def say(self, message: str, level: ev.Level = "info") -> None:
        """Emit a system message."""
        self.emit(ev.SystemMessageEvent(**self.stamp(), message=message, level=level))

    def drain(self) -> list[ev.AnyEvent]:
        """Return the events not yet taken."""
        events, self._queue = self._queue, []
        return events
