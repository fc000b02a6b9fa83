"""What each command was asked to do: ready values, and all that a command is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..keys import Secret
from .output import Output

if TYPE_CHECKING:
    from ..config import LogFormat, LogLevel
    from ..options import RunOptions

ADDRESS_VARIABLES: Final = ("FAC_API_BASE", "FACILITAIR_API_BASE")
KEY_VARIABLE: Final = "FAC_API_KEY"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs collaborations, and the key that opens it."""

    url: str
    key: Secret | None


@dataclass(frozen=True, slots=True)
class Collaborate:
    """Run `task`: on `server`, or here when there is none."""

    task: str
    context: Mapping[str, Any]
    options: RunOptions
    server: Server | None
    output: Output


@dataclass(frozen=True, slots=True)
class Attach:
    """Watch the run `stream_id` of `server`, from the event after number `after` on."""

    stream_id: str
    after: int
    server: Server
    output: Output


@dataclass(frozen=True, slots=True)
class Replay:
    """Show the run recorded in `file`, `speed` times as fast as it was; infinity is at once."""

    file: Path
    speed: float
    output: Output


@dataclass(frozen=True, slots=True)
class Serve:
    """Serve runs over HTTP; what is `None` stays as configured, `allowed_hosts` are added. With `simulate` no model is
    asked."""

    host: str | None
    port: int | None
    allowed_hosts: tuple[str, ...]
    simulate: bool
    log_format: LogFormat | None
    log_level: LogLevel | None


@dataclass(frozen=True, slots=True)
class Doctor:
    """Check what works here; with `probe` also what the models do."""

    probe: bool


@dataclass(frozen=True, slots=True)
class Simulate:
    """Serve scripted models on loopback, `speed` times as fast as is natural; port 0 is any free one."""

    port: int
    speed: float


Command: TypeAlias = Collaborate | Attach | Replay | Serve | Doctor | Simulate
