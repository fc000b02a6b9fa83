"""All runs of this server: who started them, how far they are, and what is kept of them when they have ended.

A run belongs to the server and not to a request: it goes on when its viewers leave, and ends by itself, by `cancel` or
with the server. What is kept is bounded: `max_runs` going on, `KEPT_RUNS` ended ones for at most `keep_s` seconds each,
and the names of `GONE_RUNS` forgotten ones, so that who asks for them is told 410 rather than 404.

Runs are driven by tasks of the server's own task group; everything here belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypedDict

from msgspec.structs import replace

from .. import events as ev
from ..client import Client, Collaboration
from ..config import ServerConfig
from ..errors import ConfigError, Conflict, FacilitairError, Gone, NotFound, TooLarge, Unavailable, UsageError
from ..options import RunOptions
from .limits import Limits, Slot
from .log import MemoryLog
from .reporting import Reporter

KEPT_RUNS: Final = 1000
GONE_RUNS: Final = 10_000
GRACE_S: Final = 2.0
SHUTDOWN: Final = "the server is shutting down"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What somebody asks for; the fields are those of `RunOptions`."""

    task: str
    context: Mapping[str, Any] | None = None
    strategy: str | None = None
    preset: str | None = None
    models: str | Mapping[str, str] | None = None
    sections: Sequence[str] | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    cache: bool | None = None

    def options(self, max_cost: float | None) -> RunOptions:
        """Return the options for `Client.collaborate`, under the cost limit that the server allows."""
        options: RunOptions = {
            "strategy": self.strategy,
            "preset": self.preset,
            "models": self.models,
            "sections": self.sections,
            "max_cost": max_cost,
            "max_tokens": self.max_tokens,
            "timeout": self.timeout,
        }
        if self.cache is not None:
            options["cache"] = self.cache
        return options

    @property
    def names_models(self) -> bool:
        """Whether the caller, and not the configuration alone, decides which models are asked."""
        return not (self.models is None and self.preset is None and self.strategy is None)


class RunRecord:
    """One run: its events in `log`, and what the server knows about it. `created` and `ended` are Unix times."""

    def __init__(self, spec: TaskSpec, owner: str, log: MemoryLog, collaboration: Collaboration) -> None:
        self.spec = spec
        self.owner = owner
        self.log = log
        self.created = time.time()
        self.ended: float | None = None
        self.started = time.perf_counter()
        self.viewers = 0
        self._collaboration: Collaboration | None = collaboration
        self._added = 0  # events of ours among those of the run: their numbers move up by so many

    @property
    def stream_id(self) -> str:
        """The run's name; empty before its first event."""
        return self.log.state.stream_id

    @property
    def state(self) -> ev.RunState:
        """The run as folded so far."""
        return self.log.state

    def cancel(self, reason: str) -> None:
        """Ask the run to stop; it ends with `task_cancelled`. An ended run stays as it is."""
        if self._collaboration is not None:
            self._collaboration.cancel(reason)

    def say(self, message: str, level: ev.Level = "warning") -> None:
        """Tell the viewers something that the run itself does not know."""
        if self.log.last_seq and not self.log.ended:
            self._added += 1
            self.log.append(ev.SystemMessageEvent(**self._stamp(), message=message, level=level))

    async def follow(self, told: Callable[[ev.AnyEvent], None]) -> None:
        """Drive the run to its end; `told` hears of every event. Raises what the run raises before its first event."""
        assert self._collaboration is not None  # noqa: S101 (followed once)
        try:
            async with aclosing(aiter(self._collaboration)) as events:
                async for event in events:
                    self.log.append(replace(event, seq=event.seq + self._added) if self._added else event)
                    told(event)
        finally:
            self._collaboration = None
            self.ended = time.time()
            if self.log.last_seq and not self.log.ended:
                end = ev.TaskCancelledEvent(
                    **self._stamp(), reason=SHUTDOWN, partial=self.state.content, usage=ev.Usage()
                )
                self.log.append(end)
                told(end)

    def _stamp(self) -> _Stamp:
        state = self.state
        return {"stream_id": state.stream_id, "seq": self.log.last_seq + 1, "ts": state.ts}


class _Stamp(TypedDict):
    stream_id: str
    seq: int
    ts: float


class Listener(Protocol):
    """Somebody who counts what happens: metrics, limits."""

    def started(self, record: RunRecord) -> None:
        """A run was admitted; its first event is still to come."""
        ...

    def happened(self, record: RunRecord, event: ev.AnyEvent) -> None:
        """An event was appended to the run's log."""
        ...

    def ended(self, record: RunRecord) -> None:
        """The run is over, also when it never began."""
        ...


class Runs:
    """The owner of all runs; an async context manager. Leaving it ends them all."""

    def __init__(
        self,
        client: Client,
        settings: ServerConfig,
        limits: Limits,
        listeners: Sequence[Listener] = (),
        reporter: Reporter | None = None,
    ) -> None:
        self._reporter = reporter or Reporter()
        self._client = client
        self._settings = settings
        self._limits = limits
        self._listeners = tuple(listeners)
        self._tasks = asyncio.TaskGroup()
        self._active: dict[RunRecord, asyncio.Task[None]] = {}
        self._known: dict[str, RunRecord] = {}
        self._expiring: OrderedDict[str, asyncio.TimerHandle] = OrderedDict()
        self._gone: OrderedDict[str, str] = OrderedDict()
        self._asked: dict[
            tuple[str, str], tuple[TaskSpec, asyncio.Future[RunRecord]]
        ] = {}  # by idempotency key
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        for timer in self._expiring.values():
            timer.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    @property
    def closing(self) -> bool:
        """Whether new work is refused."""
        return self._closing

    def records(self) -> list[RunRecord]:
        """Return all runs that can be read, the oldest first."""
        return list(self._known.values())

    def active(self, owner: str | None = None) -> int:
        """Return how many runs go on, of one owner or of all."""
        return sum(owner is None or record.owner == owner for record in self._active)

    async def start(self, spec: TaskSpec, owner: str, idempotency_key: str | None = None) -> RunRecord:
        """Start a run and return it once its first event is there; with a key that was used before, return that run.

        Raises `Busy`, `Unavailable`, `Conflict` (the key was used for another task), `UsageError` and `ConfigError`.
        """
        if idempotency_key is None:
            return await self._begun(spec, self._launch(spec, owner))
        name = owner, idempotency_key
        if name not in self._asked:
            begun = self._launch(spec, owner)
            self._asked[name] = spec, begun
            begun.add_done_callback(lambda done: self._asked.pop(name) if done.exception() else None)
        asked, begun = self._asked[name]
        if asked != spec:
            raise Conflict(
                f"the Idempotency-Key {idempotency_key[:80]!r} was used for another task; use a new one."
            )
        return await self._begun(spec, begun)

    def find(self, stream_id: str, owner: str) -> RunRecord:
        """Return the owner's run of this name. Raises `NotFound`, and `Gone` when it is no longer kept."""
        record = self._known.get(stream_id)
        if record is not None and record.owner == owner:
            return record
        if self._gone.get(stream_id) == owner:
            raise Gone(f"the events of stream {stream_id} are no longer kept; start the task again.")
        raise NotFound(
            f"there is no stream {stream_id[:80]!r}; it is one of another key, or was never started."
        )

    def cancel(self, stream_id: str, owner: str, reason: str) -> RunRecord:
        """Ask the owner's run to stop and return it. Raises as `find`."""
        record = self.find(stream_id, owner)
        record.cancel(reason)
        return record

    async def close(self, grace_s: float = GRACE_S) -> None:
        """Refuse new work, tell all viewers and end all runs; who does not end in `grace_s` seconds is cut off."""
        self._closing = True
        running = dict(self._active)
        for record in running:
            record.say("The server is shutting down; this run ends here.")
            record.cancel(SHUTDOWN)
        if not running:
            return
        _, late = await asyncio.wait(running.values(), timeout=grace_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=grace_s)

    async def _begun(self, spec: TaskSpec, begun: asyncio.Future[RunRecord]) -> RunRecord:
        try:
            return await asyncio.shield(begun)  # who asked may leave; the run goes on
        except ConfigError as error:
            if spec.names_models:  # the caller's mistake, not the server's
                raise UsageError(str(error)) from error
            raise

    def _launch(self, spec: TaskSpec, owner: str) -> asyncio.Future[RunRecord]:
        """Start a run; the future has it once its first event is there, or what was wrong."""
        if self._closing:
            raise Unavailable(f"{SHUTDOWN}; ask another one, or later.", {"Retry-After": "5"})
        if len(spec.task) > self._settings.max_task_characters:
            raise TooLarge(
                f"the task has {len(spec.task):,} characters; "
                f"this server takes {self._settings.max_task_characters:,}."
            )
        slot = self._limits.acquire(owner, spec.max_cost)
        try:
            run = self._client.collaborate(spec.task, spec.context, **spec.options(slot.max_cost))
        except FacilitairError:
            slot.release(0.0)
            raise
        log = MemoryLog(self._settings.ring_events, self._settings.ring_bytes)
        record = RunRecord(spec, owner, log, run)
        begun: asyncio.Future[RunRecord] = asyncio.get_running_loop().create_future()
        for listener in self._listeners:
            listener.started(record)
        self._active[record] = self._tasks.create_task(self._follow(record, begun, slot))
        return begun

    async def _follow(self, record: RunRecord, begun: asyncio.Future[RunRecord], slot: Slot) -> None:
        def told(event: ev.AnyEvent) -> None:
            if not begun.done():
                self._known[record.stream_id] = record
                begun.set_result(record)
            for listener in self._listeners:
                listener.happened(record, event)

        try:
            await record.follow(told)
        except FacilitairError as error:
            if begun.done():
                self._reporter.failed_run(error, record.stream_id)
            else:
                begun.set_exception(error)
        except Exception as error:  # noqa: BLE001 - reported; the engine has ended this stream, the others go on
            self._reporter.failed_run(error, record.stream_id or "(not begun)")
        finally:
            if not begun.done():
                begun.set_exception(Unavailable("the run was stopped before it began; try again."))
            begun.exception()  # seen, also when nobody waits any more
            slot.release(record.state.cost_usd if record.stream_id else 0.0)
            self._end(record)

    def _end(self, record: RunRecord) -> None:
        del self._active[record]
        for listener in self._listeners:
            listener.ended(record)
        if record.stream_id:
            loop = asyncio.get_running_loop()
            self._expiring[record.stream_id] = loop.call_later(
                self._settings.keep_s, self._expire, record.stream_id
            )
            if len(self._expiring) > KEPT_RUNS:
                self._expire(next(iter(self._expiring)))

    def _expire(self, stream_id: str) -> None:
        self._expiring.pop(stream_id).cancel()
        record = self._known.pop(stream_id)
        self._gone[stream_id] = record.owner
        if len(self._gone) > GONE_RUNS:
            self._gone.popitem(last=False)
        for name in [
            n for n, (_, begun) in self._asked.items() if not _failed(begun) and begun.result() is record
        ]:
            del self._asked[name]


def _failed(begun: asyncio.Future[RunRecord]) -> bool:
    """Say whether there is no run in the future, or not yet."""
    return not begun.done() or begun.exception() is not None
