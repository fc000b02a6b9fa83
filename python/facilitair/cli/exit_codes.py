"""How a command ends, as a number: the only place where errors and final events become exit codes.

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
    from .. import errors

    codes: tuple[tuple[type[Exception], ExitCode], ...] = (
        (errors.UsageError, ExitCode.USAGE),
        (errors.RecordingError, ExitCode.USAGE),
        (errors.ConfigError, ExitCode.CONFIG),
        (errors.BudgetExceededError, ExitCode.BUDGET),
        (errors.DeadlineExceededError, ExitCode.DEADLINE),
        (errors.RunCancelledError, ExitCode.INTERRUPTED),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), ExitCode.FAILED)


def for_outcome(event: TerminalEvent | None) -> ExitCode:
    """Return the code for the event that ended a run; `None` is a stream that broke off."""
    from .. import events

    match event:
        case events.TaskCompletedEvent(degraded=()):
            return ExitCode.OK
        case events.TaskCompletedEvent():
            return ExitCode.PARTIAL
        case events.TaskErrorEvent(code="budget_exceeded"):
            return ExitCode.BUDGET
        case events.TaskErrorEvent(code="deadline_exceeded"):
            return ExitCode.DEADLINE
        case events.TaskCancelledEvent():
            return ExitCode.INTERRUPTED
        case _:
            return ExitCode.FAILED
