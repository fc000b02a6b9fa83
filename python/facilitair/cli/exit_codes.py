"""How a command ends, as a number. Which of them an error is stands in `errors.TABLE`.

The numbers are a contract with scripts; `docs/terminal.md` lists them and a test compares the two.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script learns from a command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 3
    BUDGET = 4
    PARTIAL = 5
    DEADLINE = 124
    INTERRUPTED = 130
    BROKEN_PIPE = 141
