"""`Mux` and `ChatDecoder` with the Messages API of Anthropic: what is on the wire, and what becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from facilitair_rust import (
    ChatDecoder,
    Content,
    Delta,
    Failed,
    Finished,
    HttpClient,
    Mux,
    Reasoning,
    Timeouts,
    Usage,
)
from tests.rust.provider import HEAD, LAST, UNTIL_CLOSE, Request, answer, chunk, provider

KEY = "sk-ant-test-0123456789"
STREAM = (Path(__file__).parents[2] / "rust/core/tests/data/anthropic.sse").read_bytes()
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def asked(
    *pieces: bytes, timeouts: Timeouts | None = None, hang: bool = False
) -> tuple[Request, list[Delta]]:
    """Return the request and what came of it."""

    async def respond(request: Request) -> None:
        await request.send(*pieces)
        if hang:
            await request.gone()
        request.writer.close()

    async def work() -> tuple[Request, list[Delta]]:
        async with provider(respond) as server:
            mux = HttpClient().mux()
            url = server.url.replace("chat/completions", "messages")
            mux.open(url, {"x-api-key": KEY}, b"{}", timeouts, "anthropic")
            deltas = [delta async for batch in mux for delta in batch]
            return server.requests[0], deltas

    return asyncio.run(asyncio.wait_for(work(), 30))


def failure(deltas: list[Delta]) -> Failed:
    last = deltas[-1]
    assert isinstance(last, Failed), deltas
    return last


def test_a_message_arrives() -> None:
    request, deltas = asked(HEAD, *[chunk(event + b"\n\n") for event in STREAM.split(b"\n\n") if event], LAST)

    assert "POST /v1/messages" in request.head
    assert f"x-api-key: {KEY}" in request.head
    text = "".join(delta.text for delta in deltas if isinstance(delta, Content))
    thinking = "".join(delta.text for delta in deltas if isinstance(delta, Reasoning))
    assert (thinking, text) == ("The user greets: é\u2028🦀.", 'Hello "wörld" 👩\u200d💻\n')
    end = deltas[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.model) == ("stop", "claude-sonnet-5-5")
    assert end.usage == Usage(
        input_tokens=2073, cached_input_tokens=2048, output_tokens=15, reasoning_tokens=6
    )


def test_a_message_that_is_cut_is_truncated() -> None:
    _, deltas = asked(UNTIL_CLOSE, STREAM[: STREAM.index(b"event: message_delta")])

    error = failure(deltas).error
    assert (error.code, error.retryable) == ("truncated", True)
    assert error.message == "the response was cut before a stop reason or message_stop"


def test_pings_alone_are_a_stall() -> None:
    clocks = Timeouts(first_content=5, between_content=0.3)
    beginning = STREAM[: STREAM.index(b"event: message_delta")]
    _, deltas = asked(UNTIL_CLOSE, beginning, PING, PING, timeouts=clocks, hang=True)

    assert failure(deltas).error.code == "stall_timeout"


@pytest.mark.parametrize(
    ("status", "kind", "code", "retryable"),
    [
        ("400 Bad Request", "invalid_request_error", "http_status", False),
        ("401 Unauthorized", "authentication_error", "auth_failed", False),
        ("403 Forbidden", "permission_error", "auth_failed", False),
        ("404 Not Found", "not_found_error", "http_status", False),
        ("413 Payload Too Large", "request_too_large", "http_status", False),
        ("429 Too Many Requests", "rate_limit_error", "rate_limited", True),
        ("500 Internal Server Error", "api_error", "http_status", True),
        ("529 Overloaded", "overloaded_error", "http_status", True),
    ],
)
def test_refused_requests(status: str, kind: str, code: str, retryable: bool) -> None:
    body = f'{{"type":"error","error":{{"type":"{kind}","message":"no: {KEY}"}},"request_id":"req_1"}}'
    _, deltas = asked(answer(status, body.encode(), "retry-after: 7"))

    error = failure(deltas).error
    assert (error.code, error.retryable, error.status) == (code, retryable, int(status[:3]))
    assert (error.message, error.retry_after_s) == (f"HTTP {status[:3]}: no: [redacted]", 7.0)


def test_a_limit_that_waiting_does_not_lift_is_not_retried() -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"monthly limit"}}'
    _, deltas = asked(answer("429 Too Many Requests", body, "x-should-retry: false"))

    assert not failure(deltas).error.retryable


@pytest.mark.parametrize(
    ("kind", "code", "retryable"),
    [
        ("overloaded_error", "provider_error", True),
        ("rate_limit_error", "rate_limited", True),
        ("authentication_error", "auth_failed", False),
        ("invalid_request_error", "provider_error", False),
    ],
)
def test_an_error_in_mid_stream(kind: str, code: str, retryable: bool) -> None:
    beginning = STREAM[: STREAM.index(b"event: message_delta")]
    error_event = f'event: error\ndata: {{"type":"error","error":{{"type":"{kind}","message":"m"}}}}\n\n'
    _, deltas = asked(UNTIL_CLOSE, beginning, error_event.encode())

    failed = failure(deltas)
    assert (failed.error.code, failed.error.retryable, failed.error.message) == (code, retryable, "m")
    assert failed.usage == Usage(input_tokens=2073, cached_input_tokens=2048)


def test_each_protocol_is_read_by_its_own_decoder() -> None:
    decoder = ChatDecoder(1, Timeouts(), 0.0)
    decoder.head(200, [], 0.0)
    assert isinstance((decoder.feed(STREAM, 0.0) + decoder.eof(0.0))[-1], Failed)

    decoder = ChatDecoder(1, Timeouts(), 0.0, "anthropic")
    decoder.head(200, [], 0.0)
    assert isinstance(decoder.feed(STREAM, 0.0)[-1], Finished)


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match=r'no wire "grpc"; there are: openai, anthropic'):
        ChatDecoder(1, Timeouts(), 0.0, "grpc")  # type: ignore[arg-type]
    mux: Mux = HttpClient().mux()
    with pytest.raises(ValueError, match="no wire"):
        mux.open("http://127.0.0.1:1", {}, b"", None, "grpc")  # type: ignore[arg-type]
