"""What one key may use: requests a minute, runs at one time, dollars a day. Beyond, the answer is 429 at once.

Nothing waits in a queue here: a client that is told when to come back can decide, one that waits cannot. A day's
dollars are kept strictly: each run gets a cost limit out of what is left, and that much is set aside while it runs.
The counts are this process's own; a restart begins anew.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ..config import ServerConfig
from ..errors import Busy

RUN_RETRY_S: Final = 5
DAY_S: Final = 86_400


class Slot:
    """Leave for one run. `max_cost` is the cost limit the run must get, in US dollars; `None` is no limit."""

    def __init__(self, limits: Limits, owner: str, max_cost: float | None) -> None:
        self.owner = owner
        self.max_cost = max_cost
        self._limits = limits
        self._held = True

    def release(self, cost_usd: float | None) -> None:
        """Give the slot back, once the run has ended; again does nothing. `cost_usd` is what the run cost; when
        nobody knows (`None`), all that was set aside counts as spent."""
        if self._held:
            self._held = False
            self._limits._release(self, cost_usd)


@dataclass(slots=True)
class _Account:
    """What one key has used."""

    tokens: float
    refilled: float
    slots: set[Slot] = field(default_factory=set)
    day: int = 0
    spent: float = 0.0


class Limits:
    """The counts of all keys. `now` gives seconds since 1970."""

    def __init__(self, settings: ServerConfig, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        self._accounts: dict[str, _Account] = {}
        self._running = 0

    @property
    def running(self) -> int:
        """Slots that are held."""
        return self._running

    def count_request(self, owner: str) -> None:
        """Count a request; raise `Busy` when the owner has used up this minute's.

        They come back steadily, so that a full minute's worth can be used at once but not twice around its end.
        """
        rate = self._settings.requests_per_minute
        if rate is None:
            return
        account, now = self._account(owner), self._now()
        account.tokens = min(rate, account.tokens + max(0.0, now - account.refilled) * rate / 60)
        account.refilled = now
        if account.tokens < 1:
            wait = math.ceil((1 - account.tokens) * 60 / rate)
            raise Busy(
                f"this key may send {rate} requests a minute; ask again in {wait} s.", retry_after=wait
            )
        account.tokens -= 1

    def acquire(self, owner: str, max_cost: float | None = None) -> Slot:
        """Return leave for one more run of the owner, whose own cost limit is `max_cost`. Raises `Busy`."""
        most, most_per_key = self._settings.max_runs, self._settings.max_runs_per_key
        account = self._account(owner)
        if self._running >= most:
            raise Busy(f"all {most} runs of this server are taken; ask again soon.", retry_after=RUN_RETRY_S)
        if len(account.slots) >= most_per_key:
            raise Busy(
                f"this key has {most_per_key} runs going on, and may have no more; wait for one to end.",
                retry_after=RUN_RETRY_S,
            )
        slot = Slot(self, owner, self._allowance(account, max_cost))
        account.slots.add(slot)
        self._running += 1
        return slot

    def _allowance(self, account: _Account, max_cost: float | None) -> float | None:
        """Return the cost limit of the next run: what it asked for as far as there is, else an equal share."""
        most = self._settings.dollars_per_day
        if most is None:
            return max_cost
        now = self._now()
        if account.day != int(now // DAY_S):
            account.day, account.spent = int(now // DAY_S), 0.0
        left = most - account.spent - sum(slot.max_cost or 0.0 for slot in account.slots)
        # Sums of floats leave dust, with which nothing can be done.
        if left <= most * 1e-9:
            if account.slots:
                wait, until = RUN_RETRY_S, "the runs going on may use it up; wait for one to end"
            else:
                wait, until = (
                    math.ceil(DAY_S - now % DAY_S),
                    "it is spent; the next day begins at midnight UTC",
                )
            raise Busy(f"this key may spend ${most:g} a day, and {until}.", retry_after=wait)
        free = self._settings.max_runs_per_key - len(account.slots)
        return left / free if max_cost is None else min(max_cost, left)

    def _account(self, owner: str) -> _Account:
        # One for each configured key, so their number is bounded.
        if owner not in self._accounts:
            self._accounts[owner] = _Account(self._settings.requests_per_minute or 0, self._now())
        return self._accounts[owner]

    def _release(self, slot: Slot, cost_usd: float | None) -> None:
        account = self._accounts[slot.owner]
        account.slots.discard(slot)
        account.spent += (slot.max_cost or 0.0) if cost_usd is None else cost_usd
        self._running -= 1
