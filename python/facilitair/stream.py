"""The owner of a run's events: it numbers, stamps and folds them, closes what is open, and ends the stream once.

A live run *says* events without an envelope into it (`say`, `tell`, `end`), and nobody else makes events of that run.
What was recorded, or comes from a server, keeps its envelope; there `take` checks and folds. In the other direction
the run is told something through the inbox: `submit` from anywhere on the event loop, `commands` by whoever drives the
run, before each wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from . import events as ev
from .clock import Clock, VirtualClock
from .errors import SequenceError
from .fold import apply

NOBODY: Final = "nobody follows the run any more"


class Cancel(msgspec.Struct, frozen=True):
    """Stop the run; it ends with `task_cancelled`."""

    reason: str


class Say(msgspec.Struct, frozen=True):
    """Tell the viewers something that the run itself does not know."""

    message: str
    level: ev.Level = "warning"


Command: TypeAlias = Cancel | Say


class Figures(msgspec.Struct, frozen=True):
    """What a chunk used, and the seconds to its first text; `None` is "nobody knows"."""

    usage: ev.Usage | None = None
    cost_usd: float | None = None
    ttft_s: float | None = None


_UNKNOWN: Final = Figures()
_NOTHING: Final[Mapping[str, Figures]] = {}


class Inbox(msgspec.Struct):
    """What a run is told, until whoever drives it takes it. A run that has ended is told nothing."""

    wake: Callable[[], None] | None = None
    _waiting: list[Command] = msgspec.field(default_factory=list)
    _closed: bool = False

    def put(self, command: Command) -> None:
        """Add a command, and wake who waits for something else."""
        if self._closed:
            return
        self._waiting.append(command)
        if self.wake is not None:
            self.wake()

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True
        self._waiting.clear()

    def take(self) -> list[Command]:
        """Return all commands, the oldest first."""
        taken, self._waiting = self._waiting, []
        return taken


class EventStream:
    """The events of one run, in order; see the module. It belongs to one event loop.

    `state` is all of them folded; it may be ahead of what a consumer has been given. It stays `running` until the
    end, which is the only terminal event and the last event of all.
    """

    def __init__(self, stream_id: str | None = None, *, after: int = 0) -> None:
        """Own a new run, or one that has that name; events up to `after` are known, and not wanted."""
        self.stream_id = os.urandom(16).hex() if stream_id is None else stream_id
        self.last_seq = after
        self.state = ev.RunState(stream_id=self.stream_id)
        self.inbox = Inbox()
        self._clock: Clock = VirtualClock()
        self._start = 0.0
        self._before_end: ev.RunState | None = None
        self._chunks_begun: dict[str, float] = {}
        self._queue: list[ev.AnyEvent] = []

    @property
    def ended(self) -> bool:
        """Whether the terminal event was said; nothing follows it."""
        return self._before_end is not None

    @property
    def standing(self) -> ev.RunState:
        """The state without the end of the run, for snapshots: the end is an event of its own."""
        return self.state if self._before_end is None else self._before_end

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock.now() - self._start

    # --- what a run says -------------------------------------------------------------------------------------------

    def begin(self, clock: Clock, wake: Callable[[], None]) -> None:
        """Count time from now on `clock`; `wake` is called when there is a new command."""
        self._clock, self._start = clock, clock.now()
        self.inbox.wake = wake

    def say(self, event: ev.AnyEvent) -> None:
        """Number, stamp, fold and queue an event. Raises `SequenceError` after the end: a mistake of the caller."""
        if self._before_end is not None:
            raise SequenceError(f"{type(event).__name__} cannot follow the end of the run")
        ts = round(self._clock.now() - self._start, 6)
        event = replace(event, stream_id=self.stream_id, seq=self.last_seq + 1, ts=ts)
        if isinstance(event, ev.ChunkStartedEvent):
            self._chunks_begun[event.chunk_id] = ts
        self._fold(event)
        self._queue.append(event)

    def tell(self, message: str, level: ev.Level = "info") -> None:
        """Say something in words."""
        self.say(ev.SystemMessageEvent(message=message, level=level))

    def close_chunk(self, chunk_id: str, finish_reason: str, figures: Figures = _UNKNOWN) -> None:
        """Say the last, empty, `token_stream` of a chunk that was started, and `chunk_completed`."""
        chunk = self.state.chunks[chunk_id]
        self.say(ev.TokenStreamEvent(chunk_id=chunk_id, agent=chunk.agent, tokens="", is_final=True))
        self.say(
            ev.ChunkCompletedEvent(
                chunk_id=chunk_id,
                agent=chunk.agent,
                content=chunk.text,
                finish_reason=finish_reason,
                usage=figures.usage,
                cost_usd=figures.cost_usd,
                ttft_s=figures.ttft_s,
                duration_s=round(self.elapsed - self._chunks_begun[chunk_id], 6),
            )
        )

    def close_synthesis(self, section: str, finish_reason: str) -> None:
        """Say `synthesis_completed`, also for one that has no text."""
        synthesis = self.state.syntheses.get(section, ev.SynthesisState(section=section))
        self.say(
            ev.SynthesisCompletedEvent(
                section=section,
                content=synthesis.text,
                finish_reason=finish_reason,
                points=synthesis.points,
                confidence=synthesis.confidence,
            )
        )

    def end(
        self, end: ev.TerminalEvent, finish_reason: str = "error", figures: Mapping[str, Figures] = _NOTHING
    ) -> None:
        """Close what is open, for `finish_reason`, and say the end; a second end says nothing.

        `figures` are what is known of open chunks, by id.
        """
        if self.ended:
            return
        for chunk_id in [c.chunk_id for c in self.state.chunks.values() if c.status == "running"]:
            self.close_chunk(chunk_id, finish_reason, figures.get(chunk_id, _UNKNOWN))
        for section in [s.section for s in self.state.syntheses.values() if s.status == "running"]:
            self.close_synthesis(section, finish_reason)
        self.say(end)

    def drain(self) -> list[ev.AnyEvent]:
        """Return the events that nobody has been given yet."""
        events, self._queue = self._queue, []
        return events

    # --- what comes from elsewhere ---------------------------------------------------------------------------------

    def take(self, event: ev.AnyEvent | ev.UnknownEvent) -> bool:
        """Check and fold an event that has its envelope; return whether it is new.

        Raises `SequenceError` when events before it are missing, or the run has ended.
        """
        if isinstance(event, ev.UnknownEvent):
            return self._pass_by(event)
        if self.stream_id and event.stream_id != self.stream_id:
            raise SequenceError(f"event {event.seq} is of another stream, {event.stream_id!r}")
        if event.seq <= self.last_seq:
            return False
        if self.ended:
            raise SequenceError(f"event {event.seq} follows the end of the run, which was {self.last_seq}")
        first = event.seq if event.first_seq is None else event.first_seq
        if not isinstance(event, ev.StateSnapshotEvent):
            if first > self.last_seq + 1:
                raise SequenceError(f"event {first} follows {self.last_seq}: what is between them is missing")
            if first <= self.last_seq:
                raise SequenceError(
                    f"events {first} to {event.seq} come together, but {self.last_seq} was there"
                )
        self._fold(event)
        return True

    def _pass_by(self, event: ev.UnknownEvent) -> bool:
        """Give an event of a later version its place; one without a number has none."""
        if event.seq and event.seq <= self.last_seq:
            return False
        if self.ended or event.seq > self.last_seq + 1:
            raise SequenceError(f"event {event.seq} ({event.type}) cannot follow {self.last_seq}")
        self.last_seq = event.seq or self.last_seq
        return True

    def _fold(self, event: ev.AnyEvent) -> None:
        self.last_seq = event.seq
        before = self.state
        self.state = apply(before, event)
        # The end alone makes a new state of the old one, which stays as it was.
        if self.state is not before and isinstance(event, ev.TERMINAL):
            self._before_end = before
            self.inbox.close()
