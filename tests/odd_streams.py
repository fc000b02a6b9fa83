"""Streams as providers and gateways really send them, against the letter of both protocols, and what is right.

Each case stands for public reports. The decoder reads them on a clock of the test, and whole runs over HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Piece = bytes | float  # bytes, or seconds in which nothing comes

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
}


def raw(data: str) -> bytes:
    """Return one event that holds `data` as it is."""
    return f"data: {data}\n\n".encode()


@dataclass(frozen=True)
class Protocol:
    """How one wire says what a case is about."""

    name: Literal["openai", "anthropic"]

    def said(self, text: str, reason: str | None = None) -> bytes:
        """Return text, and a finish reason where one is given, in the words of the chat protocol."""
        return raw(json.dumps(self.text_event(text, reason))) + self._reason(reason)

    def text_event(self, text: str, reason: str | None = None) -> object:
        """Return the event of `text`; this is all of it where there is no reason."""
        if self.name == "openai":
            return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}
        return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}

    def _reason(self, reason: str | None) -> bytes:
        if reason is None or self.name == "openai":
            return b""
        change = {"stop_reason": _STOP_REASONS.get(reason, reason)}
        return raw(json.dumps({"type": "message_delta", "delta": change, "usage": {"output_tokens": 5}}))

    @property
    def done(self) -> bytes:
        """The end as the protocol says it."""
        return raw("[DONE]" if self.name == "openai" else '{"type":"message_stop"}')

    def whole(self, text: str, reason: str = "stop") -> bytes:
        """Return a completion that is not streamed."""
        if self.name == "openai":
            said: object = {"choices": [{"message": {"content": text}, "finish_reason": reason}]}
        else:
            blocks = [{"type": "text", "text": text}]
            said = {"type": "message", "content": blocks, "stop_reason": _STOP_REASONS.get(reason, reason)}
        return json.dumps(said).encode()


OPENAI, ANTHROPIC = Protocol("openai"), Protocol("anthropic")


@dataclass(frozen=True)
class Odd:
    """One odd stream and the right reading of it.

    `reason` is that of a finish, `error` the code of a failure, one of which it must be; `says` stands in the message
    of the failure, and `retryable` says whether the same request may be sent again. `clean`: the end of the body is
    said. `whole`: whether nothing may be missing.
    """

    name: str
    pieces: Callable[[Protocol], list[Piece]]
    text: str
    reason: str | None = None
    error: str | None = None
    says: str = ""
    retryable: bool | None = None
    clean: bool = True
    wires: tuple[Protocol, ...] = (OPENAI, ANTHROPIC)

    @property
    def whole(self) -> bool:
        """Whether it is an answer of which nothing is missing."""
        return self.reason == "stop" and bool(self.text.strip())


def _error(shape: str, says: str = "it broke", **more: object) -> list[Odd]:
    """Return a case in mid-stream and one as the whole body of a success, for an error of one shape."""
    name = shape if len(shape) < 60 else shape[:57] + "..."
    return [
        Odd(
            f"an error amid text: {name}",
            lambda p: [p.said("half a"), raw(shape), p.done],
            "half a",
            error="provider_error",
            says=says,
            **more,  # type: ignore[arg-type]
        ),
        Odd(
            f"an error as the whole body: {name}",
            lambda p: [shape.encode()],
            "",
            error="provider_error",
            says=says,
            **more,  # type: ignore[arg-type]
        ),
    ]


def _ending_for(reason: str) -> Callable[[Protocol], list[Piece]]:
    return lambda p: [p.said("half an ans", reason), p.done]


def _nothing(data: str) -> Odd:
    return Odd(
        f"no completion: {data!r}",
        lambda p: [p.said("a"), f"data: {data}\n\n".encode(), p.said("b", "stop"), p.done],
        "ab",
        reason="stop",
    )


ODD: list[Odd] = [
    # A finish reason is information, not the end.
    Odd(
        "a reason with every chunk",
        lambda p: [p.said("a", "stop"), p.said("b", "stop"), p.done],
        "ab",
        "stop",
    ),
    Odd(
        "a reason with every chunk, slowly",
        lambda p: [p.said("a", "stop"), 6.0, p.said("b", "stop"), 6.0, p.done],
        "ab",
        "stop",
    ),
    Odd(
        "a reason in the first, empty chunk",
        lambda p: [p.said("", "stop"), p.said("a"), p.said("b"), p.said("", "stop"), p.done],
        "ab",
        "stop",
    ),
    Odd(
        "a cut after a reason that was premature",
        lambda p: [p.said("", "stop"), p.said("half an")],
        "half an",
        error="truncated",
    ),
    Odd(
        "the connection breaks where every chunk has a reason",
        lambda p: [p.said("a", "stop"), p.said("b", "stop")],
        "ab",
        error="truncated",
        clean=False,
    ),
    Odd(
        "the body ends where every chunk has a reason",
        lambda p: [p.said("a", "stop"), p.said("b", "stop")],
        "ab",
        "stop",
    ),
    Odd(
        "junk where every chunk has a reason",
        lambda p: [p.said("a", "stop"), p.said("b", "stop"), raw("{broken")],
        "ab",
        error="malformed",
    ),
    Odd(
        "silence where every chunk has a reason",
        lambda p: [p.said("a", "stop"), p.said("b", "stop"), 1000.0],
        "ab",
        error="stall_timeout",
    ),
    Odd("no end behind the reason", lambda p: [p.said("a"), p.said("b", "stop"), 1000.0], "ab", "stop"),
    Odd("the body ends behind the reason", lambda p: [p.said("a"), p.said("b", "stop")], "ab", "stop"),
    Odd("the connection ends behind the reason", lambda p: [p.said("a", "stop")], "a", "stop", clean=False),
    Odd("junk behind the reason", lambda p: [p.said("a", "stop"), raw("{broken")], "a", "stop"),
    Odd("an end without a reason", lambda p: [p.said("a"), p.done], "a", "stop"),
    Odd("neither end nor reason", lambda p: [p.said("half")], "half", error="truncated"),
    *(
        Odd(
            f"the reason {reason}",
            _ending_for(reason),
            "half an ans",
            reason,
        )
        for reason in ("abort", "content_filter", "length", "insufficient_system_resource", "tool_calls")
    ),
    Odd(
        "the reason error",
        lambda p: [p.said("half", "error"), p.done],
        "half",
        error="provider_error",
        wires=(OPENAI,),
    ),
    # Errors in all their shapes.
    *_error('{"object":"error","message":"it broke","code":500}', retryable=True),
    *_error('{"type":"error","message":"it broke"}'),
    *_error('{"type":"error","error":{"type":"api_error","message":"it broke"}}'),
    *_error('{"error":{"message":"it broke","code":"internal"}}'),
    *_error('{"error":"it broke"}'),
    *_error('{"errors":[{"message":"it broke"}]}'),
    *_error('{"code":"InternalError","message":"it broke","request_id":"r"}'),
    *_error('{"code":1234,"msg":"it broke"}'),
    *_error('{"error_code":336100,"error_msg":"it broke"}'),
    *_error('{"base_resp":{"status_code":1000,"status_msg":"it broke"}}'),
    *_error('{"success":false,"message":"it broke"}'),
    *_error('{"message":"it broke"}'),
    *_error('{"detail":"it broke"}'),
    *_error('{"status":502,"title":"Bad Gateway","detail":"it broke"}'),
    *_error('[{"error":{"message":"it broke"}}]'),
    Odd(
        "an error in plain words",
        lambda p: [p.said("half a"), raw("Internal Server Error"), p.done],
        "half a",
        error="provider_error",
        says="Internal Server Error",
    ),
    Odd(
        "plain words as the whole body",
        lambda p: [b"upstream connect error"],
        "",
        error="provider_error",
        says="connect",
    ),
    Odd(
        "an error in a choice",
        lambda p: [
            p.said("half a"),
            raw('{"choices":[{"delta":{"content":""},"error":{"code":502,"message":"it broke"}}]}'),
            p.done,
        ],
        "half a",
        error="provider_error",
        says="it broke",
        wires=(OPENAI,),
    ),
    Odd(
        "an error in the choice of a whole body",
        lambda p: [b'{"choices":[{"error":{"code":502,"message":"it broke"},"message":{"content":""}}]}'],
        "",
        error="provider_error",
        says="it broke",
        wires=(OPENAI,),
    ),
    Odd(
        "codes of success in good chunks",
        lambda p: [
            raw(json.dumps({**p.text_event("a"), "code": 0, "message": "success"})),  # type: ignore[dict-item]
            raw(json.dumps({**p.text_event(""), "error": {"code": 0, "message": "ok"}})),  # type: ignore[dict-item]
            raw(json.dumps({**p.text_event(""), "error": {}, "errors": []})),  # type: ignore[dict-item]
            raw(json.dumps({**p.text_event("b"), "base_resp": {"status_code": 0, "status_msg": ""}})),  # type: ignore[dict-item]
            p.said("c", "stop"),
            p.done,
        ],
        "abc",
        "stop",
    ),
    Odd("JSON that is no completion", lambda p: [b'{"models":[]}'], "", error="malformed", retryable=False),
    # What is no completion is nothing.
    *map(
        _nothing,
        [
            ": keepalive",
            "ping",
            "[KEEPALIVE]",
            "null",
            "{}",
            "[]",
            '"x"',
            '{"type":"ping"}',
            '{"status":"processing"}',
        ],
    ),
    Odd(
        "events without blank lines between them",
        lambda p: [
            (p.said("a") + p.said("b") + p.said("c", "stop") + p.done).replace(b"\n\n", b"\n") + b"\n"
        ],
        "abc",
        "stop",
    ),
    Odd(
        "an object over several lines",
        lambda p: [
            b"".join(
                b"data: " + line.encode() + b"\n"
                for line in json.dumps(p.text_event("a"), indent=1).split("\n")
            ),
            b"\n",
            p.said("b", "stop"),
            p.done,
        ],
        "ab",
        "stop",
    ),
    # Text.
    Odd(
        "an emoji in two halves",
        lambda p: [p.said("x\ud83d"), p.said("\ude00y"), p.said("", "stop"), p.done],
        "x\U0001f600y",
        "stop",
    ),
    Odd("half an emoji", lambda p: [p.said("x\ud83d"), p.said("y", "stop"), p.done], "x\ufffdy", "stop"),
    Odd("half an emoji at the end", lambda p: [p.said("x\ud83d", "stop"), p.done], "x\ufffd", "stop"),
    Odd(
        "an event of two megabytes",
        lambda p: [p.said("x" * 2_000_000, "stop"), p.done],
        "x" * 2_000_000,
        "stop",
    ),
    Odd("not streamed", lambda p: [p.whole("all of it")], "all of it", "stop"),
    # Nothing at all.
    Odd("only the end", lambda p: [p.done], "", "stop"),
    Odd("only a reason", lambda p: [p.said("", "content_filter"), p.done], "", "content_filter"),
]
