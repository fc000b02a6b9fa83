"""What was typed or piped: text that is text, and the task, the context and the models made of it."""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any, Final, TextIO

import msgspec

from ..errors import UsageError
from .messages import say

MAX_INPUT_BYTES: Final = 1024 * 1024
_NOTICE_AFTER_S: Final = 1.0


def read_task(argument: str | None, stdin: TextIO | None) -> str:
    """Return the task: `argument`, what `stdin` holds when it is no terminal, or both. `-` is `stdin` alone.

    Raises `UsageError` when that is empty, too large or no text.
    """
    parts = [] if argument is None or argument == "-" else [text_of(argument, "the task")]
    if stdin is not None and (argument == "-" or not stdin.isatty()):
        parts.append(_checked(_read(stdin, notice=bool(parts)), "standard input"))
    task = "\n\n".join(part for part in parts if part.strip())
    if not task:
        raise UsageError(
            'the task is empty; give it as in `facilitair collaborate "..."`, or on standard input'
        )
    if len(task.encode()) > MAX_INPUT_BYTES:
        raise UsageError(_too_large("the task"))
    return task


def _read(stdin: TextIO, *, notice: bool) -> bytes:
    if notice and not select.select([stdin], [], [], _NOTICE_AFTER_S)[0]:
        say("waiting for standard input to end; `< /dev/null` goes without it")
    try:
        return stdin.buffer.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}") from error


def _checked(data: bytes, what: str) -> str:
    if len(data) > MAX_INPUT_BYTES:
        raise UsageError(_too_large(what))
    if b"\0" in data:
        raise UsageError(f"{what} holds NUL bytes: it is binary, not text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} is not UTF-8 text: byte {error.start} cannot be decoded") from error


def _too_large(what: str) -> str:
    return f"{what} is larger than {MAX_INPUT_BYTES // 1024 // 1024} MiB; cut it down to what the models need"


def context_of(
    json: str | None, items: Sequence[str], *, language: str | None = None, frameworks: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the context: the object `json`, the KEY=VALUE `items` over it, the named ones over those.

    Raises `UsageError` naming the argument that is wrong.
    """
    context = {} if json is None else _context_object(json)
    for item in items:
        key, equals, value = item.partition("=")
        if not key.strip() or not equals:
            raise UsageError(f"--context {item!r} is not KEY=VALUE")
        context[text_of(key.strip(), "--context")] = _value(text_of(value, "--context"))
    if language is not None:
        context["language"] = text_of(language, "--language")
    if frameworks:
        context["frameworks"] = [text_of(name, "--framework") for name in frameworks]
    return context


def text_of(argument: str, name: str) -> str:
    """Return `argument`, which is really text: the system passes bytes, Python hides what it cannot decode in
    surrogates. Raises `UsageError` calling it `name` when it is not."""
    return _checked(argument.encode("utf-8", "surrogateescape"), name)


def _context_object(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text_of(text, "CONTEXT_JSON"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"CONTEXT_JSON is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError('CONTEXT_JSON must be a JSON object, such as {"language": "python"}')
    return value


def _value(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def models_of(arguments: Sequence[str]) -> dict[str, str] | None:
    """Return a model by role (`*`: all roles) from [ROLE=]PROVIDER/MODEL; `None` when there are no arguments.

    Raises `UsageError` naming the one that is wrong.
    """
    return dict(map(_model, arguments)) or None


def _model(text: str) -> tuple[str, str]:
    role, equals, model = text.partition("=")
    if not equals or "/" in role:
        role, model = "*", text
    provider, _, name = model.partition("/")
    if not (role and provider and name):
        raise UsageError(f"--model {text!r} is neither PROVIDER/MODEL nor ROLE=PROVIDER/MODEL")
    return role, model
