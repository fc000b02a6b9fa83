"""`python -m facilitair` is the `facilitair` command."""

from __future__ import annotations

import sys

from .cli import command

if __name__ == "__main__":
    sys.exit(command())
