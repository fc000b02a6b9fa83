"""Mistakes of ours reach the operator's error reporter; refusals do not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
import websockets
from fastapi import FastAPI, WebSocket
from starlette.routing import WebSocketRoute

from facilitair import Client, Config
from facilitair.clock import MonotonicClock
from facilitair.config import ServerConfig
from facilitair.errors import ConfigError, FacilitairError
from facilitair.server.directory import MemoryDirectory
from facilitair.server.reporting import Reporter, hook_from
from facilitair.server.runs import Runs
from facilitair.server.schemas import Call
from facilitair.transport import Channel
from tests.live import until

from .harness import BRIEF, folded, served

Told = list[tuple[BaseException, Mapping[str, str]]]


class Broken:
    """A channel with a mistake in it."""

    def open(self, request: object) -> NoReturn:
        raise ZeroDivisionError("a mistake")

    def wake(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class BrokenTransport:
    clock = MonotonicClock()

    def channel(self) -> Channel:
        return cast("Channel", Broken())


def test_a_run_that_a_mistake_stopped_is_reported() -> None:
    told: Told = []

    async def run() -> str:
        settings = ServerConfig(port=0)
        reporter = Reporter(lambda error, where: told.append((error, where)))
        async with (
            Client(Config(), env={}, transport=BrokenTransport()) as client,
            Runs(client, settings, MemoryDirectory(settings), reporter=reporter) as runs,
        ):
            record = await runs.start(Call("Sort a list", None, {}), "somebody")
            await until(lambda: runs.active() == 0)
            assert folded(record).error_code == "internal"
            return record.stream_id

    stream_id = asyncio.run(run())
    [(error, where)] = told
    assert isinstance(error, ZeroDivisionError)
    assert where == {"kind": "run", "stream_id": stream_id}


def test_a_request_that_a_mistake_stopped_is_reported_and_its_refusals_are_not() -> None:
    told: Told = []

    async def run() -> int:
        async with served(on_error=lambda error, where: told.append((error, where))) as server:
            app = cast("FastAPI", server.server.config.app)

            @app.get("/boom")
            async def boom() -> None:
                raise ZeroDivisionError("a mistake")

            for path in ("/nowhere", "/api/stream/status/none"):
                assert (await server.http.get(path)).status_code == 404
            refused = await server.http.post("/api/stream/task", json={**BRIEF, "strategy": "none"})
            assert refused.status_code == 422
            return (await server.http.get("/boom?ticket=abc")).status_code

    assert asyncio.run(run()) == 500
    [(error, where)] = told
    assert isinstance(error, ZeroDivisionError)
    assert where == {"kind": "request", "path": "/boom"}


def test_a_socket_that_a_mistake_broke_is_reported() -> None:
    told: Told = []

    async def boom(websocket: WebSocket) -> None:
        await websocket.accept()
        raise ZeroDivisionError("a mistake")

    async def run() -> None:
        async with served(on_error=lambda error, where: told.append((error, where))) as server:
            app = cast("FastAPI", server.server.config.app)
            app.router.routes.append(WebSocketRoute("/boom", boom))
            with pytest.raises(websockets.ConnectionClosedError):
                async with websockets.connect(f"{server.url.replace('http', 'ws')}/boom") as socket:
                    await socket.recv()

    asyncio.run(run())
    [(error, where)] = told
    assert isinstance(error, ZeroDivisionError)
    assert where == {"kind": "request", "path": "/boom"}


def test_a_mistake_that_is_answered_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> int:
        async with served() as server:
            app = cast("FastAPI", server.server.config.app)

            @app.get("/boom")
            async def boom() -> None:
                raise FacilitairError("a mistake of ours")

            return (await server.http.get("/boom")).status_code

    assert asyncio.run(run()) == 500
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [str(error) for error in errors] == ["a mistake of ours"]


def test_a_hook_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def hook(error: BaseException, where: Mapping[str, str]) -> None:
        raise OSError("the reporter is away")

    Reporter(hook).failed_run(ValueError("a mistake"), "3f2a")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["a mistake in Facilitair stopped a run", "the error hook failed"]


@pytest.mark.parametrize(
    "name", ["nothing", "no_such_module:report", "json:no_such_name", "sys:path", ":dumps"]
)
def test_a_hook_that_cannot_be_loaded_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"FACILITAIR_ERROR_HOOK is '{name}'"):
        hook_from({"FACILITAIR_ERROR_HOOK": name})


@pytest.mark.parametrize("source", ["raise ValueError('bad dsn')", "def (", "async def report(e, w): pass"])
def test_a_hook_that_breaks_when_loaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"hook_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    with pytest.raises(ConfigError, match=f"FACILITAIR_ERROR_HOOK is '{name}:report'"):
        hook_from({"FACILITAIR_ERROR_HOOK": f"{name}:report"})


def test_a_hook_is_a_function_of_a_module() -> None:
    import json

    found: Any = hook_from({"FACILITAIR_ERROR_HOOK": "json:dumps"})
    assert found is json.dumps
    assert hook_from({}) is None
