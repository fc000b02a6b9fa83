"""A stop reaches whoever is paid by the token: the provider's connections are closed, and soon.

That a viewer who leaves stops nothing, and a client of `/v1` who leaves stops his run, stands in `test_streams`,
`test_sockets` and `test_openai_api`; how a server ends in `test_serving`; milliseconds in `benches/server.py`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine

import pytest
import websockets

from facilitair import events as ev
from tests.live import until

from .harness import KEY, MUTE, STEADY, Served, served

REASON = "enough"
TOGETHER = {"task": "Sort a list", "models": "openai/steady"}
SOON_S = 1.0  # promised are 100 ms; here other tests may keep the machine busy


async def over_http(at: Served, stream_id: str) -> None:
    answer = await at.http.post(f"/api/stream/cancel/{stream_id}", json={"reason": REASON})
    assert answer.json()["status"] == "cancelled"


async def over_a_socket(at: Served, stream_id: str) -> None:
    address = at.url.replace("http://", "ws://") + "/api/stream/ws"
    async with websockets.connect(address, additional_headers={"X-API-Key": KEY}) as socket:
        await socket.send(json.dumps({"type": "cancel", "stream_id": stream_id, "reason": REASON}))
        await until(lambda: at.runs.active() == 0)


@pytest.mark.parametrize("cancel", [over_http, over_a_socket])
@pytest.mark.parametrize(
    ("body", "streams"),
    [(STEADY, 1), (MUTE, 1), (TOGETHER, 3)],
    ids=["mid-text", "before the first word", "several agents"],
)
def test_a_cancel_closes_every_connection_to_the_provider_soon(
    cancel: Callable[[Served, str], Coroutine[None, None, None]], body: dict[str, str], streams: int
) -> None:
    async def run() -> None:
        async with served() as at:
            stream_id = await at.start(body)
            (record,) = at.runs.directory.records()
            writing = 0 if body is MUTE else 20
            await until(lambda: at.simulator.open_streams >= streams and at.simulator.steps >= writing)
            opened = at.simulator.open_streams
            began = time.monotonic()
            stopping = asyncio.create_task(cancel(at, stream_id))
            await until(lambda: at.simulator.open_streams == 0)
            took = time.monotonic() - began
            await stopping
            assert at.simulator.closed_early >= opened
            assert took < SOON_S, f"the provider's connections were closed after {1000 * took:.0f} ms"

            requests, steps = at.simulator.requests, at.simulator.steps
            await asyncio.sleep(0.05)
            assert (at.simulator.requests, at.simulator.steps) == (requests, steps), "nobody asks again"
            end = (await at.events(stream_id))[-1]
            assert isinstance(end, ev.TaskCancelledEvent)
            assert end.reason == REASON
            assert record.log.ended

    asyncio.run(run())


def test_a_cancel_does_not_wait_for_the_next_attempt() -> None:
    async def run() -> None:
        async with served() as at:
            body = {**STEADY, "models": "openai/steady+429x9=10"}
            stream_id = await at.start(body)
            await until(lambda: at.simulator.requests == 1 and at.simulator.open_streams == 0)
            began = time.monotonic()
            await over_http(at, stream_id)
            took = time.monotonic() - began
            assert took < SOON_S, f"the run ended after {1000 * took:.0f} ms"
            assert at.simulator.requests == 1

    asyncio.run(run())


@pytest.mark.parametrize("body", [STEADY, MUTE], ids=["mid-text", "before the first word"])
def test_a_stop_of_the_server_closes_the_connections_to_the_provider(body: dict[str, str]) -> None:
    async def run() -> None:
        async with served() as at:
            for _ in range(5):
                await at.start(body)
            await until(lambda: at.simulator.open_streams == 5)
            at.server.stop()
            await until(lambda: at.simulator.open_streams == 0)
            assert at.simulator.closed_early == 5

    asyncio.run(run())
