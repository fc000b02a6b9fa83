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


def _then_the_default(reason: str) -> Callable[[Protocol], list[Piece]]:
    return lambda p: [p.said("half", reason), p.said("", "stop"), p.done]


def _with_every_chunk(reason: str) -> Callable[[Protocol], list[Piece]]:
    return lambda p: [p.said("a", reason), p.said("b", reason), p.done]


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
    *(
        Odd(
            f"{reason}, and then the default",
            _then_the_default(reason),
            "half",
            reason,
        )
        for reason in ("length", "content_filter")
    ),
    Odd(
        "a bad reason, then text, then no reason",
        lambda p: [p.said("", "length"), p.said("half"), p.done],
        "half",
        "length",
    ),
    Odd(
        "a reason long before any text",
        lambda p: [p.said("", "stop"), 20.0, p.said("a"), p.said("", "stop"), p.done],
        "a",
        "stop",
    ),
    *(
        Odd(
            f"no reason, as {word!r}",
            _with_every_chunk(word),
            "ab",
            "stop",
            wires=(OPENAI,),
        )
        for word in ("null", "None", " ")
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
    *_error('{"detail":{"error":"it broke"}}'),
    *_error('{"detail":{"message":"it broke"}}'),
    *_error('{"errorMessage":"it broke","errorType":"Runtime.ExitError"}'),
    *_error('{"error_message":"it broke"}'),
    *_error('{"error":{"code":0,"message":"it broke"}}'),
    *_error('{"error":true,"message":"it broke"}'),
    *_error('{"statusCode":400,"message":"it broke","error":"Bad Request"}', retryable=False),
    *_error('{"error":{"message":"it broke"},"status":400}', retryable=False),
    *_error('{"error":{"error":{"code":400,"message":"it broke"}}}', retryable=False),
    *_error('{"modelStreamErrorException":{"message":"it broke","originalStatusCode":500}}'),
    *_error('{"fault":{"faultstring":"it broke"}}'),
    *_error('{"type":"response.failed","response":{"error":{"message":"it broke"}}}'),
    *_error('{"result":{"error":"it broke"}}'),
    *_error('{"ok":false,"description":"it broke"}'),
    *_error('{"code":500,"message":"it broke","usage":{"prompt_tokens":1}}'),
    *_error('{"error":{"message":"it broke \\ud83d","code":400}}', retryable=False),
    *_error('{"error":{"param":NaN,"message":"it broke","code":500}}', retryable=True),
    *(
        Odd(
            f"no field of an event stream: {stray[:30]!r}",
            lambda p, s=stray: [p.said("half a"), s.encode(), p.done],  # type: ignore[misc]
            "half a",
            error="provider_error",
            says="it broke",
        )
        for stray in (
            '{"error":{"message":"it broke"}}\n\n',
            "<html><h1>502: it broke</h1></html>\n",
            "Internal Server Error: it broke\n\n",
            'event: error\ndata: {"reason":"it broke"}\n\n',
        )
    ),
    Odd(
        "an error without a word",
        lambda p: [p.said("half a"), b"event: error\n\n", p.done],
        "half a",
        error="provider_error",
    ),
    Odd(
        "a reason that is explained",
        lambda p: [p.said("half a", "error"), raw('{"error":{"message":"it broke"}}'), p.done],
        "half a",
        error="provider_error",
        says="it broke",
    ),
    Odd(
        "an error in the delta",
        lambda p: [p.said("half a"), raw('{"choices":[{"delta":{"error":{"message":"it broke"}}}]}'), p.done],
        "half a",
        error="provider_error",
        says="it broke",
        wires=(OPENAI,),
    ),
    *(
        Odd(
            f"empty values of wrong types: {delta}",
            lambda p, d=delta: [
                p.said("a"),
                raw('{"choices":[{"delta":' + d + "}]}"),
                p.said("b", "stop"),
                p.done,
            ],  # type: ignore[misc]
            "ab",
            "stop",
            wires=(OPENAI,),
        )
        for delta in ("[]", '{"refusal":false}', '{"content":{}}', '{"reasoning":[]}', '{"x":NaN}')
    ),
    Odd(
        "one choice in two pieces",
        lambda p: [
            raw('{"choices":[{"delta":{"role":"assistant"}},{"delta":{"content":"a"}}]}'),
            p.said("b", "stop"),
            p.done,
        ],
        "ab",
        "stop",
        wires=(OPENAI,),
    ),
    Odd(
        "an object per line",
        lambda p: [p.said("a").removeprefix(b"data: "), p.said("b", "stop").replace(b"data: ", b"")],
        "ab",
        "stop",
        wires=(OPENAI,),
    ),
    Odd(
        "a list of chunks",
        lambda p: [raw(json.dumps([p.text_event("a"), p.text_event("b")])), p.said("c", "stop"), p.done],
        "abc",
        "stop",
    ),
    Odd(
        "a byte order mark, indentation and capitals",
        lambda p: [
            b"\xef\xbb\xbf" + p.said("a"),
            b"\xef\xbb\xbf" + p.said("b"),
            b" " + p.said("c"),
            p.said("d").replace(b"data", b"Data"),
            p.said("e", "stop"),
            p.done,
        ],
        "abcde",
        "stop",
    ),
    Odd(
        "no blank line for more than a minute",
        lambda p: [*(x for _ in range(7) for x in (p.said("a")[:-1], 10.0)), p.said("b", "stop"), p.done],
        "aaaaaaab",
        "stop",
    ),
    *(
        Odd(
            f"hidden work that takes long: {name}",
            lambda p, n=name: [  # type: ignore[misc]
                *(
                    x
                    for _ in range(10)
                    for x in (raw(json.dumps({"choices": [{"delta": {n: [{"data": "x"}]}}]})), 10.0)
                ),
                p.said("a", "stop"),
                p.done,
            ],
            "a",
            "stop",
            wires=(OPENAI,),
        )
        for name in ("reasoning_details", "thinking_blocks", "tool_calls")
    ),
    *(
        Odd(
            f"plain words: {words}",
            lambda p, w=words: [p.said("half a"), raw(w), p.done],  # type: ignore[misc]
            "half a",
            error="provider_error",
            says=words[:9],
        )
        for words in ("Bad Gateway", "Too Many Requests", "no healthy upstream", "CUDA out of memory")
    ),
    *(
        Odd(
            f"an event called {name}",
            lambda p, n=name: [p.said("half a"), f"event: {n}\ndata: it broke\n\n".encode(), p.done],  # type: ignore[misc]
            "half a",
            error="provider_error",
            says="it broke",
        )
        for name in ("error", "Error", "exception")
    ),
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
            '{"message":"keepalive"}',
            '{"success":true,"message":"retry after a failed upstream"}',
            '{"status":"processing","message":"the previous attempt failed, retrying"}',
            '{"code":20000,"message":"ok"}',
            '{"status":"processing"}',
            '{"code":0,"message":"no error"}',
            "heartbeat, no errors",
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
    Odd(
        "no blank line anywhere",
        lambda p: [(p.said("a") + p.said("b", "stop") + p.done).replace(b"\n\n", b"\n")],
        "ab",
        "stop",
    ),
    Odd(
        "no blank line anywhere, and a cut",
        lambda p: [
            (p.said("a") + p.said("b")).replace(b"\n\n", b"\n") + raw(json.dumps(p.text_event("c")))[:-20]
        ],
        "ab",
        error="truncated",
    ),
    Odd(
        "an error as the last line",
        lambda p: [p.said("a"), b'data: {"error":{"message":"it broke"}}\n'],
        "a",
        error="provider_error",
        says="it broke",
    ),
    Odd(
        "two objects on one line",
        lambda p: [(p.said("a") + p.said("b")).replace(b"\n\n", b"") + b"\n\n", p.said("c", "stop"), p.done],
        "abc",
        "stop",
    ),
    Odd(
        "the field's name twice",
        lambda p: [p.said("a"), b"data: " + p.said("b"), p.said("c", "stop"), p.done],
        "abc",
        "stop",
    ),
    Odd(
        "the field's name again and again",
        lambda p: [b"data: " * 100_000 + p.said("a"), p.said("b", "stop"), p.done],
        "ab",
        "stop",
    ),
    Odd(
        "blank lines of data before the first event",
        lambda p: [b"data: \n" * 10_000 + p.said("a"), p.said("b", "stop"), p.done],
        "ab",
        "stop",
    ),
    Odd(
        "blanks before everything",
        lambda p: [b" \n" * 10_000, p.said("a"), p.said("b", "stop"), p.done],
        "ab",
        "stop",
    ),
    Odd(
        "a completion as an event",
        lambda p: [raw(p.whole("all of it").decode()), p.done],
        "all of it",
        "stop",
    ),
    Odd(
        "the whole text again in the last event",
        lambda p: [p.said("all "), p.said("of it"), raw(p.whole("all of it").decode()), p.done],
        "all of it",
        "stop",
        wires=(OPENAI,),
    ),
    Odd(
        "text where a delta is expected",
        lambda p: [raw('{"choices":[{"index":0,"text":"a","finish_reason":"stop"}]}'), p.done],
        "a",
        "stop",
        wires=(OPENAI,),
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
