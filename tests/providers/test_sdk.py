"""Requests by the `openai` SDK: the same deltas, errors and clocks as over our own HTTP, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import openai
import pytest

import facilitair
from facilitair import Client, Config
from facilitair.config import ProviderConfig
from facilitair.providers.http import HttpChannel, HttpTransport
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.server import Simulator
from facilitair.transport import Delta, HttpRequest
from facilitair_rust import Closed, Content, Failed, Finished, Reasoning, Timeouts
from tests.live import LIVENESS_S, until

TEXT = "One thing. Another thing. A third one, which is the last."
SCRIPTS = {
    "steady": Script(text=TEXT, ttft_s=0.01, between_s=0.001),
    "thinker": Script(text=TEXT, reasoning="Let me see.", ttft_s=0.01, between_s=0.001),
    "late": Script(text=TEXT, ttft_s=30),
    "endless": Script(text="On and on. " * 2000, ttft_s=0.01, between_s=0.01),
}


@asynccontextmanager
async def asked(
    model: str, timeouts: Timeouts | None = None
) -> AsyncIterator[tuple[HttpChannel, int, Simulator]]:
    """Ask a model over the SDK; give the channel, the stream and the provider."""
    async with (
        asyncio.timeout(LIVENESS_S),
        Simulator(Brain(SCRIPTS)) as simulator,
        openai.AsyncOpenAI(api_key="sk-none-0123456789", base_url=simulator.base_url) as client,
    ):
        transport = HttpTransport(sdk_clients={"azure": client})
        channel = transport.channel()
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Go on."}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        request = HttpRequest(
            "http://nowhere.invalid", {}, msgspec.json.encode(body), timeouts or Timeouts(), "azure"
        )
        try:
            yield channel, channel.open(request), simulator
        finally:
            await channel.aclose()
            transport.close()


async def drained(channel: HttpChannel) -> list[Delta]:
    deltas: list[Delta] = []
    while not deltas or not isinstance(deltas[-1], Finished | Failed | Closed):
        deltas += await channel.recv(None)
    return deltas


def ended(model: str, timeouts: Timeouts | None = None) -> list[Delta]:
    async def run() -> list[Delta]:
        async with asked(model, timeouts) as (channel, _, _):
            return await drained(channel)

    return asyncio.run(run())


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Content))


def test_text_usage_and_model_arrive() -> None:
    deltas = ended("steady")
    assert text(deltas) == TEXT
    end = deltas[-1]
    assert isinstance(end, Finished)
    assert end.reason == "stop"
    assert end.model == "steady"
    assert end.usage is not None
    assert end.usage.output_tokens


def test_what_a_model_thinks_is_no_text() -> None:
    deltas = ended("thinker")
    assert text(deltas) == TEXT
    assert "".join(d.text for d in deltas if isinstance(d, Reasoning)) == "Let me see."


@pytest.mark.parametrize(
    ("model", "code", "retryable"),
    [
        ("steady+429", "rate_limited", True),
        ("steady+500", "http_status", True),
        ("steady+cut", "truncated", False),
        ("steady+error", "provider_error", False),
    ],
)
def test_failures_have_the_codes_of_our_own_http(model: str, code: str, retryable: bool) -> None:
    failed = ended(model)[-1]
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.retryable) == (code, retryable), failed.error
    assert "sk-none" not in failed.error.message


@pytest.mark.parametrize(
    ("model", "timeouts", "code"),
    [
        ("steady+stall", Timeouts(between_content=0.2), "stall_timeout"),
        ("late", Timeouts(first_content=0.2), "first_content_timeout"),
        ("endless", Timeouts(total=0.4), "total_timeout"),
    ],
)
def test_comments_stop_no_clock(model: str, timeouts: Timeouts, code: str) -> None:
    failed = ended(model, timeouts)[-1]
    assert isinstance(failed, Failed)
    assert failed.error.code == code


@pytest.mark.parametrize("way", ["close_stream", "aclose"])
def test_leaving_closes_the_providers_connection(way: str) -> None:
    async def run() -> tuple[list[Delta], int]:
        async with asked("endless") as (channel, stream, simulator):
            await until(lambda: simulator.open_streams == 1)
            await channel.recv(None)
            if way == "aclose":
                await channel.aclose()
                deltas: list[Delta] = []
            else:
                channel.close_stream(stream)
                deltas = await drained(channel)
            await until(lambda: simulator.open_streams == 0)
            return deltas, simulator.closed_early

    deltas, closed_early = asyncio.run(run())
    assert closed_early == 1
    if way == "close_stream":
        assert isinstance(deltas[-1], Closed)


@pytest.mark.parametrize(
    "name", ["azure", "anthropic"]
)  # the latter has a protocol of its own, the SDK has not
def test_a_client_works_with_models_of_a_client_of_ones_own(name: str) -> None:
    async def run() -> facilitair.Result:
        async with (
            asyncio.timeout(LIVENESS_S),
            Simulator(Brain(SCRIPTS)) as simulator,
            openai.AsyncOpenAI(api_key="sk-none-0123456789", base_url=simulator.base_url) as sdk,
        ):
            # Our own HTTP would find nobody there.
            elsewhere = {name: ProviderConfig(base_url="http://127.0.0.1:9/v1", allow_http=True)}
            async with Client(Config(providers=elsewhere), env={}, sdk_clients={name: sdk}) as client:
                return await client.run("Sort a list", models=f"{name}/steady")

    result = asyncio.run(run())
    assert result.content == TEXT
    assert result.degraded == ()
