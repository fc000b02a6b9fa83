"""The server's log on standard error: a line for each thing that happens, as text or JSON, with every key taken out.

What is logged never holds a task or a model's text, only names, numbers and errors. Errors may repeat what a provider
wrote, so each line is searched for the keys that this process knows, and text for characters that a terminal obeys.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TextIO

from .. import events as ev
from ..config import LogFormat, LogLevel
from ..keys import Secret, redact
from .runs import LiveRun

LOGGERS: Final = ("facilitair", "uvicorn")
Fields = dict[str, str | float | None]
# Lines carry this name, and people filter by it: it does not change with that of the file.
_log = logging.getLogger("facilitair.server.logs")


class LineFormatter(logging.Formatter):
    """Writes a record as one line of JSON, or as text. `secrets` never appear in either."""

    def __init__(self, form: LogFormat, secrets: Iterable[Secret]) -> None:
        super().__init__()
        self._form = form
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record without keys."""
        told: Fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            told["exception"] = "".join(traceback.format_exception(record.exc_info[1])).rstrip()
        clean = {name: self._clean(value) for name, value in told.items()}
        return _as_json(clean) if self._form == "json" else _as_text(clean)

    def _clean(self, value: str | float | None) -> str | float | None:
        return redact(value, self._secrets) if isinstance(value, str) else value


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines. One that cannot be written is told of without what was in it, since that may be a key."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in the library
        """Say where a line is missing."""
        with suppress(OSError, ValueError):  # nobody reads any more
            self.stream.write(
                f"a line of {record.name} could not be logged ({record.pathname}:{record.lineno})\n"
            )


def _as_json(told: Fields) -> str:
    # ASCII alone: terminals obey some characters above it, and readers of lines end a line at others.
    return json.dumps(told).replace("\x7f", "\\u007f")


def _as_text(told: Fields) -> str:
    exception = told.pop("exception", None)
    head = [str(told.pop(name)) for name in ("time", "level", "logger", "message")]
    line = _visible(
        " ".join([*head, *(f"{name}={_as_word(value)}" for name, value in told.items() if value is not None)])
    )
    if exception is None:
        return line
    return "\n".join([line, *(f"    {_visible(part)}" for part in str(exception).split("\n"))])


def _as_word(value: str | float | None) -> str:
    """Quote what has blanks: a path must not look like further fields."""
    return json.dumps(value, ensure_ascii=False) if " " in str(value) or '"' in str(value) else str(value)


def _visible(text: str) -> str:
    """Write out what is no visible character: nobody may forge a line, or speak to the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def configure(
    form: LogFormat, level: LogLevel, secrets: Iterable[Secret], stream: TextIO | None = None
) -> None:
    """Send all that is logged to `stream` (standard error), Python's warnings too; for a process that is the server.

    Below a warning only the server itself is heard.
    """
    handler = LineHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(LineFormatter(form, secrets))
    lowest: int = logging.getLevelName(level.upper())
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(lowest, logging.WARNING))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = []
        # uvicorn's says what went wrong in a request; below a warning it has queries and frames, and no key is taken
        # out of a frame by name.
        logger.setLevel(max(lowest, logging.WARNING if name == "uvicorn" else 0))
        logger.propagate = True


class RunLog:
    """Logs that runs begin and end; a `runs.Listener`."""

    def started(self, run: LiveRun) -> None:
        """Say nothing: it may still be refused."""

    def spoke(self, run: LiveRun) -> None:
        """Say nothing."""

    def happened(self, run: LiveRun, notable: Sequence[ev.AnyEvent], count: int) -> None:  # noqa: ARG002 - one of many
        """Log the first event."""
        for event in notable:
            if not isinstance(event, ev.TaskStartedEvent):
                continue
            fields: Fields = {
                "stream_id": run.stream_id,
                "owner": run.owner,
                "strategy": event.strategy,
                "agents": len(event.agents),
                "simulated": str(event.simulated).lower(),
            }
            _log.info("run began", extra={"fields": fields})

    def ended(self, run: LiveRun) -> None:
        """Log how it ended."""
        state = run.state
        fields: Fields = {
            "stream_id": run.stream_id,
            "owner": run.owner,
            "status": state.status if run.begun else "not begun",
            "seconds": round(time.perf_counter() - run.started, 3),
            "cost_usd": state.cost_usd,
            "error": state.error_code,
        }
        _log.info("run ended", extra={"fields": fields})
