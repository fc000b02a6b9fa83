"""Odd streams in the decoder: both wires, whole and cut anywhere."""

from __future__ import annotations

import pytest

from facilitair_rust import ChatDecoder, Content, Delta, Failed, Finished, Reasoning, Timeouts
from tests.odd_streams import ANTHROPIC, ODD, OPENAI, Odd, Protocol, raw

SSE = [("content-type", "text/event-stream")]
CASES = [pytest.param(odd, wire, id=f"{odd.name}-{wire.name}") for odd in ODD for wire in odd.wires]


def decoded(odd: Odd, wire: Protocol, size: int) -> list[Delta]:
    decoder, now = ChatDecoder(1, Timeouts(), 0.0, wire.name), 0.0
    found = decoder.head(200, SSE, now)
    for piece in odd.pieces(wire):
        if isinstance(piece, float):
            until = now + piece
            while (due := decoder.deadline()) is not None and due <= until:
                found += decoder.expire(due)
            now = until
        else:
            for at in range(0, len(piece), size):
                found += decoder.feed(piece[at : at + size], now)
    return found + decoder.eof(now, clean=odd.clean)


@pytest.mark.parametrize(("odd", "wire"), CASES)
@pytest.mark.parametrize("size", [7, 1 << 30])
def test_an_odd_stream(odd: Odd, wire: Protocol, size: int) -> None:
    if size == 7 and len(odd.text) > 1000:
        pytest.skip("a large event is as large in one piece")
    *texts, end = decoded(odd, wire, size)
    assert "".join(delta.text for delta in texts if isinstance(delta, Content)) == odd.text
    if odd.reason is not None:
        assert isinstance(end, Finished), end
        assert end.reason == odd.reason
        return
    assert isinstance(end, Failed), end
    assert end.error.code == odd.error
    assert odd.says in end.error.message
    if odd.retryable is not None:
        assert end.error.retryable is odd.retryable


def last(*events: bytes, wire: Protocol = OPENAI) -> Finished | Failed:
    decoder = ChatDecoder(1, Timeouts(), 0.0, wire.name)
    decoder.head(200, SSE, 0.0)
    end = (decoder.feed(b"".join(events), 0.0) + decoder.eof(0.0))[-1]
    assert isinstance(end, Finished | Failed)
    return end


def test_a_later_zero_does_not_replace_what_was_counted() -> None:
    start = raw(
        '{"type":"message_start","message":{"usage":{"input_tokens":100,"cache_read_input_tokens":7}}}'
    )
    change = raw(
        '{"type":"message_delta","delta":{"stop_reason":"end_turn"},'
        '"usage":{"input_tokens":0,"cache_read_input_tokens":0,"output_tokens":9}}'
    )
    usage = last(start, ANTHROPIC.said("a"), change, ANTHROPIC.done, wire=ANTHROPIC).usage
    assert usage is not None
    assert (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens) == (107, 7, 9)
    counted = raw('{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":9}}')
    forgot = raw('{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}')
    usage = last(OPENAI.said("a", "stop"), counted, forgot, OPENAI.done).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (100, 9)


@pytest.mark.parametrize("encoding", ["none", "identity, identity", "utf-8", "chunked"])
def test_an_encoding_that_is_none_does_not_matter(encoding: str) -> None:
    decoder = ChatDecoder(1, Timeouts(), 0.0)
    assert decoder.head(200, [*SSE, ("Content-Encoding", encoding)], 0.0) == []
    end = (decoder.feed(OPENAI.said("a", "stop") + OPENAI.done, 0.0))[-1]
    assert isinstance(end, Finished)


def test_a_status_beside_an_error_counts() -> None:
    end = last(raw('{"statusCode":401,"message":"bad token","error":"Unauthorized"}'))
    assert isinstance(end, Failed)
    assert (end.error.code, end.error.status, end.error.message) == ("auth_failed", 401, "bad token")
    end = last(raw('{"errors":[{"code":429,"message":"slow down"}]}'))
    assert isinstance(end, Failed)
    assert (end.error.code, end.error.message) == ("rate_limited", "slow down")


@pytest.mark.parametrize("status", [200, 500])
def test_a_body_that_is_compressed_unasked_is_named(status: int) -> None:
    decoder = ChatDecoder(1, Timeouts(), 0.0)
    (end,) = decoder.head(status, [*SSE, ("Content-Encoding", "gzip")], 0.0)
    assert isinstance(end, Failed)
    if status == 200:
        assert "gzip" in end.error.message
        assert not end.error.retryable
    else:
        assert end.error.status == status


def test_compressed_bytes_without_a_word_about_it_are_named() -> None:
    decoder = ChatDecoder(1, Timeouts(), 0.0)
    decoder.head(200, SSE, 0.0)
    (end,) = decoder.feed(b"\x1f\x8b\x08\x00junk", 0.0)
    assert isinstance(end, Failed)
    assert "gzip" in end.error.message


@pytest.mark.parametrize("wire", [OPENAI, ANTHROPIC], ids=lambda wire: wire.name)
def test_think_tags_are_reasoning_where_asked_for(wire: Protocol) -> None:
    stream = b"".join(
        [
            wire.said("<thi"),
            wire.said("nk>so\n</th"),
            wire.said("ink>\n\nIt is <think>"),
            wire.said("!", "stop"),
            wire.done,
        ]
    )
    for asked, reasoning, content in [
        (True, "so\n", "It is <think>!"),
        (False, "", "<think>so\n</think>\n\nIt is <think>!"),
    ]:
        decoder = ChatDecoder(1, Timeouts(), 0.0, wire.name, think_tags=asked)
        decoder.head(200, SSE, 0.0)
        found = decoder.feed(stream, 0.0)
        assert "".join(delta.text for delta in found if isinstance(delta, Reasoning)) == reasoning
        assert "".join(delta.text for delta in found if isinstance(delta, Content)) == content
