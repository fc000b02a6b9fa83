"""`ChatDecoder` on a clock that only the test moves."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair_rust import ChatDecoder, Closed, Content, Delta, Failed, Finished, Reasoning, Timeouts

SSE = [("content-type", "text/event-stream")]
CLOCKS = Timeouts(connect=1.0, first_content=10.0, between_content=2.0, total=100.0)

LINES = [
    ": comment\n", "\n", "\r\n", "data: [DONE]\n\n", "event: error\n", "data: {broken\n\n", "data: {}\n\n",
    'data: {"choices":[{"delta":{"content":"é\u2028"}}]}\n\n',
    'data: {"choices":[{"delta":{"reasoning":"r"}}]}\r\n\r\n',
    'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\n', 'data: {"usage":{"prompt_tokens":2}}\n\n',
    'data: {"choices":[{"delta":{"content":"\\ud83d"}}],\ndata: "model":"m"}\n\n', 'data: {"error":"no"}\n\n',
]  # fmt: skip


def opened() -> ChatDecoder:
    decoder = ChatDecoder(7, CLOCKS, 0.0)
    assert decoder.head(200, SSE, 0.5) == []
    return decoder


def essence(deltas: list[Delta]) -> list[tuple[str, str]]:
    """Without the merging, which depends on what arrived together."""
    found: list[tuple[str, str]] = []
    for delta in deltas:
        assert delta.stream == 7
        if not isinstance(delta, Content | Reasoning):
            found.append((type(delta).__name__, repr(delta)))
        elif found and found[-1][0] == type(delta).__name__:
            found[-1] = (found[-1][0], found[-1][1] + delta.text)
        else:
            found.append((type(delta).__name__, delta.text))
    return found


@given(st.lists(st.sampled_from(LINES), max_size=12).map("".join), st.lists(st.integers(0, 500), max_size=8))
def test_any_split_of_the_bytes_gives_the_same(text: str, places: list[int]) -> None:
    data = text.encode()
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    whole, split = opened(), opened()
    expected = whole.feed(data, 1.0) + whole.eof(1.0)
    found = [delta for a, b in pairwise(edges) for delta in split.feed(data[a:b], 1.0)]
    found += split.eof(1.0)
    assert essence(found) == essence(expected)
    ends = [delta for delta in found if isinstance(delta, Finished | Failed)]
    assert found[-1:] == ends
    assert split.done


def code(deltas: list[Delta]) -> str:
    (failed,) = deltas
    assert isinstance(failed, Failed)
    return failed.error.code


def content(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def test_four_clocks() -> None:
    decoder = ChatDecoder(7, CLOCKS, 0.0)
    assert decoder.deadline() == 1.0
    assert decoder.expire(0.9) == []
    assert code(decoder.expire(1.0)) == "connect_timeout"
    assert decoder.deadline() is None
    assert decoder.done

    decoder = ChatDecoder(7, CLOCKS, 0.0)
    decoder.connected(0.5)
    assert decoder.deadline() == 10.5
    decoder.head(200, SSE, 9.0)
    assert code(decoder.expire(10.5)) == "first_content_timeout"

    decoder = opened()
    decoder.feed(content("a"), 3.0)
    decoder.feed(b": still here\n\n" + content(""), 4.0)
    assert decoder.deadline() == 5.0
    assert code(decoder.expire(5.0)) == "stall_timeout"

    decoder = opened()
    for second in range(1, 100):
        decoder.feed(content("a"), float(second))
    assert code(decoder.expire(100.0)) == "total_timeout"


def test_reasoning_is_content_for_the_clocks() -> None:
    decoder = opened()
    decoder.feed(b'data: {"choices":[{"delta":{"reasoning":"r"}}]}\n\n', 3.0)
    assert decoder.deadline() == 5.0


def test_a_clock_behind_the_finish_reason_finishes() -> None:
    decoder = opened()
    decoder.feed(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n', 3.0)
    (finished,) = decoder.expire(5.0)
    assert isinstance(finished, Finished)


FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'


@pytest.mark.parametrize(
    "junk", [b"data: {oops\n\n", b'data: {"choices":5}\n\n', b"data: " + b"x" * 9_000_000]
)
def test_junk_behind_the_finish_reason_finishes(junk: bytes) -> None:
    (finished,) = opened().feed(FINISH + junk, 1.0)
    assert isinstance(finished, Finished)


@pytest.mark.parametrize(
    "usage", ['{"prompt_tokens":-1,"completion_tokens":3}', '{"cost":"0.5","completion_tokens":3}']
)
def test_wrong_usage_costs_nothing_but_itself(usage: str) -> None:
    (finished,) = opened().feed(FINISH + f'data: {{"usage":{usage}}}\n\ndata: [DONE]\n\n'.encode(), 1.0)
    assert isinstance(finished, Finished)
    assert finished.usage is not None
    assert (finished.usage.input_tokens, finished.usage.output_tokens, finished.usage.cost_usd) == (
        None,
        3,
        None,
    )


def test_a_refusal_is_explained_soon_or_not() -> None:
    decoder = ChatDecoder(7, Timeouts(), 0.0)
    decoder.head(400, [], 1.0)
    decoder.feed(b"key sk-pro", 2.0)
    assert decoder.deadline() == 6.0
    (failed,) = decoder.expire(6.0)
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.message) == ("http_status", "HTTP 400: key")


def test_names_of_the_provider_are_clean_and_short() -> None:
    decoder = ChatDecoder(7, CLOCKS, 0.0)
    decoder.add_secret("Bearer very-secret-value")
    decoder.head(200, SSE, 0.5)
    said = {
        "model": "\x1b[31mvery-secret-value" + "m" * 900,
        "choices": [{"delta": {}, "finish_reason": "\x07very-secret-value" + "r" * 900}],
    }
    (finished,) = decoder.feed(b"data: " + json.dumps(said).encode() + b"\n\ndata: [DONE]\n\n", 1.0)
    assert isinstance(finished, Finished)
    assert finished.model is not None
    assert finished.model.startswith("[31m[redacted]mmm")
    assert finished.reason.startswith("[redacted]rrr")
    assert (len(finished.model), len(finished.reason)) == (200, 100)


def test_done_without_a_reason_is_a_stop() -> None:
    (finished,) = opened().feed(b"data: [DONE]\n\n", 1.0)
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.usage, finished.model) == ("stop", None, None)


def test_a_last_event_without_its_blank_line_counts_when_it_is_whole() -> None:
    decoder = opened()
    decoder.feed(content("a") + b"data: [DONE]", 1.0)
    assert isinstance(decoder.eof(1.0)[-1], Finished)
    decoder = opened()
    decoder.feed(b'data: {"choices":[{"del', 1.0)
    assert code(decoder.eof(1.0)) == "truncated"


def test_close_ends_with_what_was_reported() -> None:
    decoder = opened()
    decoder.feed(b'data: {"usage":{"prompt_tokens":2}}\n\n', 1.0)
    assert decoder.usage is not None
    (closed,) = decoder.close()
    assert isinstance(closed, Closed)
    assert closed.usage == decoder.usage
    assert decoder.close() == decoder.feed(content("late"), 2.0) == decoder.eof(2.0) == []


def test_registered_secrets_are_never_repeated() -> None:
    decoder = ChatDecoder(7, CLOCKS, 0.0)
    decoder.add_secret("Bearer very-secret-value")
    decoder.head(400, [], 0.5)
    decoder.feed(b'{"error": {"message": "header Bearer very-secret-value\\u001b[31m"}}', 0.5)
    (failed,) = decoder.eof(0.6)
    assert isinstance(failed, Failed)
    assert "very-secret" not in failed.error.message
    assert "\x1b" not in failed.error.message
    failed = ChatDecoder(7, CLOCKS, 0.0).connect_failed("refused")[0]
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.message, failed.error.retryable) == (
        "connect_failed",
        "refused",
        True,
    )


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, 1e19])
def test_clocks_are_positive_and_bounded(bad: float) -> None:
    with pytest.raises(ValueError, match="between_content"):
        Timeouts(between_content=bad)
