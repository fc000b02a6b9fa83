"""A real model on llama.cpp's own server: what no simulator can show."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from typing import Any

import pytest

from facilitair import AgentSpec, Client, Config, Strategy
from facilitair import events as ev
from facilitair.config import ProviderConfig, RoleConfig
from facilitair.fold import answer
from facilitair.providers.model import Message
from facilitair_rust import Content, Finished, HttpClient
from scripts import local_model
from tests.live import until

pytestmark = pytest.mark.skipif(
    local_model.model_file() is None,
    reason="no wheels of llama.cpp and SmolLM2 for this platform (make .setup/local)",
)
ALONE = Strategy(
    name="alone",
    agents=(AgentSpec("writer", "coder", model="llamacpp/smollm2"),),
    synthesizer=None,
    answer="writer",
)


@pytest.fixture(scope="module", params=[True, False], ids=["prefill", "no-prefill-assistant"])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        try:
            base_url = stack.enter_context(local_model.running(4, prefill=request.param))
        except local_model.NotStartedError as error:
            if error.status == -signal.SIGILL:
                pytest.skip("the wheel of llama.cpp needs a processor with AVX2")
            raise
        yield base_url


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as reply:  # noqa: S310 - our own server
        return reply.read().decode()


def busy_slots(base_url: str) -> int:
    slots = json.loads(ask(base_url.replace("/v1", "/slots")))
    return sum(slot["is_processing"] for slot in slots)


def counted(base_url: str) -> tuple[int, int]:
    """Return how many tokens the server has read and written, as it counts."""
    text = ask(base_url.replace("/v1", "/metrics"))
    names = ("prompt_tokens_total", "tokens_predicted_total")
    found = [re.search(rf"^llamacpp:{name} (\d+)", text, re.M) for name in names]
    return tuple(int(match[1]) for match in found if match)  # type: ignore[return-value]


def client(base_url: str) -> Client:
    config = Config(
        providers={"llamacpp": ProviderConfig(base_url=base_url, body={"temperature": 0})},
        roles={"coder": RoleConfig(max_output_tokens=120)},
    )
    return Client(config, env={})


def test_a_text_goes_on_in_place(server: str) -> None:
    async def work() -> str:
        async with client(server) as own:
            catalog = await own._discovered(own.config)
        model = catalog.resolve("llamacpp/smollm2")
        question = [Message("user", "What is the capital of France? Answer with one sentence.")]
        request = model.request(question, max_tokens=8, prefill="The capital of France is Par")
        mux, text = HttpClient().mux(), ""
        mux.open(request.url, request.headers, request.body, request.timeouts)
        async for batch in mux:
            for delta in batch:
                assert isinstance(delta, Content | Finished), delta
                text += delta.text if isinstance(delta, Content) else ""
        return text

    assert asyncio.run(asyncio.wait_for(work(), 60)).startswith(("is", "ís"))


def test_a_run_counts_as_its_server_does(server: str) -> None:
    async def work() -> ev.RunState:
        async with client(server) as own:
            return (await own.run("Say hello in one sentence.", strategy=ALONE)).state

    before = counted(server)
    state = asyncio.run(asyncio.wait_for(work(), 100))
    assert answer(state).strip()
    assert state.usage is not None
    assert not state.usage.estimated
    after = counted(server)
    cached = state.usage.cached_input_tokens or 0  # the server counts what it computed
    assert (state.usage.input_tokens or 0) - cached == after[0] - before[0]
    assert state.usage.output_tokens == after[1] - before[1]
    assert state.cost_usd == 0.0


def test_a_run_that_is_left_frees_its_slot(server: str) -> None:
    async def work() -> None:
        async with client(server) as own:
            run = own.collaborate("Write a long story about a lighthouse.", strategy=ALONE)
            async with aclosing(aiter(run)) as events:
                async for event in events:
                    if isinstance(event, ev.TokenStreamEvent):
                        assert busy_slots(server) == 1
                        break
            await until(lambda: busy_slots(server) == 0)

    asyncio.run(asyncio.wait_for(work(), 100))
