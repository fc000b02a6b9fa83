"""The log of one run's events: what viewers read, each at its own pace.

A viewer is a number, the last `seq` it has, and no queue: a slow one costs nothing and slows nobody. The log keeps the
newest events in a ring, and all of the run folded into its state; who has fallen behind the ring gets the state and
goes on from there. `EventLog` is all that the rest of the server knows, so that a log shared by several servers can
take its place.

Every event that `read` returns completes a prefix of the stream: who has it has all before it, so its `seq` alone says
where to go on. Therefore only deltas that follow each other directly are merged. Merging around the deltas of other
agents would leave, after a cut between two deliveries, gaps that no single number can name.
"""

from __future__ import annotations

import asyncio
from copy import copy
from typing import Final, Protocol

from msgspec.structs import replace

from .. import events as ev
from ..fold import apply

RING_EVENTS: Final = 10_000
RING_BYTES: Final = 4 * 1024 * 1024
READ_LIMIT: Final = 256
_EVENT_BYTES: Final = 400  # an event and its place in the ring, without its text
_COMPACT_AT: Final = 1024


class EventLog(Protocol):
    """One run's events, in order."""

    @property
    def state(self) -> ev.RunState:
        """All events folded. Belongs to the log: copy it before the next event is appended."""
        ...

    @property
    def last_seq(self) -> int:
        """The newest event's number; 0 before the first."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the terminal event has been appended."""
        ...

    def append(self, event: ev.AnyEvent) -> None:
        """Add the next event. Raises `ValueError` when its number is not the next, or after a terminal event."""
        ...

    def read(self, after: int, limit: int = READ_LIMIT) -> list[ev.AnyEvent]:
        """Return what follows `after`, from at most `limit` events; deltas that follow each other are merged.

        When `after` lies before the ring, the first event is a `state_snapshot` that holds all up to its `seq`.
        """
        ...

    async def wait(self, after: int) -> None:
        """Return when there is something after `after`, or the run has ended."""
        ...


class MemoryLog:
    """A log in this process. The ring holds at most `ring_events` events and about `ring_bytes` bytes."""

    def __init__(self, ring_events: int = RING_EVENTS, ring_bytes: int = RING_BYTES) -> None:
        self.state = ev.RunState()
        self.last_seq = 0
        self.ended = False
        self._ring: list[ev.AnyEvent] = []
        self._sizes: list[
            int
        ] = []  # about how many bytes each takes; pairs would be objects for the collector
        self._first = 0  # where in `_ring` the oldest event stands; those before it are forgotten
        self._bytes = 0
        self._most_events = ring_events
        self._most_bytes = ring_bytes
        self._end: ev.TerminalEvent | None = None
        self._before_end: ev.RunState | None = None
        self._more = asyncio.Event()
        self._waiting = 0

    @property
    def bytes(self) -> int:
        """About how much memory the ring takes."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._ring) - self._first

    def append(self, event: ev.AnyEvent) -> None:
        """Add the next event; see `EventLog.append`."""
        if self.ended or event.seq != self.last_seq + 1:
            raise ValueError(f"event {event.seq} cannot follow {self.last_seq} (ended: {self.ended})")
        if isinstance(event, ev.TERMINAL):
            self.ended, self._end = True, event
            self._before_end = copy(self.state)  # a terminal event changes no more than attributes
        self.state = apply(self.state, event)
        self.last_seq = event.seq
        size = _size(event)
        self._ring.append(event)
        self._sizes.append(size)
        self._bytes += size
        self._forget()
        if self._waiting:
            self._more.set()
            self._more = asyncio.Event()

    def read(self, after: int, limit: int = READ_LIMIT) -> list[ev.AnyEvent]:
        """Return what follows `after`; see `EventLog.read`."""
        oldest = self.last_seq - len(self) + 1
        if after >= self.last_seq:
            return []
        if after < oldest - 1:
            return self._from_snapshot(after)
        start = self._first + after - oldest + 1
        return _merged(self._ring[start : start + limit])

    async def wait(self, after: int) -> None:
        """Return when there is something after `after`; see `EventLog.wait`."""
        while self.last_seq <= after and not self.ended:
            self._waiting += 1
            try:
                await self._more.wait()
            finally:
                self._waiting -= 1

    def _from_snapshot(self, after: int) -> list[ev.AnyEvent]:
        """Return the state now. The end of a run stays an event of its own, since every stream ends with one."""
        if self._end is None:
            return [_snapshot(self.state)]
        assert self._before_end is not None  # noqa: S101 (kept together with the end)
        if after >= self._before_end.seq:
            return [self._end]
        return [_snapshot(self._before_end), self._end]

    def _forget(self) -> None:
        while len(self) > self._most_events or (self._bytes > self._most_bytes and len(self) > 1):
            self._bytes -= self._sizes[self._first]
            self._first += 1
            if self._first >= _COMPACT_AT:
                del self._ring[: self._first], self._sizes[: self._first]
                self._first = 0


def _size(event: ev.AnyEvent) -> int:
    # Nearly all are deltas, and to write each as JSON only to know its length would cost as much as to send it.
    return _EVENT_BYTES + len(event.tokens if isinstance(event, _Delta) else ev.encode(event))


def _snapshot(state: ev.RunState) -> ev.StateSnapshotEvent:
    """Return a snapshot that later events leave alone; texts are shared, since they never change in place."""
    kept = copy(state)
    kept.chunks = {key: _copied(chunk) for key, chunk in state.chunks.items()}
    kept.syntheses = {key: copy(synthesis) for key, synthesis in state.syntheses.items()}
    kept.messages = list(state.messages)
    return ev.StateSnapshotEvent(stream_id=state.stream_id, seq=state.seq, ts=state.ts, state=kept)


def _copied(chunk: ev.ChunkState) -> ev.ChunkState:
    chunk = copy(chunk)
    chunk.fragments = list(chunk.fragments)
    return chunk


_Delta = ev.TokenStreamEvent | ev.SynthesisStreamEvent


def _merged(events: list[ev.AnyEvent]) -> list[ev.AnyEvent]:
    merged: list[ev.AnyEvent] = []
    deltas: list[_Delta] = []
    for event in events:
        if deltas and not _continues(deltas[-1], event):
            merged.append(_joined(deltas))
            deltas = []
        if isinstance(event, _Delta):
            deltas.append(event)
        else:
            merged.append(event)
    if deltas:
        merged.append(_joined(deltas))
    return merged


def _continues(last: _Delta, event: ev.AnyEvent) -> bool:
    """Say whether `event` only adds to the same text; one that cuts text back stands alone."""
    match last, event:
        case ev.TokenStreamEvent(), ev.TokenStreamEvent():
            return event.keep is None and last.chunk_id == event.chunk_id and not last.is_final
        case ev.SynthesisStreamEvent(), ev.SynthesisStreamEvent():
            return event.keep is None and last.section == event.section
    return False


def _joined(deltas: list[_Delta]) -> _Delta:
    first, last = deltas[0], deltas[-1]
    if first is last:
        return first
    tokens = "".join(delta.tokens for delta in deltas)
    return replace(last, tokens=tokens, keep=first.keep, first_seq=first.first_seq or first.seq)
