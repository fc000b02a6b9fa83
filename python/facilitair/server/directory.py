"""What several servers share: which runs there are and whose, who may do how much, and which tickets are out.

`Directory` is all that the rest of the server knows of it. `MemoryDirectory` is that of a server that shares with
nobody; one over Redis can take its place, and then any server can serve any run, and a run is started once, however
many servers are asked to. What is kept is bounded: `KEPT_RUNS` ended runs for at most `keep_s` seconds each, and the
names of `GONE_RUNS` forgotten ones, so that who asks for them is told 410 rather than 404.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from ..config import ServerConfig
from ..errors import Conflict, Gone, NotFound
from .limits import Limits, Slot
from .log import EventLog, MemoryLog
from .tickets import Tickets

KEPT_RUNS: Final = 1000
GONE_RUNS: Final = 10_000


@dataclass(slots=True, eq=False)
class RunRecord:
    """What the directory knows of a run. `created` and `ended` are Unix times; `viewers` are those of this server."""

    stream_id: str
    owner: str
    log: EventLog
    created: float = field(default_factory=time.time)
    ended: float | None = None
    viewers: int = 0


class Directory(Protocol):
    """What several servers share. `owner` is the id of a `Principal`."""

    def records(self) -> list[RunRecord]:
        """Return the runs that this server knows, the oldest first."""
        ...

    async def add(self, stream_id: str, owner: str, cancel: Callable[[str], None]) -> RunRecord:
        """Add a run, which this server drives, with a log whose lease can be taken. `cancel` is called with the reason
        when somebody stops the run, on whichever server that is asked for."""
        ...

    async def find(self, stream_id: str, owner: str) -> RunRecord:
        """Return the owner's run of this name. Raises `NotFound`, and `Gone` when it is no longer kept."""
        ...

    async def cancel(self, stream_id: str, owner: str, reason: str) -> RunRecord:
        """Ask the owner's run to stop and return it; an ended run stays as it is. Raises as `find`."""
        ...

    async def end(self, record: RunRecord, *, begun: bool) -> None:
        """A run is over: keep it for a while, or forget it when it never began."""
        ...

    async def claim(self, owner: str, key: str, what: str, stream_id: str | None = None) -> str | None:
        """Return the run that an idempotency key stands for. Where it stands for none, it stands for `stream_id` from
        now on; without that it is only asked for.

        `what` says what is asked for; raises `Conflict` when that is not what it was the first time.
        """
        ...

    async def count_request(self, owner: str) -> None:
        """Count a request. Raises `Busy` when the owner has used up this minute's."""
        ...

    async def acquire(self, owner: str, max_cost: float | None) -> Slot:
        """Return leave for one more run of the owner, whose own cost limit is `max_cost`. Raises `Busy`."""
        ...

    async def release(self, slot: Slot, cost_usd: float | None) -> None:
        """Give a slot back, once its run has ended; `cost_usd` is what it cost, `None` is "nobody knows"."""
        ...

    async def issue_ticket(self, owner: str, stream_id: str) -> str:
        """Return a new ticket with which `owner` can open the stream once."""
        ...

    async def redeem_ticket(self, ticket: str, stream_id: str) -> str | None:
        """Return whose ticket it is, or `None` when it does not open this stream. From now on it opens it until the run
        is forgotten, and nobody else's."""
        ...


class MemoryDirectory:
    """The directory of one server. Belongs to one event loop."""

    def __init__(self, settings: ServerConfig) -> None:
        self._settings = settings
        self._limits = Limits(settings)
        self._tickets = Tickets(settings.ticket_s)
        self._runs: dict[str, RunRecord] = {}
        self._cancels: dict[str, Callable[[str], None]] = {}
        self._expiring: OrderedDict[str, asyncio.TimerHandle] = OrderedDict()
        self._gone: OrderedDict[str, str] = OrderedDict()
        self._claims: dict[tuple[str, str], tuple[str, str]] = {}  # by owner and key: what, stream_id
        self._keys: dict[str, list[tuple[str, str]]] = {}  # by stream_id: owner and key of each claim

    def records(self) -> list[RunRecord]:
        """Return the runs that this server knows; see `Directory.records`."""
        return list(self._runs.values())

    def close(self) -> None:
        """Forget everything; no timer goes on."""
        for timer in self._expiring.values():
            timer.cancel()

    async def add(self, stream_id: str, owner: str, cancel: Callable[[str], None]) -> RunRecord:
        """Add a run; see `Directory.add`."""
        log = MemoryLog(self._settings.ring_events, self._settings.ring_bytes)
        record = self._runs[stream_id] = RunRecord(stream_id, owner, log)
        self._cancels[stream_id] = cancel
        return record

    async def find(self, stream_id: str, owner: str) -> RunRecord:
        """Return the owner's run of this name; see `Directory.find`."""
        record = self._runs.get(stream_id)
        if record is not None and record.owner == owner:
            return record
        if self._gone.get(stream_id) == owner:
            raise Gone(f"the events of stream {stream_id} are no longer kept; start the task again.")
        raise NotFound(
            f"there is no stream {stream_id[:80]!r}; it is one of another key, or was never started."
        )

    async def cancel(self, stream_id: str, owner: str, reason: str) -> RunRecord:
        """Ask the owner's run to stop; see `Directory.cancel`."""
        record = await self.find(stream_id, owner)
        if cancel := self._cancels.get(stream_id):
            cancel(reason)
        return record

    async def end(self, record: RunRecord, *, begun: bool) -> None:
        """A run is over; see `Directory.end`."""
        stream_id = record.stream_id
        record.ended = time.time()
        del self._cancels[stream_id]
        if not begun:
            self._forget(stream_id)
            return
        loop = asyncio.get_running_loop()
        self._expiring[stream_id] = loop.call_later(self._settings.keep_s, self._expire, stream_id)
        if len(self._expiring) > KEPT_RUNS:
            self._expire(next(iter(self._expiring)))

    async def claim(self, owner: str, key: str, what: str, stream_id: str | None = None) -> str | None:
        """Return the run that an idempotency key stands for; see `Directory.claim`."""
        if (owner, key) not in self._claims:
            if stream_id is not None:
                self._claims[owner, key] = what, stream_id
                self._keys.setdefault(stream_id, []).append((owner, key))
            return stream_id
        asked, claimed = self._claims[owner, key]
        if asked != what:
            raise Conflict(f"the Idempotency-Key {key[:80]!r} was used for another task; use a new one.")
        return claimed

    async def count_request(self, owner: str) -> None:
        """Count a request; see `Directory.count_request`."""
        self._limits.count_request(owner)

    async def acquire(self, owner: str, max_cost: float | None) -> Slot:
        """Return leave for one more run; see `Directory.acquire`."""
        return self._limits.acquire(owner, max_cost)

    async def release(self, slot: Slot, cost_usd: float | None) -> None:
        """Give a slot back; see `Directory.release`."""
        slot.release(cost_usd)

    async def issue_ticket(self, owner: str, stream_id: str) -> str:
        """Return a new ticket; see `Directory.issue_ticket`."""
        return self._tickets.issue(owner, stream_id)

    async def redeem_ticket(self, ticket: str, stream_id: str) -> str | None:
        """Return whose ticket it is and spend it; see `Directory.redeem_ticket`."""
        return self._tickets.redeem(ticket, stream_id)

    def _expire(self, stream_id: str) -> None:
        self._expiring.pop(stream_id).cancel()
        self._gone[stream_id] = self._runs[stream_id].owner
        if len(self._gone) > GONE_RUNS:
            self._gone.popitem(last=False)
        self._forget(stream_id)

    def _forget(self, stream_id: str) -> None:
        del self._runs[stream_id]
        for name in self._keys.pop(stream_id, ()):
            del self._claims[name]
        self._tickets.forget(stream_id)
