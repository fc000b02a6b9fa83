"""A terminal to run the command in: a real pseudo-terminal, read through an emulator."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pexpect
import pyte

_ALTERNATE = 1049


class _Screen(pyte.HistoryScreen):
    """The emulator, with the alternate screen that it lacks."""

    def __init__(self, columns: int, lines: int) -> None:
        self.alternate = False
        self._normal: tuple[Any, Any, Any] | None = None
        super().__init__(columns, lines, history=10_000, ratio=0.001)

    def set_mode(self, *modes: int, **more: Any) -> None:
        if _ALTERNATE in modes and more.get("private") and not self.alternate:
            self.alternate = True
            self._normal = (deepcopy(self.buffer), deepcopy(self.cursor), self.history)
            self.erase_in_display(2)
        super().set_mode(*modes, **more)

    def reset_mode(self, *modes: int, **more: Any) -> None:
        super().reset_mode(*modes, **more)
        if _ALTERNATE in modes and more.get("private") and self._normal is not None:
            self.alternate = False
            self.buffer, self.cursor, self.history = self._normal
            self._normal = None
            self.dirty.update(range(self.lines))


class Terminal:
    """A process in a pseudo-terminal of a given size; `raw` is all it wrote, `lines` what a user sees."""

    def __init__(
        self, command: list[str], *, env: dict[str, str], cwd: str, columns: int = 100, height: int = 60
    ) -> None:
        self._screen = _Screen(columns, height)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self.process: Any = pexpect.spawn(
            command[0], command[1:], env=env, cwd=cwd, dimensions=(height, columns), timeout=30
        )

    def resize(self, columns: int, height: int) -> None:
        """Give the window another size."""
        self._screen.resize(height, columns)
        self.process.setwinsize(height, columns)

    def wait_until(self, seen: Callable[[Terminal], bool]) -> None:
        """Read until the user sees what is wanted; liveness only."""
        end = time.monotonic() + 20
        while not seen(self):
            assert time.monotonic() < end, "\n".join(self.display)
            with contextlib.suppress(pexpect.TIMEOUT):
                self._take(self.process.read_nonblocking(65536, 0.2))

    def wait_for(self, text: str) -> None:
        """Read until the process has written `text`."""
        self.process.expect_exact(text)
        self._take(self.process.before + self.process.after)

    def wait(self) -> int:
        """Read to the end; return the exit code, or minus the signal that ended it."""
        with contextlib.suppress(pexpect.EOF):
            while True:
                self._take(self.process.read_nonblocking(65536, 30))
        self.process.wait()
        code: int | None = self.process.exitstatus
        return -self.process.signalstatus if code is None else code

    def _take(self, data: bytes) -> None:
        self.raw += data
        self._stream.feed(data)

    @property
    def alternate(self) -> bool:
        """Whether the alternate screen is shown."""
        return self._screen.alternate

    @property
    def cursor_hidden(self) -> bool:
        """Whether the user sees no cursor."""
        return bool(self._screen.cursor.hidden)

    @property
    def display(self) -> list[str]:
        """The lines on the screen; a wide character fills its second cell with nothing."""
        return [line.rstrip() for line in self._screen.display]

    def column_of(self, text: str, line: int) -> list[int]:
        """Return in which columns of a line `text`, one cell wide, stands."""
        row = self._screen.buffer[line]
        return [column for column in range(self._screen.columns) if row[column].data == text]

    @property
    def lines(self) -> list[str]:
        """The lines on the screen and above it."""
        above = [
            "".join(row[column].data for column in range(self._screen.columns))
            for row in self._screen.history.top
        ]
        return [line.rstrip() for line in (*above, *self._screen.display)]
