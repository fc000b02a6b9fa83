"""The two clocks: real time, and time that stands still until somebody moves it.

Nothing in the engine asks the operating system for the time; it is given one of these. A transport waits on the
same clock, so a test on `VirtualClock` sees exact times and never sleeps.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...


class MonotonicClock:
    """Real time."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()


class VirtualClock:
    """Time that moves only when it is told to."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return seconds on this clock."""
        return self._now

    def advance_to(self, when: float) -> None:
        """Set the clock to `when` seconds. Raises `ValueError` when that lies in the past."""
        if when < self._now:
            raise ValueError(f"the clock shows {self._now} s and cannot go back to {when} s")
        self._now = when
