"""Every exception Facilitair raises, and what each one is elsewhere: an exit status, an HTTP status, an OpenAI error.

FacilitairError
├── UsageError            what was asked for cannot be done (empty task, unknown strategy or role)
│   ├── FaultError            a fault of the simulator is written wrongly
│   └── RunGoneError          a server has no such run, or no more
├── ConfigError           a configuration file, key or model is missing or wrong
│   ├── GraphError            a strategy's agents and edges do not form a graph that can run
│   └── ConfigKeyError        a value of a configuration cannot be used; it names the key
├── RecordingError        a recorded run cannot be read or written
├── ServerError           a Facilitair server cannot be reached, is busy, or broke off
│   ├── UnreachableError      nobody listens there
│   ├── BrokenError           a connection ended before its answer did
│   └── BusyError             the server, or what stands before it, cannot answer now
├── NotAnsweredError      a local server of models answered something else than its models
├── SequenceError         an event does not follow those before it
│   └── LeaseLostError        another server has taken the run over
├── RunError              a run ended without a full answer; `.result` holds what there is
│   ├── AgentsFailedError     too few agents were left for an answer
│   ├── KeyRefusedError       no provider that could be asked takes its key
│   ├── BudgetExceededError   a cost or token limit was reached
│   ├── DeadlineExceededError the time limit was reached
│   ├── InternalError         a mistake in Facilitair stopped the run
│   └── RunCancelledError     the run was stopped from outside
└── Problem               a request to the server is refused, as RFC 9457 has it
    └── BadRequest, Unauthorized, PaymentRequired, Forbidden, NotFound, NoSuchModel, Conflict, Gone, TooLarge,
        Unprocessable, Busy, Unavailable, Refused, RunFailed

Each class has a `code`; `TABLE` is the one place that says what a code means to a shell, over HTTP and to OpenAI's
clients. All survive pickle, so that they can cross processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from .result import Result

RunErrorCode = Literal["agents_failed", "budget_exceeded", "deadline_exceeded", "internal", "key_refused"]
Code = Literal[
    RunErrorCode, "bad_request", "busy", "cancelled", "config", "conflict", "forbidden", "gone", "model_not_found",
    "not_found", "recording", "refused", "sequence", "server", "too_large", "unauthorized", "unavailable",
    "unprocessable", "usage",
]  # fmt: skip
OpenAIError = Literal["invalid_request_error", "authentication_error", "rate_limit_error", "server_error"]
_E = TypeVar("_E", bound="FacilitairError")


class FacilitairError(Exception):
    """The root. Its text says what happened, to what, and what to do; it never holds a key."""

    code: ClassVar[Code] = "internal"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what the error holds, not the arguments it was made with, which differ from class to class."""
        return _restored, (type(self), self.args, dict(self.__dict__))


def _restored(kind: type[_E], args: tuple[object, ...], held: dict[str, object]) -> _E:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(held)
    return error


class UsageError(FacilitairError, ValueError):
    """What was asked for cannot be done; the text names the argument and the values that can be used."""

    code = "usage"


class FaultError(UsageError):
    """A fault that the simulator shall play is written wrongly."""


class RunGoneError(UsageError):
    """A server has no such run, or no more."""


class ConfigError(FacilitairError):
    """A configuration file, key or model is missing or wrong; the text names the file or variable."""

    code = "config"


class GraphError(ConfigError):
    """A strategy's agents and edges do not form a graph that can run."""


class ConfigKeyError(ConfigError):
    """The value at `key` cannot be used: `problem`. Whoever reads the file adds its name."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class RecordingError(FacilitairError):
    """A recorded run cannot be read or written."""

    code = "recording"


class ServerError(FacilitairError):
    """A Facilitair server cannot be reached, is busy, or broke off; `retry_after` is the seconds it asked for."""

    code = "server"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnreachableError(ServerError):
    """Nobody listens there."""


class BrokenError(ServerError):
    """A connection ended before its answer did."""


class BusyError(ServerError):
    """The server, or what stands before it, cannot answer now."""


class NotAnsweredError(FacilitairError):
    """A local server of models answered something else than its models, or too much; `status` is that of HTTP."""

    code = "server"

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class SequenceError(FacilitairError):
    """An event does not follow those before it: some are missing, or the run has ended."""

    code = "sequence"


class LeaseLostError(SequenceError):
    """Another server has taken the run over and writes its log now."""


class RunError(FacilitairError):
    """A run ended without a full answer; `result` holds the partial text, usage and cost."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class AgentsFailedError(RunError):
    """Too few agents were left for an answer."""

    code = "agents_failed"


class KeyRefusedError(RunError):
    """No provider that could be asked takes its key; the text names the variable."""

    code = "key_refused"


class BudgetExceededError(RunError):
    """A cost or token limit was reached."""

    code = "budget_exceeded"


class DeadlineExceededError(RunError):
    """The time limit of the run was reached."""

    code = "deadline_exceeded"


class InternalError(RunError):
    """A mistake in Facilitair stopped the run."""


class RunCancelledError(RunError):
    """The run was stopped from outside."""

    code = "cancelled"


class Problem(FacilitairError):  # noqa: N818 - it and those below have the names that RFC 9457 and HTTP use
    """A request that is refused: `detail` says why and what to do. Raised itself it is a mistake of ours (500)."""

    def __init__(self, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.name: str = self.code
        self.status, self.openai = TABLE[self.code][2:]

    def as_dict(self) -> dict[str, Any]:
        """Return the problem as RFC 9457 writes it."""
        from http import HTTPStatus  # 2 ms that no command has to wait for

        return {
            "type": f"urn:facilitair:{self.name.replace('_', '-')}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }

    def as_openai(self) -> dict[str, Any]:
        """Return the problem as OpenAI's clients read it."""
        return {"message": self.detail, "type": self.openai, "param": None, "code": self.name}


class BadRequest(Problem):
    """The request cannot be read."""

    code = "bad_request"


class Unauthorized(Problem):
    """No key, or a wrong one."""

    code = "unauthorized"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, {"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    """The caller is known, or its origin is, and may not do this."""

    code = "forbidden"


class NotFound(Problem):
    """There is no such thing, or it is somebody else's."""

    code = "not_found"


class NoSuchModel(Problem):
    """There is no strategy of this name."""

    code = "model_not_found"


class Conflict(Problem):
    """The request contradicts an earlier one."""

    code = "conflict"


class Gone(Problem):
    """The stream has ended and its events are no longer kept."""

    code = "gone"


class TooLarge(Problem):
    """The body is larger than this server takes."""

    code = "too_large"


class Unprocessable(Problem):
    """The request can be read, but what it asks for cannot be done."""

    code = "unprocessable"


class Busy(Problem):
    """A limit is reached; `retry_after` is in seconds."""

    code = "busy"

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail, {"Retry-After": str(retry_after)})


class Unavailable(Problem):
    """The server cannot do it now: it is shutting down, or its own configuration is not complete."""

    code = "unavailable"


class Refused(Problem):
    """A refusal of the framework's, with a status of its own: an unknown route, a method that is not allowed."""

    code = "refused"

    def __init__(self, status: int, name: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail, headers)
        self.status, self.name = status, name.lower().replace(" ", "_")
        self.openai = "server_error" if status >= 500 else "invalid_request_error"


class RunFailed(Problem):
    """A run that ended without an answer. It was paid for, so clients are told not to try it again by themselves."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail, {"X-Should-Retry": "false"})
        self.name = code
        self.status, self.openai = TABLE[run_error(code).code][2:]


class Meaning(NamedTuple):
    """What a code means: the exception of the library, the exit status of a command, the status of HTTP, and the type
    of an OpenAI error."""

    exception: type[FacilitairError]
    exit_status: int
    http_status: int
    openai: OpenAIError


_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"
# Exit statuses 124 and 130 are those of timeout(1) and of a shell whose command got SIGINT.
TABLE: Final[Mapping[Code, Meaning]] = {
    "usage": Meaning(UsageError, 2, 422, _INVALID),
    "config": Meaning(ConfigError, 3, 503, _SERVER),
    "recording": Meaning(RecordingError, 2, 500, _SERVER),
    "server": Meaning(ServerError, 1, 502, _SERVER),
    "sequence": Meaning(SequenceError, 1, 500, _SERVER),
    "agents_failed": Meaning(AgentsFailedError, 1, 502, _SERVER),
    "key_refused": Meaning(KeyRefusedError, 3, 503, _SERVER),
    "budget_exceeded": Meaning(BudgetExceededError, 4, 402, _INVALID),
    "deadline_exceeded": Meaning(DeadlineExceededError, 124, 504, _SERVER),
    "cancelled": Meaning(RunCancelledError, 130, 503, _SERVER),
    "internal": Meaning(InternalError, 1, 500, _SERVER),
    "bad_request": Meaning(BadRequest, 1, 400, _INVALID),
    "unauthorized": Meaning(Unauthorized, 1, 401, "authentication_error"),
    "forbidden": Meaning(Forbidden, 1, 403, _INVALID),
    "not_found": Meaning(NotFound, 1, 404, _INVALID),
    "model_not_found": Meaning(NoSuchModel, 1, 404, _INVALID),
    "conflict": Meaning(Conflict, 1, 409, _INVALID),
    "gone": Meaning(Gone, 1, 410, _INVALID),
    "too_large": Meaning(TooLarge, 1, 413, _INVALID),
    "unprocessable": Meaning(Unprocessable, 1, 422, _INVALID),
    "busy": Meaning(Busy, 1, 429, "rate_limit_error"),
    "unavailable": Meaning(Unavailable, 1, 503, _SERVER),
    "refused": Meaning(Refused, 1, 400, _INVALID),
}


def run_error(code: str | None) -> type[RunError]:
    """Return the exception for a run that failed with `code`; a code of a later version is a `RunError`."""
    found = next((row.exception for name, row in TABLE.items() if name == code), RunError)
    return found if issubclass(found, RunError) else RunError


def exit_status(error: BaseException) -> int:
    """Return the exit status of a command that `error` ended; what is not ours is a failure."""
    return TABLE[error.code].exit_status if isinstance(error, FacilitairError) else 1
