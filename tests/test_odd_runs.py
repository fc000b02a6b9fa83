"""Odd streams through a whole run: over HTTP to a provider on loopback, through the engine, to what a person gets."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from facilitair import Client, Config
from facilitair import events as ev
from facilitair.config import ProviderConfig, RoleConfig
from facilitair.config.schema import LimitsConfig, TimeoutsConfig
from facilitair.engine.graph import AgentSpec, Strategy
from facilitair.fold import answer
from tests.odd_streams import ODD, OPENAI, Odd, Piece, Protocol
from tests.rust.provider import HEAD, LAST, Provider, Request, chunk, provider
from tests.rust.provider import answer as response

HURRY = 40  # times as fast as the clocks of the real thing
CASES = [
    pytest.param(odd, wire, id=f"{odd.name}-{wire.name}")
    for odd in ODD
    for wire in odd.wires
    if len(odd.text) < 1000
]


@dataclass
class Asked:
    """How a run ended, and how often its provider was asked."""

    state: ev.RunState
    end: ev.AnyEvent
    requests: int


def asks(server: Provider) -> int:
    """Return how many completions were asked for; servers nearby are asked for their models, too."""
    return sum(request.head.startswith("POST") for request in server.requests)


async def say(request: Request, pieces: list[Piece], *, clean: bool) -> None:
    await request.send(HEAD)
    for piece in pieces:
        if isinstance(piece, float):
            if piece > 100:
                await request.gone()
                return
            await asyncio.sleep(piece / HURRY)
        else:
            await request.send(chunk(piece))
    if clean:
        await request.send(LAST)
    else:
        request.writer.close()


def asked(odd: Odd, wire: Protocol) -> Asked:
    async def respond(request: Request) -> None:
        await say(request, odd.pieces(wire), clean=odd.clean)

    async def work() -> Asked:
        async with provider(respond) as server:
            own = ProviderConfig(base_url=server.url.removesuffix("/chat/completions"), wire=wire.name)
            config = Config(
                providers={"odd": own},
                limits=LimitsConfig(retries=1),
                timeouts=TimeoutsConfig(between_content=30 / HURRY),
            )
            alone = Strategy(
                name="alone",
                agents=(AgentSpec("coder", "coder", model="odd/m"),),
                synthesizer=None,
                answer="coder",
            )
            async with Client(config, env={}) as client:
                run = client.collaborate("Sort a list", strategy=alone)
                async with aclosing(aiter(run)) as events:
                    end = [event async for event in events][-1]
            return Asked(run.state, end, asks(server))

    return asyncio.run(asyncio.wait_for(work(), 40))


@pytest.mark.parametrize(("odd", "wire"), CASES)
def test_what_a_person_gets(odd: Odd, wire: Protocol) -> None:
    got = asked(odd, wire)
    state = got.state
    if odd.whole:
        assert (state.status, answer(state), state.degraded) == ("completed", odd.text, ())
        assert got.requests == 1
    elif odd.reason is not None and odd.text:
        assert (state.status, answer(state)) == ("completed", odd.text)
        (loss,) = state.degraded
        assert odd.reason in loss or odd.reason == "length"
        assert got.requests == 1
    else:
        assert (state.status, state.error_code) == ("failed", "agents_failed")
        assert isinstance(got.end, ev.TaskErrorEvent)
        assert got.end.partial == odd.text
        assert odd.says in (state.error_message or "")
        # What broke off in mid-text is continued once; a reason other than "stop" would be the same again.
        again = odd.text or (odd.reason == "stop" if odd.reason else odd.retryable is not False)
        assert got.requests == (2 if again else 1)


def test_an_empty_answer_goes_to_the_next_model() -> None:
    async def empty(request: Request) -> None:
        await say(request, [OPENAI.done], clean=True)

    async def good(request: Request) -> None:
        await say(request, [OPENAI.said("All of it.", "stop"), OPENAI.done], clean=True)

    async def work() -> tuple[ev.RunState, int]:
        async with provider(empty) as bad_server, provider(good) as good_server:
            urls = {"bad": bad_server.url, "good": good_server.url}
            config = Config(
                providers={
                    name: ProviderConfig(base_url=url.removesuffix("/chat/completions"))
                    for name, url in urls.items()
                },
                models={"coder": ("bad/m", "good/m")},
                limits=LimitsConfig(retries=0),
            )
            alone = Strategy(
                name="alone", agents=(AgentSpec("coder", "coder"),), synthesizer=None, answer="coder"
            )
            async with Client(config, env={}) as client:
                run = client.collaborate("Sort a list", strategy=alone)
                result = await run.result()
            return result.state, asks(bad_server)

    state, requests = asyncio.run(asyncio.wait_for(work(), 40))
    assert (answer(state), requests) == ("All of it.", 1)
    assert any("answered with nothing (finish reason stop)" in message for message in state.messages)


def alone_at(server: Provider, config: Config) -> tuple[Config, Strategy]:
    own = ProviderConfig(base_url=server.url.removesuffix("/chat/completions"))
    alone = Strategy(
        name="alone", agents=(AgentSpec("coder", "coder", model="own/m"),), synthesizer=None, answer="coder"
    )
    return replace(config, providers={**config.providers, "own": own}), alone


def test_a_server_that_loads_its_model_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facilitair.engine.streams._LOADING_PAUSE_S", 0.02)

    asked_of: list[Request] = []

    async def respond(request: Request) -> None:
        asked_of.append(request)
        if sum(one.head.startswith("POST") for one in asked_of) < 5:
            body = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
            await request.send(response("503 Service Unavailable", body))
        else:
            await say(request, [OPENAI.said("All of it.", "stop"), OPENAI.done], clean=True)

    async def work() -> ev.RunState:
        async with provider(respond) as server:
            config, alone = alone_at(server, Config(limits=LimitsConfig(retries=0)))
            async with Client(config, env={}) as client:
                return (await client.run("Sort a list", strategy=alone)).state

    state = asyncio.run(asyncio.wait_for(work(), 40))
    assert answer(state) == "All of it."
    assert sum("is loading" in message for message in state.messages) == 1


@pytest.mark.parametrize(
    ("of_role", "of_provider", "most"), [(70, None, 70), (None, 80, 80), (70, 80, 70), (90, 80, 80)]
)
def test_the_length_of_answers_can_be_capped(of_role: int | None, of_provider: int | None, most: int) -> None:
    async def respond(request: Request) -> None:
        await say(request, [OPENAI.said("All of it.", "stop"), OPENAI.done], clean=True)

    async def work() -> bytes:
        async with provider(respond) as server:
            config, alone = alone_at(server, Config(roles={"coder": RoleConfig(max_output_tokens=of_role)}))
            own = replace(config.providers["own"], max_output_tokens=of_provider)
            async with Client(replace(config, providers={"own": own}), env={}) as client:
                await client.run("Sort a list", strategy=alone)
            return server.requests[-1].body

    assert json.loads(asyncio.run(asyncio.wait_for(work(), 40)))["max_tokens"] == most
