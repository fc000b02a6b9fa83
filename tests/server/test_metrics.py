"""What is counted agrees with what happened."""

from __future__ import annotations

import asyncio

import httpx

from facilitair.fold import fold
from tests.live import until

from .harness import MUTE, STEADY, Served, served


async def scraped(server: Served) -> dict[str, float]:
    text = (await server.http.get("/metrics")).text
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_runs_tokens_and_first_tokens_are_counted() -> None:
    async def run() -> None:
        async with served() as server:
            state = fold(await server.events(await server.start()))
            cancelled = await server.start(MUTE)
            await server.http.post(f"/api/stream/cancel/{cancelled}")
            await server.http.post("/api/stream/task", json={"task": "a", "models": "nobody/none"})
            await until(lambda: server.runs.active() == 0)
            found = await scraped(server)
            events = sum(record.log.last_seq for record in server.runs.directory.records())

        assert found['facilitair_runs_total{status="completed"}'] == 1
        assert found['facilitair_runs_total{status="cancelled"}'] == 1
        assert found['facilitair_runs_total{status="failed"}'] == 0
        assert found["facilitair_runs_not_begun_total"] == 1
        assert found["facilitair_time_to_first_token_seconds_count"] == 1, "the mute one never spoke"
        assert found["facilitair_events_total"] == events
        assert state.usage is not None
        assert found['facilitair_tokens_total{direction="output"}'] >= (state.usage.output_tokens or 0) > 0

    asyncio.run(run())


def test_gauges_show_what_is_going_on() -> None:
    async def run() -> None:
        async with served() as server:
            stream_id = await server.start(STEADY)
            record = server.runs.directory.records()[0]
            async with server.http.stream("GET", f"/api/stream/events/{stream_id}"):
                await until(lambda: record.viewers == 1)
                found = await scraped(server)
                assert found["facilitair_runs_active"] == found["facilitair_viewers"] == 1
                assert found["facilitair_log_events"] > 0
                assert found["facilitair_log_bytes"] > 0
            await until(lambda: record.viewers == 0)
            assert (await scraped(server))["facilitair_viewers"] == 0

    asyncio.run(run())


def test_metrics_need_a_key() -> None:
    async def run() -> int:
        async with served() as server, httpx.AsyncClient(base_url=server.url) as anybody:
            return (await anybody.get("/metrics")).status_code

    assert asyncio.run(run()) == 401
