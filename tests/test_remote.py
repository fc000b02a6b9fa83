"""The client of a server sees what the source sees, whatever the connection does; its mistakes are our errors."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, ParamSpec

import pytest

from facilitair import (
    BudgetExceededError,
    ConfigError,
    RemoteClient,
    RemoteRun,
    RunCancelledError,
    RunOptions,
    ServerError,
    UsageError,
    events,
    remote,
)
from facilitair.fold import fold

from .cli.server import KEY, relay, serving

# The second holds what some tools take for line ends.
TASK = "Write a rate limiter\u2028for \x85 \u2029 everybody"


P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server"), speed="1") as url:
        yield url


async def seen(run: RemoteRun) -> list[events.AnyEvent]:
    async with aclosing(aiter(run)) as source:
        return [event async for event in source if not isinstance(event, events.UnknownEvent)]


def numbers(got: list[events.AnyEvent]) -> list[int]:
    """Return the numbers of all source events that `got` stands for."""
    return [n for event in got for n in range(event.first_seq or event.seq, event.seq + 1)]


@in_loop
async def test_a_run_comes_whole_and_in_order(server: str) -> None:
    async with RemoteClient(server, KEY) as client:
        run = client.collaborate(TASK, {"language": "python"}, strategy="pipeline")
        got = await seen(run)
        result = await run.result()
    assert numbers(got) == list(range(1, got[-1].seq + 1))
    assert isinstance(got[0], events.TaskStartedEvent)
    assert (got[0].task, got[0].context, got[0].strategy) == (TASK, {"language": "python"}, "pipeline")
    assert isinstance(got[-1], events.TaskCompletedEvent)
    assert result.content == got[-1].content
    assert fold(got) == run.state


@in_loop
async def test_every_option_reaches_the_server(server: str) -> None:
    options: RunOptions = {
        "strategy": "pipeline",
        "preset": "fast",
        "models": {"*": "simulator/generic"},
        "sections": ["One", "Two"],
        "max_cost": 1.5,
        "max_tokens": 1,
        "timeout": 100.0,
        "cache": False,
        "simulate": True,
    }
    assert set(options) == set(RunOptions.__annotations__)
    async with RemoteClient(server, KEY) as client:
        run = client.collaborate("x", **options)
        with pytest.raises(BudgetExceededError, match="token"):
            await run.result()
    assert [section.title for section in run.state.sections] == ["One", "Two"]
    assert {agent.model for agent in run.state.agents} == {"generic"}


@in_loop
async def test_cut_anywhere_nothing_is_lost_or_doubled(server: str) -> None:
    random_cuts = random.Random(20261121)  # noqa: S311 (the same in each run)
    limits = itertools.chain(
        (random_cuts.randint(600, 20_000) for _ in range(25)), itertools.repeat(sys.maxsize)
    )
    async with relay(server, limits) as way, RemoteClient(way.url, KEY) as client:
        run = client.collaborate(TASK)
        got = await seen(run)
        async with RemoteClient(server, KEY) as direct:
            source = direct.attach(run.stream_id or "")
            await seen(source)
    assert way.cuts > 5
    assert numbers(got) == list(range(1, got[-1].seq + 1))
    assert run.state == source.state


@in_loop
async def test_a_start_whose_answer_was_lost_starts_one_run(server: str) -> None:
    limits = itertools.chain([20, 40], itertools.repeat(sys.maxsize))
    async with relay(server, limits) as way, RemoteClient(way.url, KEY) as client:
        run = client.collaborate("once")
        first = await run.start()
        assert way.cuts == 2
        again = await run.start()
        got = await seen(run)
    assert first == again == got[0].stream_id


@in_loop
async def test_a_viewer_can_come_late_and_leave_early(server: str) -> None:
    async with RemoteClient(server, KEY) as client:
        run = client.collaborate("leave and come back")
        async with aclosing(aiter(run)) as source:
            async for _ in source:
                break
        got = await seen(client.attach(run.stream_id or ""))
        assert isinstance(got[-1], events.TaskCompletedEvent)
        rest = await seen(client.attach(run.stream_id or "", after=got[-3].seq))
        assert numbers(rest) == list(range(got[-3].seq + 1, got[-1].seq + 1))
        assert await seen(client.attach(run.stream_id or "", after=got[-1].seq)) == []
        status = await client.status(run.stream_id or "")
    assert (status.status, status.last_seq) == ("completed", got[-1].seq)


@in_loop
async def test_a_server_that_stays_away_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_GIVE_UP_AFTER", 2)
    with serving(tmp_path, speed="1") as server:
        way = relay(server, itertools.chain([10_000], itertools.repeat(1)))
        async with way as lost, RemoteClient(lost.url, KEY) as client:
            async with RemoteClient(server, KEY) as direct:
                run = client.attach(await direct.collaborate("x").start())
            with pytest.raises(ServerError, match="the connection to"):
                await seen(run)
            assert run.state.seq > 0
            assert lost.cuts > 2


@in_loop
async def test_cancel_stops_the_run_and_tells_every_viewer(slow_server: str) -> None:
    async with RemoteClient(slow_server, KEY) as client:
        run = client.collaborate("a long task")
        other = client.attach(await run.start())
        watching = asyncio.create_task(seen(other))
        await run.cancel("enough")
        with pytest.raises(RunCancelledError, match="enough"):
            await run.result()
        last = (await watching)[-1]
        assert isinstance(last, events.TaskCancelledEvent)
        assert last.reason == "enough"
        assert other.state == run.state


@in_loop
async def test_refusals_are_the_errors_of_the_package(server: str) -> None:
    async with RemoteClient(server, KEY) as client:
        with pytest.raises(UsageError, match="nope"):
            await seen(client.attach("nope"))
        with pytest.raises(UsageError, match="nope"):
            await client.cancel("nope")
        with pytest.raises(UsageError, match="empty"):
            await client.collaborate(" ").start()
        with pytest.raises(UsageError, match="strategy"):
            await client.collaborate("x", strategy="no-such-strategy").start()
        with pytest.raises(UsageError, match="no id"):
            await client.status("..")
        with pytest.raises(UsageError):
            await client.status("../../healthz?x=1#")


@pytest.mark.parametrize("key", [None, "sk-fac-wrong-0123456789abcdef"])
@in_loop
async def test_a_wrong_key_is_named_nowhere(server: str, key: str | None) -> None:
    async with RemoteClient(server, key) as client:
        with pytest.raises(ConfigError, match="FAC_API_KEY") as caught:
            await client.collaborate("x").start()
        assert key is None or key not in f"{caught.value!r} {client!r} {vars(client)}"


def test_no_part_of_a_client_shows_its_key() -> None:
    async def shown(client: RemoteClient) -> str:
        async with client:
            return f"{client!r} {vars(client)!r} {client._http.headers!r} {client.collaborate('x')!r}"

    assert KEY not in asyncio.run(shown(RemoteClient("http://localhost", KEY)))


@in_loop
async def test_no_proxy_is_asked_for_this_machine(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with RemoteClient(server, KEY) as client:
        assert await client.collaborate("x").start()


@in_loop
async def test_nobody_there_is_said_at_once() -> None:
    async with RemoteClient("http://127.0.0.1:1", KEY) as client:
        with pytest.raises(ServerError, match=r"cannot reach http://127\.0\.0\.1:1"):
            await seen(client.collaborate("x"))
        with pytest.raises(ServerError, match="cannot reach"):
            await seen(client.attach("x"))


@in_loop
async def test_another_kind_of_server_is_recognised() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\n\r\n<html>")
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, RemoteClient(f"http://127.0.0.1:{port}", KEY) as client:
        with pytest.raises(ServerError, match="Is it a Facilitair server"):
            await client.collaborate("x").start()
        with pytest.raises(ServerError, match="no stream of events"):
            await seen(client.attach("x"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "ftp://host",
        "http://example.com",
        "http://u:p@localhost",
        "http://localhost?key=1",
        "http://[",
        "http://localhost:0",
    ],
)
def test_addresses_that_cannot_be_or_would_show_the_key_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        RemoteClient(url, KEY)


@pytest.mark.parametrize("key", ["a b", "ä", "a\r\nX: y"])
def test_a_key_that_is_no_header_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteClient("http://localhost", key)
    assert key not in str(caught.value)
