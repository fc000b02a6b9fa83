"""A terminal to run the command in: a real pseudo-terminal, read through an emulator."""

from __future__ import annotations

import contextlib
from typing import Any

import pexpect
import pyte


class Terminal:
    """A process in a pseudo-terminal of a given size; `raw` is all it wrote, `text` what a user sees."""

    def __init__(self, command: list[str], *, env: dict[str, str], cwd: str, columns: int = 100) -> None:
        self._screen = pyte.HistoryScreen(columns, 60, history=10_000, ratio=0.001)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self.process: Any = pexpect.spawn(
            command[0], command[1:], env=env, cwd=cwd, dimensions=(60, columns), timeout=30
        )

    def wait_for(self, text: str) -> None:
        """Read until the process has written `text`."""
        self.process.expect_exact(text)
        self._take(self.process.before + self.process.after)

    def wait(self) -> int:
        """Read to the end; return the exit code."""
        with contextlib.suppress(pexpect.EOF):
            while True:
                self._take(self.process.read_nonblocking(65536, 30))
        self.process.wait()
        code: int = self.process.exitstatus
        return code

    def _take(self, data: bytes) -> None:
        self.raw += data
        self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        """The lines on the screen and above it."""
        above = [
            "".join(row[column].data for column in range(self._screen.columns))
            for row in self._screen.history.top
        ]
        return [line.rstrip() for line in (*above, *self._screen.display)]
