"""The options of a run: every surface takes every one that makes sense there, and hands it on as it was given."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any, Final, cast

import httpx
import msgspec
import pytest
import websockets

from facilitair import Client, Config, RunOptions
from facilitair.cli.arguments import command_of
from facilitair.cli.commands import Collaborate
from facilitair.cli.parser import parse
from facilitair.errors import UsageError
from facilitair.options import NAMES
from facilitair.planning import check_request

from .server.harness import KEY, Served, served

ALL: Final[RunOptions] = {
    "strategy": "pipeline",
    "preset": "fast",
    "models": "openai/brief",
    "sections": ["One", "Two"],
    "max_cost": 1.5,
    "max_tokens": 50_000,
    "timeout": 60.0,
    "cache": False,
    "simulate": False,
}


def test_this_test_knows_every_option() -> None:
    assert set(ALL) == set(NAMES)


def test_the_library_takes_all() -> None:
    request = check_request(Config(), "Sort a list", None, ALL)

    config = request.config
    assert (request.strategy.name, config.preset, request.sections) == ("pipeline", "fast", ("One", "Two"))
    assert config.choice("default") == ("openai/brief",)
    assert (config.limits.max_cost, config.limits.max_tokens, config.limits.timeout) == (1.5, 50_000, 60.0)
    assert config.cache.enabled is False


def test_the_library_refuses_what_is_none() -> None:
    with pytest.raises(UsageError, match="unknown option 'colour'; known: strategy, preset"):
        check_request(Config(), "Sort", None, cast("RunOptions", {"colour": "red"}))


def test_the_command_line_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    argv = ["collaborate", "Sort", "--strategy", "pipeline", "--preset", "fast", "--model", "openai/brief"]
    argv += ["--section", "One", "--section", "Two", "--max-cost", "1.5", "--max-tokens", "50000"]
    argv += ["--timeout", "60", "--no-cache"]

    command = command_of(parse(argv), {})

    assert isinstance(command, Collaborate)
    assert command.options == {**ALL, "models": {"*": "openai/brief"}, "simulate": None}


def test_the_command_line_takes_simulate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    command = command_of(parse(["collaborate", "Sort", "--simulate"]), {})

    assert isinstance(command, Collaborate)
    assert command.options["simulate"] is True


def test_a_remote_run_sends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from facilitair import RemoteClient

    async def ask(server: Served) -> None:
        async with RemoteClient(server.url, KEY) as client:
            run = client.collaborate("Sort a list", **ALL)
            await run.start()
            await run.cancel()

    assert asyncio.run(asked(monkeypatch, ask)) == ALL


def test_a_body_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(server: Served) -> None:
        answer = await server.http.post("/api/stream/task", json={"task": "Sort a list", **ALL})
        assert answer.status_code == 202, answer.text

    assert asyncio.run(asked(monkeypatch, ask)) == ALL


def test_a_url_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(server: Served) -> None:
        params = httpx.QueryParams(cast("dict[str, Any]", {"task": "Sort a list", **ALL}))
        async with server.http.stream("GET", "/api/collaborate/stream", params=params) as answer:
            assert answer.status_code == 200, await answer.aread()

    assert asyncio.run(asked(monkeypatch, ask)) == ALL


def test_a_websocket_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(server: Served) -> None:
        address = f"{server.url.replace('http', 'ws')}/api/stream/ws"
        async with websockets.connect(address, additional_headers={"X-API-Key": KEY}) as socket:
            await socket.send(json.dumps({"type": "task", "task": "Sort a list", **ALL}))
            assert json.loads(await socket.recv())["type"] == "task_started"

    assert asyncio.run(asked(monkeypatch, ask)) == ALL


def test_openai_s_clients_can_say_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the model is the strategy."""

    async def ask(server: Served) -> None:
        extras = {name: value for name, value in ALL.items() if name != "strategy"}
        body = {"model": "pipeline", "messages": [{"role": "user", "content": "Sort"}], "facilitair": extras}
        await server.http.post("/v1/chat/completions", json=body)

    assert asyncio.run(asked(monkeypatch, ask)) == ALL


async def asked(monkeypatch: pytest.MonkeyPatch, ask: Any) -> Mapping[str, Any]:
    """Return the options with which the server's client was asked for a run, after `ask` of the server."""
    given: list[Mapping[str, Any]] = []
    collaborate = Client.collaborate

    def noted(client: Client, task: str, context: Any = None, **options: Any) -> Any:
        given.append(options)
        free = {name: value for name, value in options.items() if name != "max_cost"}  # no price is known
        return collaborate(client, task, context, **free)

    monkeypatch.setattr(Client, "collaborate", noted)
    async with served(speed=50) as server:
        await ask(server)
    (options,) = given
    return cast("Mapping[str, Any]", msgspec.to_builtins(options))


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_cost", 0), ("max_tokens", 0), ("timeout", -1), ("timeout", 1e9), ("sections", "")],
)
def test_limits_hold_on_every_surface(name: str, value: Any) -> None:
    async def run() -> list[int]:
        async with served() as server:
            posted = await server.http.post("/api/stream/task", json={"task": "Sort", name: value})
            asked_for = await server.http.get("/api/collaborate/stream", params={"task": "Sort", name: value})
            chat = {"model": "balanced", "messages": [{"role": "user", "content": "Sort"}]}
            completed = await server.http.post(
                "/v1/chat/completions", json={**chat, "facilitair": {name: value}}
            )
            return [posted.status_code, asked_for.status_code, completed.status_code]

    assert asyncio.run(run()) == [422, 422, 422]
    with pytest.raises(UsageError, match=name):
        check_request(Config(), "Sort", None, cast("RunOptions", {name: value}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "1"])
@pytest.mark.parametrize("name", ["max_cost", "timeout", "max_tokens"])
def test_a_limit_that_json_cannot_hold_is_refused_before_it_is_sent(name: str, value: Any) -> None:
    """As null it would be no limit at all."""
    from facilitair import RemoteClient

    with pytest.raises(UsageError, match=name):
        RemoteClient("http://127.0.0.1:1").collaborate("Sort", None, **cast("RunOptions", {name: value}))


@pytest.mark.parametrize("value", [["pipeline"], 7, {}])
def test_a_strategy_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="strategy: give the name"):
        check_request(Config(), "Sort", None, cast("RunOptions", {"strategy": value}))
