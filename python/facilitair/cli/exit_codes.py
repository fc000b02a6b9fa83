"""How a command ends, as a number. What an error is as one stands in `errors.TABLE`.

The numbers are a contract with scripts; `docs/terminal.md` lists them and a test compares the two.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..events import TerminalEvent


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


def for_error(error: Exception) -> ExitCode:
    """Return the code for an error that ended a command; what is not Facilitair's own is a failure."""
    from ..errors import exit_status

    return ExitCode(exit_status(error))


def for_outcome(event: TerminalEvent | None) -> ExitCode:
    """Return the code for the event that ended a run; `None` is a stream that broke off."""
    from .. import errors, events

    match event:
        case events.TaskCompletedEvent():
            return ExitCode.PARTIAL if event.degraded else ExitCode.OK
        case events.TaskErrorEvent():
            return ExitCode(errors.TABLE[errors.run_error(event.code).code].exit_status)
        case events.TaskCancelledEvent():
            return ExitCode.INTERRUPTED
        case None:
            return ExitCode.FAILED
