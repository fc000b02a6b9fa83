"""What goes wrong over HTTP, as RFC 9457 problems; the one place where an error becomes a status.

Under `/v1/` the same problems take the form that OpenAI's clients read. A mistake of ours (500) says nothing of its
cause to the client; the log does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from ..errors import (
    ConfigError,
    FacilitairError,
    Problem,
    Refused,
    TooLarge,
    Unavailable,
    Unprocessable,
    UsageError,
)
from .reporting import Reporter

_log = logging.getLogger(__name__)
MEDIA_TYPE: Final = "application/problem+json"
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


OPENAI_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_DOCUMENTED: Final = {
    400: "The request cannot be read.",
    401: "No key, or a wrong one.",
    402: "The run reached its cost limit.",
    403: "The Host or the Origin is not allowed, or a ticket was shown where a key is needed.",
    404: "No such stream or model, or it is another key's.",
    409: "The Idempotency-Key was used for another task.",
    410: "The stream's events are no longer kept.",
    413: "The body or the task is too large.",
    422: "What is asked for cannot be done.",
    429: "A limit is reached; Retry-After says when to come back.",
    502: "All agents failed.",
    503: "The server is shutting down, or not fully configured.",
    504: "The run reached its time limit.",
}
_HEADERS: Final = {
    401: {"WWW-Authenticate": "How to show a key."},
    429: {"Retry-After": "Seconds until it is worth trying again."},
}


def documented(*statuses: int, openai: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the entries of an OpenAPI description for the problems that a route can answer with."""
    content = {"application/json": {"schema": OPENAI_SCHEMA}} if openai else {MEDIA_TYPE: {"schema": SCHEMA}}
    return {
        status: {
            "description": _DOCUMENTED[status],
            "content": content,
            "headers": documented_headers(_HEADERS.get(status, {})),
        }
        for status in statuses
    }


def documented_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the entry of an OpenAPI description for headers that always come, each with what it means."""
    return {
        name: {"description": text, "required": True, "schema": {"type": "string"}}
        for name, text in headers.items()
    }


def problem_of(error: Exception) -> Problem:
    """Return the problem that `error` is to the client."""
    match error:
        case Problem():
            return error
        case UsageError():
            return Unprocessable(str(error))
        case ConfigError():
            return Unavailable(str(error))
        case RequestValidationError():
            return Unprocessable(_first_mistake(error))
        case HTTPException(status_code=413):
            return TooLarge(str(error.detail))
        case HTTPException():
            name = HTTPStatus(error.status_code).phrase
            return Refused(error.status_code, name, str(error.detail), error.headers)
    return Problem("a mistake in Facilitair stopped the request; its log says more.")


def response_to(error: Exception, path: str) -> Response:
    """Return the response that tells `error` to a client that asked for `path`; log it when it is a refusal."""
    problem = problem_of(error)
    if not _is_mistake(problem):
        log_refusal(problem, path)
    openai = path.startswith("/v1/")
    body = {"error": problem.as_openai()} if openai else problem.as_dict()
    return Response(
        json.dumps(body),
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/json" if openai else MEDIA_TYPE,
    )


def can_deny(scope: Scope) -> bool:
    """Return whether the handshake of a WebSocket can be refused with a response, which says why."""
    return "websocket.http.response" in scope.get("extensions", {})


def log_refusal(problem: Problem, path: str) -> None:
    """Log that a request was refused; `path` without its query, which may hold a ticket."""
    fields = {"status": problem.status, "problem": problem.name.replace("_", "-"), "path": path}
    _log.info("request refused", extra={"fields": fields})


def _is_mistake(problem: Problem) -> bool:
    return type(problem) is Problem


def install(app: FastAPI, reporter: Reporter) -> None:
    """Let `app` answer every error with a problem, and report what is a mistake of ours."""

    async def answer(request: Request, error: Exception) -> Response:  # or a WebSocket, before it is accepted
        if _is_mistake(problem_of(error)):
            reporter.failed_request(error, request.url.path)
        if isinstance(error, RequestValidationError) and (hint := _wrong_type(request)):
            error = Unprocessable(hint)
        elif isinstance(error, HTTPException) and (hint := _hint(request, error.status_code)):
            error = Refused(error.status_code, HTTPStatus(error.status_code).phrase, hint, error.headers)
        return response_to(error, request.url.path)

    for kind in (FacilitairError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def _wrong_type(request: HTTPConnection) -> str | None:
    """Return what is wrong where the body was not even read as JSON: curl calls what it sends a form."""
    kind = request.headers.get("content-type", "")
    if request.scope.get("method") != "POST" or "json" in kind:
        return None
    named = f"is sent as {kind.partition(';')[0][:60]!r}" if kind else "has no Content-Type"
    return f"the body {named}; send it with `Content-Type: application/json`."


def _hint(request: HTTPConnection, status: int) -> str | None:
    """Return what to do instead, where clients of OpenAI's API look for what is elsewhere or not here."""
    path = request.url.path
    if status != 404:
        return None
    if path.startswith(("/chat/completions", "/models", "/completions", "/responses")):
        return f"there is nothing at {path}; the base URL of this server ends in /v1."
    if path in ("/v1/completions", "/v1/responses", "/v1/embeddings"):
        return (
            f"there is no {path} here; use /v1/chat/completions (in the AI SDK: `openai.chat(...)`, or "
            "@ai-sdk/openai-compatible)."
        )
    return None


def _first_mistake(error: RequestValidationError) -> str:
    mistakes = error.errors()
    if not mistakes:
        return "the request is not as the API describes it; see /openapi.json."
    where = ".".join(str(part) for part in mistakes[0]["loc"])
    return f"{where}: {mistakes[0]['msg']}. The form of every request is in /openapi.json."
