"""What the command says about itself, on standard error.

A standard error that cannot be written is no reason to lose a run, and there is nowhere else to say so.
"""

from __future__ import annotations

import sys
from contextlib import suppress


def say(message: str) -> None:
    """Write one line under the command's name."""
    write_line(f"facilitair: {message}")


def write_line(line: str) -> None:
    """Write a line as it is, for somebody to copy."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201
