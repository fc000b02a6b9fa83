"""Ctrl-C, SIGTERM, and the window that is closed: the first signal asks the run to stop and keep what it has, the
second ends the process at once.

Handlers are Python's own (`signal.signal`), not the event loop's: they also run while the loop is stuck in a
write to a terminal that nobody reads. A signal that the parent ignores (`nohup`, a job in the background) stays
ignored. One press may come several times, from the kernel, the shell and whatever stands between; a terminal that is
gone presses nothing. How the process then ends is in `dying`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

from .dying import die, received

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
ONE_PRESS_S: Final = 0.3  # what follows sooner is the same press

# What must be done before the process ends at once, such as giving a terminal its screen back.
LAST_WORDS: Final[set[Callable[[], None]]] = set()


class Interrupts:
    """A context manager inside which the first signal calls `stop` in the event loop.

    Until something else is known to stop, that cancels the task which makes this.
    """

    def __init__(self, stop: Callable[[], object] | None = None) -> None:
        self.stop: Callable[[], object] = _this_task().cancel if stop is None else stop
        self._loop = asyncio.get_running_loop()
        self._pressed: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def pressed(self) -> bool:
        """Whether a signal has come."""
        return self._pressed is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (the handler's contract)
        now = time.monotonic()
        if self._pressed is not None:
            if number != signal.SIGHUP and now - self._pressed >= ONE_PRESS_S:
                for last in LAST_WORDS:
                    last()
                die(number)
            return
        self._pressed = now
        received(number)
        self._loop.call_soon_threadsafe(lambda: self.stop())


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine always runs in a task)
    return task
