"""The runs that this server drives: started, written to their logs, stopped.

A run belongs to the server and not to a request: it goes on when its viewers leave, and ends by itself, by `cancel` or
with the server. What is known of runs, and what several servers share, is in `directory`. Runs are driven by tasks of
the server's own task group; everything here belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Final, Protocol, Self

from .. import events as ev
from ..client import Client, Collaboration
from ..config import ServerConfig
from ..errors import (
    ConfigError,
    FacilitairError,
    LeaseLostError,
    TooLarge,
    Unavailable,
    Unprocessable,
    UsageError,
)
from ..options import RunOptions
from .directory import Directory, RunRecord
from .limits import Slot
from .log import Writer
from .reporting import Reporter
from .schemas import Call

_log = logging.getLogger(__name__)
GRACE_S: Final = 2.0
AGAIN_S: Final = 10.0
END_S: Final = 1.0  # what the last events of a run may take to be written
SHUTDOWN: Final = "the server is shutting down"
# Nearly all events are text; who only counts and logs need not look at each.
_TEXT: Final = (ev.TokenStreamEvent, ev.SynthesisStreamEvent, ev.FragmentEvent)


class LiveRun:
    """A run while it is driven here; `started` is of `time.perf_counter`."""

    def __init__(self, record: RunRecord, collaboration: Collaboration) -> None:
        self.record = record
        self.collaboration = collaboration
        self.started = time.perf_counter()
        self.begun = False
        self.spoke = False  # whether any agent has said something
        self.untold = 0  # events that the listeners have not heard of yet
        self.unwritten: list[ev.AnyEvent] = []  # said, and not known to be in the log
        self.ours = True  # whether this server still holds the lease

    @property
    def stream_id(self) -> str:
        """The run's name."""
        return self.record.stream_id

    @property
    def owner(self) -> str:
        """Whose run it is."""
        return self.record.owner

    @property
    def state(self) -> ev.RunState:
        """The run as folded so far."""
        return self.collaboration.state


class Listener(Protocol):
    """Somebody who counts what happens: metrics, logs, spans."""

    def started(self, run: LiveRun) -> None:
        """A run was admitted; its first event is still to come."""
        ...

    def spoke(self, run: LiveRun) -> None:
        """An agent has said the first words of the run."""
        ...

    def happened(self, run: LiveRun, notable: Sequence[ev.AnyEvent], count: int) -> None:
        """`count` events were appended to the run's log since the last call; `notable` are those of them that are
        more than text, of which there is one at least."""
        ...

    def ended(self, run: LiveRun) -> None:
        """The run is over, also when it never began (`run.begun`)."""
        ...


class Runs:
    """The driver of this server's runs; an async context manager. Leaving it ends them all."""

    def __init__(
        self,
        client: Client,
        settings: ServerConfig,
        directory: Directory,
        listeners: Sequence[Listener] = (),
        reporter: Reporter | None = None,
    ) -> None:
        self.directory = directory
        self._reporter = reporter or Reporter()
        self._client = client
        self._settings = settings
        self._listeners = tuple(listeners)
        self._active: dict[LiveRun, asyncio.Task[None]] = {}
        self._beginning: dict[str, asyncio.Future[None]] = {}  # by stream_id
        self._closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def closing(self) -> bool:
        """Whether new work is refused."""
        return self._closing

    def active(self, owner: str | None = None) -> int:
        """Return how many runs go on here, of one owner or of all."""
        return sum(owner is None or run.owner == owner for run in self._active)

    async def start(self, call: Call, owner: str, idempotency_key: str | None = None) -> RunRecord:
        """Start a run and return it once its first event is there; with a key that was used before, return that run.

        Raises `Busy`, `Unavailable`, `TooLarge`, `Conflict` (the key was used for another task), `UsageError` and
        `ConfigError`.
        """
        self._check(call)
        claim = None if idempotency_key is None else (owner, idempotency_key, digest(call))
        stream_id = None if claim is None else await self.directory.claim(*claim)
        if stream_id is None:
            stream_id = await self._launch(call, owner, claim)
        if beginning := self._beginning.get(stream_id):
            await self._begun(call, beginning)
        return await self.directory.find(stream_id, owner)

    async def start_once(self, call: Call, owner: str) -> RunRecord:
        """As `start`, for requests that clients repeat by themselves: what is asked for again within `AGAIN_S` seconds
        of the last time is the same run."""
        bucket = int(time.time() // AGAIN_S)
        asked = digest(call)
        before, now = (f"again {asked} {number}" for number in (bucket - 1, bucket))
        if (stream_id := await self.directory.claim(owner, before, asked)) is not None:
            await self.directory.claim(owner, now, asked, stream_id)
        return await self.start(call, owner, now)

    async def close(self, grace_s: float = GRACE_S) -> None:
        """Refuse new work, tell all viewers and end all runs; who does not end in `grace_s` seconds is cut off."""
        self._closing = True
        running = dict(self._active)
        for run in running:
            run.collaboration.say("The server is shutting down; this run ends here.")
            run.collaboration.cancel(SHUTDOWN)
        if not running:
            return
        _, late = await asyncio.wait(running.values(), timeout=grace_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=2 * END_S)

    def _check(self, call: Call) -> None:
        if self._closing:
            raise Unavailable(f"{SHUTDOWN}; ask another one, or later.", {"Retry-After": "5"})
        if len(call.task) > self._settings.max_task_characters:
            raise TooLarge(
                f"the task has {len(call.task):,} characters; "
                f"this server takes {self._settings.max_task_characters:,}."
            )

    async def _launch(self, call: Call, owner: str, claim: tuple[str, str, str] | None) -> str:
        """Start a run and return its name, or that of the one that another call with this claim started meanwhile."""
        slot = await self.directory.acquire(owner, call.options.get("max_cost"))
        try:
            options: RunOptions = {**call.options, "max_cost": slot.max_cost}
            collaboration = self._client.collaborate(call.task, call.context, **options)
            stream_id = collaboration.stream_id
            record = await self.directory.add(stream_id, owner, collaboration.cancel)
            # Added first, so that who is told of a claimed run finds it.
            claimed = None if claim is None else await self._claimed(claim, record)
        except BaseException:
            await self.directory.release(slot, 0.0)
            raise
        if claimed is not None and claimed != stream_id:
            await self.directory.release(slot, 0.0)
            await self.directory.end(record, begun=False)
            return claimed
        run = LiveRun(record, collaboration)
        self._beginning[stream_id] = asyncio.get_running_loop().create_future()
        self._active[run] = asyncio.create_task(self._drive(run, self._beginning[stream_id], slot))
        self._tell(run, lambda listener: listener.started(run))
        return stream_id

    async def _claimed(self, claim: tuple[str, str, str], record: RunRecord) -> str | None:
        try:
            return await self.directory.claim(*claim, record.stream_id)
        except BaseException:
            await self.directory.end(record, begun=False)
            raise

    async def _begun(self, call: Call, beginning: asyncio.Future[None]) -> None:
        try:
            await asyncio.shield(beginning)  # who asked may leave; the run goes on
        except ConfigError as error:
            if call.names_models:  # the caller's mistake, not the server's
                raise UsageError(str(error)) from error
            raise

    async def _drive(self, run: LiveRun, beginning: asyncio.Future[None], slot: Slot) -> None:
        writer = run.record.log.writer()
        try:
            try:
                async with aclosing(run.collaboration.batches()) as batches:
                    async for batch in batches:
                        run.unwritten += batch
                        await self._append(run, writer)
                        if not beginning.done():
                            beginning.set_result(None)
            finally:
                await self._append_rest(run, writer)
        except LeaseLostError as error:
            _log.warning("stream %s: %s", run.stream_id, error)
            run.ours = False
        except FacilitairError as error:
            if beginning.done():
                self._reporter.failed_run(error, run.stream_id)
            else:
                beginning.set_exception(error)
        except Exception as error:  # noqa: BLE001 - reported; the engine has ended this stream, the others go on
            self._reporter.failed_run(error, run.stream_id)
        finally:
            if not beginning.done():
                beginning.set_exception(Unavailable("the run was stopped before it began; try again."))
            beginning.exception()  # seen, also when nobody waits any more
            del self._active[run], self._beginning[run.stream_id]
            # Each by itself: what one of them breaks must cost no other run, nor this one its slot.
            await self._safely(
                run, self.directory.release(slot, run.state.cost_usd if run.state.seq else 0.0)
            )
            if run.ours:
                await self._safely(run, self.directory.end(run.record, begun=run.begun))
            self._tell(run, lambda listener: listener.ended(run))

    async def _safely(self, run: LiveRun, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - reported
            self._reporter.failed_run(error, run.stream_id)

    def _tell(self, run: LiveRun, what: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            try:
                what(listener)
            except Exception as error:  # noqa: BLE001 - reported; who only listens must not end a run
                self._reporter.failed_run(error, run.stream_id)

    async def _append_rest(self, run: LiveRun, writer: Writer) -> None:
        """Write what came when nobody took it any more: the end of a run whose task was cancelled."""
        run.unwritten += run.collaboration.rest()
        if not run.unwritten:
            return
        writing = asyncio.ensure_future(self._append(run, writer))
        done, _ = await asyncio.wait((writing,), timeout=END_S)
        if done and writing.exception() is None:
            return
        writing.cancel()
        await writer.give_up()
        if done:
            await writing
        else:
            _log.error("stream %s: its end could not be written within %g s", run.stream_id, END_S)

    async def _append(self, run: LiveRun, writer: Writer) -> None:
        """Write what is unwritten; it stays so until it is known to be written."""
        events = run.unwritten
        await writer.append(events, run.collaboration.standing)
        run.unwritten = []
        run.begun = True
        if not run.spoke and any(isinstance(event, ev.TokenStreamEvent) and event.tokens for event in events):
            run.spoke = True
            self._tell(run, lambda listener: listener.spoke(run))
        run.untold += len(events)
        notable = [event for event in events if not isinstance(event, _TEXT)]
        if notable:
            count, run.untold = run.untold, 0
            self._tell(run, lambda listener: listener.happened(run, notable, count))


def digest(call: Call) -> str:
    """Return what tells two calls apart, and says nothing of what is in them. Raises `Unprocessable`."""
    try:
        asked = json.dumps((call.task, call.context, call.options), sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unprocessable(f"the task and its context must be what JSON can hold: {error}.") from None
    return hashlib.sha256(asked.encode()).hexdigest()
