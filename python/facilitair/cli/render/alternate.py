"""The alternate screen of a terminal: entered, drawn on whole rows at a time, and always left again.

A frame is one write between the marks of a synchronized update, and holds only the rows that changed. Each piece
of a row is put at its column, and lines do not wrap, so a character whose width the terminal sees differently
moves nothing but itself. Keys are neither echoed onto it nor left for the shell to read. All writes go past Python's
buffers: a signal handler may have to leave the screen while a frame is written.
"""

from __future__ import annotations

import os
import select
import signal
import termios
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from types import FrameType
from typing import Any, Final, TextIO

from rich.color import ColorSystem
from rich.style import Style

from ..signals import LAST_WORDS
from .layout import Row

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # alternate screen, no cursor, no wrapping
_LEAVE: Final = "\x1b[?2026l\x1b[m\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN: Final = "\x1b[?2026h"
_END: Final = "\x1b[?2026l"


class AlternateScreen:
    """The alternate screen of the terminal `out`."""

    def __init__(self, out: TextIO, *, colours: bool = True) -> None:
        self._out = out
        self._fd = out.fileno()
        self._colours = colours
        self._shown: list[str] = []
        self._size = (0, 0)
        self._keys: list[Any] | None = None  # how the terminal treated keys before
        self.active = False

    def size(self) -> tuple[int, int]:
        """Return columns and rows as they are now; nothing while the terminal belongs to another job."""
        try:
            if os.tcgetpgrp(self._fd) != os.getpgrp():
                return 0, 0
            return os.get_terminal_size(self._fd)
        except OSError:
            return 0, 0

    def enter(self) -> None:
        """Switch to the alternate screen."""
        self._out.flush()
        self.active, self._size = True, (0, 0)
        LAST_WORDS.add(self._leave_at_once)
        if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:  # a shell without job control ignores it
            signal.signal(signal.SIGTSTP, self._suspend)
        self._mute_keys()
        self._write(_ENTER)

    def leave(self) -> None:
        """Switch back, if the alternate screen is shown; the cursor is where it was."""
        if not self.active:
            return
        self.active = False
        LAST_WORDS.discard(self._leave_at_once)
        if signal.getsignal(signal.SIGTSTP) == self._suspend:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        self._free_keys()
        self._write(_LEAVE)

    def draw(self, rows: Sequence[Row], size: tuple[int, int]) -> None:
        """Show `rows` on a screen of `size`; nothing is written when they are there already."""
        lines = [self._line(row) for row in rows]
        if size == self._size:
            changed = [n for n, line in enumerate(lines) if line != self._shown[n]]
            clear = ""
        else:
            changed, clear = list(range(len(lines))), "\x1b[m\x1b[2J"
        self._shown, self._size = lines, size
        if changed or clear:
            body = "".join(f"\x1b[{n + 1}H\x1b[2K{lines[n]}" for n in changed)
            self._write(f"{_BEGIN}{clear}{body}{_END}")

    def _line(self, row: Row) -> str:
        pieces = []
        for piece in row:
            before, after = _codes(piece.style, self._colours)
            pieces.append(f"\x1b[{piece.column + 1}G{before}{piece.text}{after}")
        return "".join(pieces)

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # another program left the terminal in that mode
                select.select([], [self._fd], [])

    def _mute_keys(self) -> None:
        """Let keys do nothing, but for those that make signals. A terminal that cannot is drawn on all the same."""
        with suppress(termios.error):
            self._keys = termios.tcgetattr(self._fd)
            quiet = termios.tcgetattr(self._fd)
            quiet[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON)
            termios.tcsetattr(self._fd, termios.TCSANOW, quiet)

    def _free_keys(self) -> None:
        """Give the terminal back as it was, and throw away what was typed meanwhile."""
        keys, self._keys = self._keys, None
        if keys is None:
            return
        with suppress(termios.error, OSError):
            if os.tcgetpgrp(self._fd) == os.getpgrp():  # else the shell has it already, and has set it
                termios.tcflush(self._fd, termios.TCIFLUSH)
                termios.tcsetattr(self._fd, termios.TCSANOW, keys)

    def _leave_at_once(self) -> None:
        """Leave without waiting for a terminal that takes nothing: the process is about to end."""
        self._free_keys()
        with suppress(
            OSError
        ):  # the terminal is gone; raised here it would hit whatever the signal interrupted
            if self.active and select.select([], [self._fd], [], 0.2)[1]:
                os.write(self._fd, _LEAVE.encode())

    def _suspend(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (the handler's contract)
        """Ctrl-Z: the shell gets its screen back; whoever draws next enters again."""
        self.leave()
        os.kill(os.getpid(), signal.SIGTSTP)


@cache
def _codes(style: str, colours: bool) -> tuple[str, str]:
    """Return what turns a style on and off; only the 16 colours every terminal has are used."""
    parsed = Style.parse(style)
    shown = parsed if colours else parsed.without_color
    before, _, after = shown.render("\0", color_system=ColorSystem.STANDARD).partition("\0")
    return before, after
