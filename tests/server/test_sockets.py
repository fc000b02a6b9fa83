"""Runs over a WebSocket, with a real client of it: the same events, resumed anywhere, and control."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from facilitair import events as ev
from facilitair.fold import fold
from tests.live import until

from .harness import BRIEF, KEY, OTHER_KEY, STEADY, Served, check, folded, known, served


@asynccontextmanager
async def connected(server: Served, query: str = "", key: str = KEY) -> AsyncIterator[ClientConnection]:
    url = server.url.replace("http", "ws", 1) + "/api/stream/ws" + query
    # Without a bound: a client whose queue is full stops reading, and would not see the answer to its closing.
    async with connect(url, additional_headers={"X-API-Key": key}, max_queue=None) as websocket:
        yield websocket


async def send(websocket: ClientConnection, **command: object) -> None:
    await websocket.send(json.dumps(command))


async def rest(websocket: ClientConnection) -> list[ev.AnyEvent]:
    """Return what comes until a run ends."""
    events = [known(await websocket.recv())]
    while not isinstance(events[-1], ev.TERMINAL):
        events.append(known(await websocket.recv()))
    return events


def test_a_run_is_started_and_watched() -> None:
    async def run() -> None:
        async with served() as server, connected(server) as websocket:
            await send(websocket, type="task", **BRIEF)
            events = await rest(websocket)
            check(events)
            assert fold(events) == folded(server.runs.directory.records()[0])
            assert fold(await server.events(events[0].stream_id)) == fold(events)

    asyncio.run(run())


@pytest.mark.parametrize("in_url", [True, False])
def test_a_connection_that_broke_is_gone_on_from(in_url: bool) -> None:
    async def run() -> None:
        async with served() as server:
            stream_id = await server.start()
            seen: list[ev.AnyEvent] = []
            while not (seen and isinstance(seen[-1], ev.TERMINAL)):
                after = seen[-1].seq if seen else 0
                query = f"?stream_id={stream_id}&after={after}" if in_url else ""
                async with connected(server, query) as websocket:
                    if not in_url:
                        await send(websocket, type="subscribe", stream_id=stream_id, after=after)
                    for _ in range(13):
                        seen.append(known(await websocket.recv()))
                        if isinstance(seen[-1], ev.TERMINAL):
                            break
            check(seen)
            assert fold(seen) == folded(server.runs.directory.records()[0])

    asyncio.run(run())


def test_several_runs_on_one_connection_keep_their_order() -> None:
    async def run() -> None:
        async with served() as server:
            ids = [await server.start() for _ in range(3)]
            events: dict[str, list[ev.AnyEvent]] = {stream_id: [] for stream_id in ids}
            async with connected(server) as websocket:
                for stream_id in ids:
                    await send(websocket, type="subscribe", stream_id=stream_id)
                while not all(seen and isinstance(seen[-1], ev.TERMINAL) for seen in events.values()):
                    event = known(await websocket.recv())
                    events[event.stream_id].append(event)
            for seen in events.values():
                check(seen)

    asyncio.run(run())


def test_cancel_reaches_the_provider_and_leaving_does_not() -> None:
    async def run() -> None:
        async with served() as server:
            stream_id = await server.start(STEADY)
            record = server.runs.directory.records()[0]
            async with connected(server, f"?stream_id={stream_id}") as websocket:
                await websocket.recv()
            await until(lambda: record.viewers == 0)
            await until(lambda: server.simulator.open_streams == 1)
            assert not record.log.ended

            async with connected(server) as websocket:
                await send(websocket, type="cancel", stream_id=stream_id, reason="enough")
                await send(websocket, type="subscribe", stream_id=stream_id)
                end = (await rest(websocket))[-1]
            assert isinstance(end, ev.TaskCancelledEvent)
            assert end.reason == "enough"
            await until(lambda: server.simulator.open_streams == 0)

    asyncio.run(run())


def test_unsubscribing_ends_the_events() -> None:
    async def run() -> None:
        async with served() as server, connected(server) as websocket:
            stream_id = await server.start(STEADY)
            record = server.runs.directory.records()[0]
            await send(websocket, type="subscribe", stream_id=stream_id)
            await websocket.recv()
            await send(websocket, type="unsubscribe", stream_id=stream_id)
            await until(lambda: record.viewers == 0)
            assert not record.log.ended

    asyncio.run(run())


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("not JSON", 400),
        ('{"type": "dance"}', 400),
        ('{"type": "subscribe"}', 400),
        ('{"type": "subscribe", "stream_id": "s", "after": -1}', 400),
        ('{"type": "subscribe", "stream_id": "nothing"}', 404),
        ('{"type": "cancel", "stream_id": "nothing"}', 404),
        ('{"type": "task"}', 422),
        ('{"type": "task", "task": " "}', 422),
        ('{"type": "task", "task": "a", "base_url": "http://localhost"}', 422),
    ],
)
def test_what_cannot_be_done_is_said_and_the_connection_stays(command: str, status: int) -> None:
    async def run() -> None:
        async with served() as server, connected(server) as websocket:
            await websocket.send(command)
            answer = json.loads(await websocket.recv())
            assert (answer["type"], answer["problem"]["status"]) == ("problem", status)
            await send(websocket, type="task", **BRIEF)
            assert known(await websocket.recv()).seq == 1

    asyncio.run(run())


def test_a_stream_is_its_owners() -> None:
    async def run() -> None:
        async with served() as server:
            stream_id = await server.start()
            async with connected(server, f"?stream_id={stream_id}", OTHER_KEY) as websocket:
                assert json.loads(await websocket.recv())["problem"]["status"] == 404
            with pytest.raises(InvalidStatus):
                async with connected(server, key="wrong"):
                    pass

    asyncio.run(run())
