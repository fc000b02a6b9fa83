"""An answer as Anthropic sends it: the events of a message with their times, streamed or at once.

https://platform.claude.com/docs/en/build-with-claude/streaming. What goes wrong does so in `wire`, which has the
same functions for the OpenAI protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from . import wire
from .wire import Answer, Reply, Written

_STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens"}
_ERRORS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def error_reply(
    status: int,
    message: str,
    code: str | None = None,  # noqa: ARG001 - as in `wire`
    headers: Sequence[tuple[str, str]] = (),
) -> Reply:
    """Return an error of the Messages API as a whole response; it has no `code`."""
    return wire.json_reply(_error(_ERRORS.get(status, "api_error"), message), status, headers)


def streamed(answer: Answer) -> Reply:
    """Return the answer as server-sent events: one block of thinking, if there is any, and one of text."""
    start = {**_message(answer), "content": [], "stop_reason": None}
    if answer.usage is not None:
        start["usage"] = {**_usage(answer.usage), "output_tokens": 1}
    change = {
        "type": "message_delta",
        "delta": {"stop_reason": _STOP_REASONS[answer.finish_reason], "stop_sequence": None},
        "usage": None if answer.usage is None else _usage(answer.usage),
    }
    end = _event({"type": "message_stop"})
    return wire.play(
        answer,
        Written(
            first=_event({"type": "message_start", "message": start}) + _event({"type": "ping"}),
            pieces=list(_blocks(answer)),
            last=[
                _stop_of_last_block(answer),
                _event(change),
                *[end] * (2 if "dupdone" in answer.faults else 1),
            ],
            keep_alive=_event({"type": "ping"}),
            error=_event(_failure()),
            malformed=b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":\n\n',
            padding=(b'event: ping\ndata: {"type":"ping","padding":"', b'"}\n\n'),
        ),
    )


def at_once(answer: Answer) -> Reply:
    """Return the answer as one JSON object, after all the time that its streaming would have taken."""
    thinking = [{"type": "thinking", "thinking": "".join(answer.thoughts), "signature": "simulated"}]
    said = {
        **_message(answer),
        "content": [
            *(thinking if answer.thoughts else []),
            {"type": "text", "text": "".join(answer.content)},
        ],
        "stop_reason": _STOP_REASONS[answer.finish_reason],
        "usage": None if answer.usage is None else _usage(answer.usage),
    }
    return wire.whole(answer, said, _failure())


def _blocks(answer: Answer) -> Iterator[bytes]:
    """Yield each piece, with the events that open its block and end the one before where it is the first of it."""
    for number, thought in enumerate(answer.thoughts):
        opening = b"" if number else _block_start(0, {"type": "thinking", "thinking": "", "signature": ""})
        yield opening + _delta(0, {"type": "thinking_delta", "thinking": thought})
    index = 1 if answer.thoughts else 0
    for number, piece in enumerate(answer.content):
        opening = (
            b"" if number else _end_of_thinking(answer) + _block_start(index, {"type": "text", "text": ""})
        )
        yield opening + _delta(index, {"type": "text_delta", "text": piece})


def _end_of_thinking(answer: Answer) -> bytes:
    if not answer.thoughts:
        return b""
    return _delta(0, {"type": "signature_delta", "signature": "simulated"}) + _block_stop(0)


def _stop_of_last_block(answer: Answer) -> bytes:
    if answer.content:
        return _block_stop(1 if answer.thoughts else 0)
    return _end_of_thinking(answer)


def _block_start(index: int, block: Mapping[str, str]) -> bytes:
    return _event({"type": "content_block_start", "index": index, "content_block": block})


def _delta(index: int, delta: Mapping[str, str]) -> bytes:
    return _event({"type": "content_block_delta", "index": index, "delta": delta})


def _block_stop(index: int) -> bytes:
    return _event({"type": "content_block_stop", "index": index})


def _message(answer: Answer) -> dict[str, object]:
    return {
        "id": answer.id.replace("chatcmpl-", "msg_"),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "stop_sequence": None,
    }


def _usage(usage: Mapping[str, object]) -> dict[str, object]:
    """Return a usage as this protocol counts: the cached part of the prompt is no part of the input."""
    counts = msgspec.convert(usage, _Usage)
    cached = counts.prompt_tokens_details.cached_tokens
    return {
        "input_tokens": counts.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": counts.completion_tokens,
        "output_tokens_details": {"thinking_tokens": counts.completion_tokens_details.reasoning_tokens},
    }


class _PromptDetails(msgspec.Struct):
    cached_tokens: int


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _CompletionDetails


def _failure() -> dict[str, object]:
    return _error("overloaded_error", "the simulated provider failed in mid-text")


def _error(kind: str, message: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"}


def _event(body: Mapping[str, object]) -> bytes:
    return f"event: {body['type']}\ndata: ".encode() + msgspec.json.encode(body) + b"\n\n"
