"""The simulator as Anthropic: its answers, its faults, and whole runs over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from facilitair import AgentsFailedError, Client, Result
from facilitair.clock import VirtualClock
from facilitair.config import FILE_NAME
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.script import ScriptTransport
from facilitair.simulator.server import Simulator
from facilitair.simulator.wire import Refusal, Reply
from facilitair_rust import Content, Delta, Failed, Finished, HttpClient, Reasoning, Timeouts
from tests.simulator.chat import Messages, answered, user, wire

T = TypeVar("T")
TEN = Script(text="0 1 2 3 4 5 6 7 8 9", ttft_s=0.2, between_s=0.05)
KEY = "sk-ant-of-the-test-0123"


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 40))


def body(model: str, said: Messages | None = None, **more: Any) -> dict[str, Any]:
    asked = {"model": model, "max_tokens": 1000, "messages": said or [user("Task: count")], "stream": True}
    return {**asked, **more}


def replied(brain: Brain, asked: dict[str, Any]) -> Reply:
    return answered(brain.message_reply_to(json.dumps(asked).encode()))


def refused(**changed: Any) -> tuple[int, dict[str, Any]]:
    reply = replied(Brain({"ten": TEN}), body("ten") | changed)
    return reply.status, json.loads(wire(reply))["error"]


async def ask(server: Simulator, model: str, said: Messages | None = None, **clocks: float) -> list[Delta]:
    mux = HttpClient().mux()
    url = f"{server.base_url}/messages"
    mux.open(url, {}, msgspec.json.encode(body(model, said)), Timeouts(**clocks), "anthropic")
    return [delta async for batch in mux for delta in batch]


def asked(model: str, said: Messages | None = None, **clocks: float) -> list[Delta]:
    async def work() -> list[Delta]:
        async with Simulator(Brain({"ten": TEN}), speed=20) as server:
            return await ask(server, model, said, **clocks)

    return run(work())


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Content))


def test_the_events_stand_in_the_order_of_the_protocol() -> None:
    sent = wire(replied(Brain(), body("thinker"))).decode()
    kinds = [line.removeprefix("event: ") for line in sent.splitlines() if line.startswith("event: ")]

    for line in sent.splitlines():
        assert not line.startswith("data: ") or json.loads(line[6:])["type"] in kinds
    assert [kind for number, kind in enumerate(kinds) if kinds[number - 1 : number] != [kind]] == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


def test_it_says_the_same_as_to_clients_of_openai() -> None:
    deltas = asked("ten+bytes")

    end = deltas[-1]
    assert isinstance(end, Finished)
    assert (text(deltas), end.reason, end.model) == ("0 1 2 3 4 5 6 7 8 9", "stop", "ten+bytes")
    assert end.usage is not None
    assert (end.usage.input_tokens, end.usage.output_tokens) == (3, 10)


def test_thoughts_come_as_thinking() -> None:
    deltas = asked("thinker")

    assert isinstance(deltas[0], Reasoning)
    assert text(deltas)
    assert isinstance(deltas[-1], Finished)


def test_a_prefill_is_continued() -> None:
    assert (
        text(asked("ten", [user("Task: count"), {"role": "assistant", "content": "0 1 2"}]))
        == " 3 4 5 6 7 8 9"
    )


def test_what_is_cached_is_said_apart() -> None:
    brain = Brain({"ten": TEN})
    long = body("ten", [user("Task: count " * 100)], stream=False)
    first, second = (json.loads(wire(replied(brain, long)))["usage"] for _ in range(2))

    assert first["cache_read_input_tokens"] == 0
    assert second["cache_read_input_tokens"] > 0
    total = second["input_tokens"] + second["cache_read_input_tokens"]
    assert total == first["input_tokens"]


def test_an_answer_at_once() -> None:
    said = json.loads(wire(replied(Brain({"ten": TEN}), body("ten+length", stream=False))))

    assert said["content"] == [{"type": "text", "text": "0 1 2 3 4"}]
    assert (said["type"], said["stop_reason"], said["usage"]["output_tokens"]) == ("message", "max_tokens", 5)


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ("429=7", "rate_limited", ""),
        ("500", "http_status", ""),
        ("529", "http_status", ""),
        ("refused", "connect_failed", ""),
        ("stall", "stall_timeout", "0 1 2"),
        ("silent=0", "first_content_timeout", ""),
        ("cut", "truncated", "0 1 2"),
        ("error", "provider_error", "0 1 2"),
        ("malformed", "malformed", "0 1 2"),
        ("huge=9", "too_large", ""),
    ],
)
def test_faults(fault: str, code: str, said: str) -> None:
    deltas = asked(f"ten+{fault}", first_content=1.5, between_content=1.0)

    end = deltas[-1]
    assert isinstance(end, Failed)
    assert (end.error.code, end.error.retryable, text(deltas)) == (code, code != "too_large", said)
    assert end.error.retry_after_s == (7.0 if fault == "429=7" else None)


@pytest.mark.parametrize("fault", ["dupdone", "u2028", "nousage"])
def test_faults_that_end_well(fault: str) -> None:
    end = asked(f"ten+{fault}")[-1]

    assert isinstance(end, Finished)
    assert (end.usage is None) == (fault == "nousage")


def test_what_anthropic_refuses_is_refused() -> None:
    status, error = refused(messages=[{"role": "system", "content": "x"}])
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert refused(messages=[user(" ")])[0] == 400
    assert refused(max_tokens=None)[0] == 400
    blanks = [user("x"), {"role": "assistant", "content": "so far "}]
    assert "trailing whitespace" in refused(messages=blanks)[1]["message"]
    status, error = refused(model="nobody")
    assert (status, error["type"]) == (404, "not_found_error")
    assert refused(model="ten+oops")[0] == 400
    assert not isinstance(Brain().message_reply_to(b"{"), Refusal)


def collaborated(place: Path, model: str, **options: Any) -> tuple[Result, list[bytes]]:
    """Run a task with the provider anthropic, which is the simulator; return the result and what was asked."""
    (place / ".git").mkdir()
    bodies: list[bytes] = []

    class Overheard(Brain):
        def message_reply_to(self, body: bytes) -> Reply | Refusal:
            bodies.append(body)
            return super().message_reply_to(body)

    async def work() -> Result:
        async with Simulator(Overheard(), speed=40) as server:
            env = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.base_url.removesuffix("/v1")}
            async with Client(directory=place, env=env) as client:
                return await client.run("Sort a list", models=model, **options)

    return run(work()), bodies


def test_a_whole_run(tmp_path: Path) -> None:
    result, bodies = collaborated(tmp_path, "anthropic/coder", strategy="pipeline")

    assert "Sort a list" in result.content
    assert not result.simulated  # it cannot know that this Anthropic is none
    assert result.usage.estimated is False
    assert KEY.encode() not in b"".join(bodies)


def test_a_whole_run_with_prefill(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / FILE_NAME).write_text("[providers.anthropic]\ntier = 'prefill'\n", encoding="utf-8")
    transport = ScriptTransport(Brain(), VirtualClock())  # on a real clock there may be no interruption

    async def work() -> Result:
        env = {"ANTHROPIC_API_KEY": KEY}
        async with Client(directory=tmp_path, env=env, transport=transport) as client:
            return await client.run("Sort a list", models="anthropic/generic+cutx1", strategy="balanced")

    assert run(work()).content
    last = [json.loads(request.body)["messages"][-1] for request in transport.requests]
    begun = [message["content"] for message in last if message["role"] == "assistant"]
    assert begun
    assert begun == [text.rstrip() for text in begun]


def test_a_run_outlives_an_overloaded_provider(tmp_path: Path) -> None:
    result, _ = collaborated(tmp_path, "anthropic/coder+529", strategy="pipeline")

    assert result.content


def test_a_run_whose_agents_are_all_cut_fails(tmp_path: Path) -> None:
    with pytest.raises(AgentsFailedError, match="cut before a stop reason or message_stop"):
        collaborated(tmp_path, "anthropic/coder+cut", strategy="pipeline")
