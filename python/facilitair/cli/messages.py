"""What the command says about itself, on standard error."""

from __future__ import annotations

import sys


def say(message: str) -> None:
    """Write one line under the command's name. Raises `OSError` when standard error cannot be written."""
    print(f"facilitair: {message}", file=sys.stderr, flush=True)  # noqa: T201
