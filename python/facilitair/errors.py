"""Every exception Facilitair raises.

FacilitairError
├── UsageError            what was asked for cannot be done (empty task, unknown strategy or role)
├── ConfigError           a configuration file, key or model is missing or wrong
│   └── GraphError        a strategy's agents and edges do not form a graph that can run
├── RecordingError        a recorded run cannot be read or written
├── ServerError           a Facilitair server cannot be reached, is busy, or broke off
└── RunError              a run ended without a full answer; `.result` holds what there is
    ├── AgentsFailedError     too few agents were left for an answer
    ├── BudgetExceededError   a cost or token limit was reached
    ├── DeadlineExceededError the time limit was reached
    └── RunCancelledError     the run was stopped from outside
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .result import Result


class FacilitairError(Exception):
    """The root. Its text says what happened, to what, and what to do; it never holds a key."""


class UsageError(FacilitairError, ValueError):
    """What was asked for cannot be done; the text names the argument and the values that can be used."""


class ConfigError(FacilitairError):
    """A configuration file, key or model is missing or wrong; the text names the file or variable."""


class GraphError(ConfigError):
    """A strategy's agents and edges do not form a graph that can run."""


class RecordingError(FacilitairError):
    """A recorded run cannot be read or written."""


class ServerError(FacilitairError):
    """A Facilitair server cannot be reached, is busy, or broke off; `retry_after` is the seconds it asked for."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RunError(FacilitairError):
    """A run ended without a full answer; `result` holds the partial text, usage and cost."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class AgentsFailedError(RunError):
    """Too few agents were left for an answer."""


class BudgetExceededError(RunError):
    """A cost or token limit was reached."""


class DeadlineExceededError(RunError):
    """The time limit of the run was reached."""


class RunCancelledError(RunError):
    """The run was stopped from outside."""
