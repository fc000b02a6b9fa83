"""The log of one run's events: what viewers read, each at its own pace.

A viewer is a number, the last `seq` it has, and no queue: a slow one costs nothing and slows nobody. The log keeps the
newest events in a ring and the run's folded state beside it; who has fallen behind the ring gets the state and goes on
from there. `EventLog` is all that the rest of the server knows, so that a log shared by several servers can take the
place of `MemoryLog`; `tests/server/test_log.py` is what such a one has to pass.

Every event that `follow` gives completes a prefix of the stream: who has it has all before it, so its `seq` alone says
where to go on. Therefore only deltas that follow each other directly are merged. Merging around the deltas of other
agents would leave, after a cut between two deliveries, gaps that no single number can name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from copy import copy
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from msgspec.structs import replace

from .. import events as ev
from ..errors import LeaseLostError, SequenceError
from ..fold import apply

RING_EVENTS: Final = 10_000
RING_BYTES: Final = 4 * 1024 * 1024
READ_LIMIT: Final = 256
_EVENT_BYTES: Final = 400  # an event and its place in the ring, without its text
_COMPACT_AT: Final = 1024
_PLACES_KEPT: Final = 8
_T = TypeVar("_T")


class Batch:
    """Some events that follow each other. Viewers at the same place are given the same batch, and share what an
    encoder made of it. An empty one says that nothing came for a while."""

    __slots__ = ("_made", "events")

    def __init__(self, events: Sequence[ev.AnyEvent] = ()) -> None:
        self.events = events
        self._made: dict[Callable[[Sequence[ev.AnyEvent]], object], object] = {}

    def made(self, encode: Callable[[Sequence[ev.AnyEvent]], _T]) -> _T:
        """Return what `encode` makes of the events; it is called once."""
        if encode not in self._made:
            self._made[encode] = encode(self.events)
        return cast("_T", self._made[encode])


NOTHING: Final = Batch()


class Held(NamedTuple):
    """What a log keeps in this process."""

    events: int
    bytes: int


class Writer(Protocol):
    """The lease on a log: only who took it last can append."""

    async def append(self, events: Sequence[ev.AnyEvent], standing: ev.RunState) -> None:
        """Add the next events. `standing` is the run folded with them but without its end (`EventStream.standing`);
        it stays the caller's, who changes it only to append more.

        All are added or none. Raises `SequenceError` when the first is not the next or the run has ended, and
        `LeaseLostError`.
        """
        ...

    async def give_up(self) -> None:
        """The end of the run cannot be written: let all who follow the log end without it."""
        ...


class EventLog(Protocol):
    """One run's events, in order."""

    @property
    def last_seq(self) -> int:
        """The newest event's number; 0 before the first."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the terminal event has been appended."""
        ...

    @property
    def held(self) -> Held:
        """How many events it keeps in this process, and about how many bytes these take."""
        ...

    def writer(self) -> Writer:
        """Take the lease."""
        ...

    def follow(self, after: int, idle_s: float | None = None) -> AsyncGenerator[Batch]:
        """Yield what follows `after`, as it comes, until the end of the run; deltas that follow each other are merged.

        When `after` lies before the ring, the first event is a `state_snapshot` that holds all up to its `seq`. After
        `idle_s` seconds without an event, `NOTHING` is yielded.
        """
        ...

    async def state(self) -> ev.RunState:
        """Return the run as folded so far; it is not to be changed."""
        ...


class MemoryLog:
    """A log in this process. The ring holds at most `ring_events` events and about `ring_bytes` bytes; a batch is made
    of at most `read_limit` events."""

    def __init__(
        self, ring_events: int = RING_EVENTS, ring_bytes: int = RING_BYTES, read_limit: int = READ_LIMIT
    ) -> None:
        self.last_seq = 0
        self._ring: list[ev.AnyEvent] = []
        # About how many bytes each takes; pairs would be objects for the collector.
        self._sizes: list[int] = []
        self._first = 0  # where in `_ring` the oldest event stands; those before it are forgotten
        self._bytes = 0
        self._most_events = ring_events
        self._most_bytes = ring_bytes
        self._read_limit = read_limit
        self._standing = ev.RunState()
        self._end: ev.TerminalEvent | None = None
        self._lease = 0
        self._given_up = False
        self._read: dict[int, Batch] = {}  # what follows a place, since the last append
        self._waiting: dict[asyncio.Future[bool], None] = {}

    @property
    def ended(self) -> bool:
        """Whether the terminal event has been appended."""
        return self._end is not None

    @property
    def held(self) -> Held:
        """What the ring keeps; see `EventLog.held`."""
        return Held(len(self._ring) - self._first, self._bytes)

    def writer(self) -> MemoryWriter:
        """Take the lease; see `EventLog.writer`."""
        self._lease += 1
        return MemoryWriter(self, self._lease)

    async def state(self) -> ev.RunState:
        """Return the run as folded so far; see `EventLog.state`."""
        return self._standing if self._end is None else apply(self._standing, self._end)

    async def follow(self, after: int, idle_s: float | None = None) -> AsyncGenerator[Batch]:
        """Yield what follows `after`; see `EventLog.follow`."""
        patience = None if idle_s is None else _Patience(idle_s)
        try:
            while True:
                if self.last_seq > after:
                    batch = self._after(after)
                    after = batch.events[-1].seq
                    yield batch
                elif self._end is not None or self._given_up:
                    return
                elif not await self._more(patience):
                    yield NOTHING
        finally:
            if patience is not None:
                patience.end()

    def _append(self, lease: int, events: Sequence[ev.AnyEvent], standing: ev.RunState) -> None:
        if lease != self._lease:
            raise LeaseLostError("another writer has taken this run's log over; this one must stop.")
        for last, event in enumerate(events, self.last_seq):
            if self.ended or event.seq != last + 1:
                raise SequenceError(f"event {event.seq} cannot follow {last} (ended: {self.ended})")
        for event in events:
            if isinstance(event, ev.TERMINAL):
                self._end = event
            self.last_seq = event.seq
            size = _size(event)
            self._ring.append(event)
            self._sizes.append(size)
            self._bytes += size
        self._standing = standing
        self._forget()
        self._read.clear()
        self._wake()

    def _give_up(self, lease: int) -> None:
        if lease == self._lease:
            self._given_up = True
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(True)

    def _after(self, after: int) -> Batch:
        if batch := self._read.get(after):
            return batch
        oldest = self.last_seq - (len(self._ring) - self._first) + 1
        if after < oldest - 1:
            batch = Batch(self._from_snapshot(after))
        else:
            start = self._first + after - oldest + 1
            batch = Batch(_merged(self._ring[start : start + self._read_limit]))
        # Nearly all viewers are at a few places near the end; a run that has ended keeps nothing for them.
        if self._end is None and len(self._read) < _PLACES_KEPT:
            self._read[after] = batch
        return batch

    async def _more(self, patience: _Patience | None) -> bool:
        """Wait for an append; false when patience was at its end before."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        if patience is not None:
            patience.wait_for(waiter)
        try:
            return await waiter
        finally:
            self._waiting.pop(waiter, None)

    def _from_snapshot(self, after: int) -> list[ev.AnyEvent]:
        """Return the state now. The end of a run stays an event of its own, since every stream ends with one."""
        if self._end is not None and after >= self._standing.seq:
            return [self._end]
        snapshot = _snapshot(self._standing)
        return [snapshot] if self._end is None else [snapshot, self._end]

    def _forget(self) -> None:
        while len(self._ring) - self._first > self._most_events or (
            self._bytes > self._most_bytes and len(self._ring) - self._first > 1
        ):
            self._bytes -= self._sizes[self._first]
            self._first += 1
            if self._first >= _COMPACT_AT:
                del self._ring[: self._first], self._sizes[: self._first]
                self._first = 0


class MemoryWriter:
    """The lease on a `MemoryLog`."""

    def __init__(self, log: MemoryLog, lease: int) -> None:
        self._log = log
        self._lease = lease

    async def append(self, events: Sequence[ev.AnyEvent], standing: ev.RunState) -> None:
        """Add the next events; see `Writer.append`."""
        self._log._append(self._lease, events, standing)

    async def give_up(self) -> None:
        """Let all who follow end; see `Writer.give_up`."""
        self._log._give_up(self._lease)


class _Patience:
    """Ends a wait that nothing ended for `idle_s` seconds. One timer for many waits: to arm one for each would cost
    as much as to send what was waited for."""

    def __init__(self, idle_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle_s = idle_s
        self._since = self._loop.time()
        self._waiter: asyncio.Future[bool] | None = None
        self._timer = self._loop.call_later(idle_s, self._look)

    def wait_for(self, waiter: asyncio.Future[bool]) -> None:
        """Begin to wait."""
        self._waiter, self._since = waiter, self._loop.time()

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        now, due = self._loop.time(), self._since + self._idle_s
        if now >= due:
            due = now + self._idle_s
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(False)
        self._timer = self._loop.call_at(due, self._look)


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


_AnyDelta: TypeAlias = ev.TokenStreamEvent | ev.SynthesisStreamEvent
_Delta: Final = (ev.TokenStreamEvent, ev.SynthesisStreamEvent)


def _merged(events: list[ev.AnyEvent]) -> list[ev.AnyEvent]:
    if len(events) == 1:
        return events
    merged: list[ev.AnyEvent] = []
    deltas: list[_AnyDelta] = []
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


def _continues(last: _AnyDelta, event: ev.AnyEvent) -> bool:
    """Say whether `event` only adds to the same text; one that cuts text back stands alone."""
    if isinstance(last, ev.TokenStreamEvent):
        if not isinstance(event, ev.TokenStreamEvent) or last.chunk_id != event.chunk_id:
            return False
        return event.keep is None and not last.is_final
    return isinstance(event, ev.SynthesisStreamEvent) and last.section == event.section and event.keep is None


def _joined(deltas: list[_AnyDelta]) -> _AnyDelta:
    first, last = deltas[0], deltas[-1]
    if first is last:
        return first
    tokens = "".join(delta.tokens for delta in deltas)
    return replace(last, tokens=tokens, keep=first.keep, first_seq=first.first_seq or first.seq)
