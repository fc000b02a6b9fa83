"""Runs over HTTP: watched from anywhere, by anybody with the key, and never hurt by who watches."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import pairwise
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facilitair import events as ev
from facilitair.config import ServerConfig
from facilitair.fold import apply, fold
from tests.live import until

from .harness import BRIEF, KEY, MUTE, OTHER_KEY, STEADY, Served, check, folded, known, served


async def watched(
    server: Served, stream_id: str, count: int, last_event_id: str | None = None
) -> list[tuple[str, ev.AnyEvent]]:
    """Watch at most `count` events and leave."""
    seen: list[tuple[str, ev.AnyEvent]] = []
    source: AsyncGenerator[tuple[object, ev.AnyEvent]] = server.watch(stream_id, None, last_event_id)  # type: ignore[assignment]
    async with aclosing(source) as events:
        async for sse, event in events:
            seen.append((sse.id, event))  # type: ignore[attr-defined]
            if len(seen) == count:
                break
    return seen


# --- watching ----------------------------------------------------------------------------------------------------


def test_a_run_is_started_watched_and_asked_about() -> None:
    async def run() -> None:
        async with served() as server:
            stream_id = await server.start({**BRIEF, "session_id": "mine"})
            pairs = [pair async for pair in server.watch(stream_id)]
            events = [event for _, event in pairs]
            status = (await server.http.get(f"/api/stream/status/{stream_id}")).json()

        check(events)
        state = fold(events)
        assert isinstance(events[-1], ev.TaskCompletedEvent)
        assert state.status == status["status"] == "completed"
        assert status["content"] == state.content
        assert status["last_seq"] == state.seq
        for sse, event in pairs:
            assert sse.id == f"{stream_id}:{event.seq}"
            assert sse.event == event.__struct_config__.tag

    asyncio.run(run())


def test_headers_keep_proxies_from_waiting_and_storing() -> None:
    async def run() -> None:
        async with served() as server:
            stream_id = await server.start()
            answer = await server.http.get(f"/api/stream/events/{stream_id}")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "no-store" in answer.headers["cache-control"]

    asyncio.run(run())


@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_who_reconnects_again_and_again_folds_to_the_source(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311

    async def run() -> None:
        async with served(speed=4) as server:
            stream_id = await server.start({"task": "Sort a list", "models": "openai/echo"})
            seen: list[ev.AnyEvent] = []
            last: str | None = None
            while not (seen and isinstance(seen[-1], ev.TERMINAL)):
                for name, event in await watched(server, stream_id, chance.randrange(1, 40), last):
                    seen.append(event)
                    last = name
            check(seen)
            state = ev.RunState()
            for event in seen:
                state = apply(state, event)
            assert state == folded(server.runs.directory.records()[0])

    asyncio.run(run())


def test_every_point_of_a_finished_run_can_be_gone_on_from() -> None:
    async def run() -> None:
        async with served(speed=10) as server:
            stream_id = await server.start()
            whole = await server.events(stream_id)
            for after in range(0, whole[-1].seq, 7):
                rest = await server.events(stream_id, after)
                check(rest, after)
                assert fold(rest[-1:]).content == fold(whole).content

            nothing = await server.http.get(f"/api/stream/events/{stream_id}?after={whole[-1].seq}")
            assert (nothing.status_code, nothing.content) == (204, b"")

    asyncio.run(run())


def test_who_fell_behind_the_ring_gets_the_state_and_goes_on() -> None:
    async def run() -> None:
        async with served(ServerConfig(port=0, ring_events=20), speed=10) as server:
            stream_id = await server.start()
            record = server.runs.directory.records()[0]
            await until(lambda: record.log.ended)
            late = await server.events(stream_id)

        assert isinstance(late[0], ev.StateSnapshotEvent)
        check(late)
        assert fold(late) == folded(record)

    asyncio.run(run())


def test_text_with_unusual_line_ends_arrives_in_one_piece() -> None:
    async def run() -> None:
        task = "One\u2028two\u2029three\x85four\nfive\r\nsix"
        async with served() as server:
            stream_id = await server.start({**BRIEF, "task": task})
            body = (await server.http.get(f"/api/stream/events/{stream_id}")).text
        data = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
        started = known(data[0])
        assert isinstance(started, ev.TaskStartedEvent)
        assert started.task == task

    asyncio.run(run())


def test_silence_is_filled_with_comments() -> None:
    async def run() -> None:
        async with served(ServerConfig(port=0, heartbeat_s=0.05)) as server:
            stream_id = await server.start(MUTE)
            async with server.http.stream("GET", f"/api/stream/events/{stream_id}") as answer:
                async for line in answer.aiter_lines():
                    if line == ": waiting":
                        break

    asyncio.run(run())


# --- viewers and runs --------------------------------------------------------------------------------------------


def test_a_run_goes_on_when_its_viewers_leave() -> None:
    async def run() -> None:
        async with served() as server:
            stream_id = await server.start(STEADY)
            record = server.runs.directory.records()[0]
            await watched(server, stream_id, 20)
            await until(lambda: record.viewers == 0)
            left_at = record.log.last_seq
            await until(lambda: record.log.last_seq > left_at + 20)
            assert server.simulator.open_streams == 1

    asyncio.run(run())


def test_a_viewer_that_reads_nothing_slows_nobody_and_costs_nothing() -> None:
    async def run() -> None:
        settings = ServerConfig(port=0, ring_events=200, ring_bytes=100_000)
        async with served(settings, speed=20, send_buffer=8192) as server:
            stream_id = await server.start(STEADY)
            record = server.runs.directory.records()[0]
            address = urlsplit(server.url)
            request = (
                f"GET /api/stream/events/{stream_id} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\r\n"
            )
            with socket.socket() as stalled:
                stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                stalled.connect((address.hostname, address.port))
                stalled.sendall(request.encode())
                await until(lambda: record.viewers == 1)
                reader = await server.events(stream_id)
                assert record.viewers == 1, "the stalled one is still there"
                assert record.log.held.events <= 200
                assert record.log.held.bytes <= 100_000 or record.log.held.events == 1
                assert fold(reader) == folded(record)
            await until(lambda: record.viewers == 0)

    asyncio.run(run())


@pytest.mark.parametrize("body", [STEADY, MUTE], ids=["mid-text", "before the first word"])
def test_cancel_closes_the_connection_to_the_provider(body: dict[str, str]) -> None:
    async def run() -> None:
        async with served() as server:
            stream_id = await server.start(body)
            await until(lambda: server.simulator.open_streams == 1)
            answer = await server.http.post(f"/api/stream/cancel/{stream_id}", json={"reason": "enough"})
            await until(lambda: server.simulator.open_streams == 0)
            events = await server.events(stream_id)
            again = await server.http.post(f"/api/stream/cancel/{stream_id}")

        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert isinstance(events[-1], ev.TaskCancelledEvent)
        assert events[-1].reason == "enough"
        check(events)
        assert again.json()["error"] == "enough", "the first end stands"

    asyncio.run(run())


def test_without_stream_the_answer_is_the_end() -> None:
    async def run() -> None:
        async with served() as server:
            answer = await server.http.post("/api/stream/task", json={**BRIEF, "stream": False})
        assert answer.status_code == 200
        assert answer.json()["status"] == "completed"
        assert answer.json()["content"]

    asyncio.run(run())


# --- starting ----------------------------------------------------------------------------------------------------


def test_an_idempotency_key_starts_one_run() -> None:
    async def run() -> None:
        async with served() as server:
            key = {"Idempotency-Key": "once"}
            at_once = await asyncio.gather(*(server.start(BRIEF, **key) for _ in range(5)))
            later = await server.start(BRIEF, **key)
            other_task = await server.http.post(
                "/api/stream/task", json={**BRIEF, "task": "Another"}, headers=key
            )
            other_owner = await server.start(BRIEF, **key, **{"X-API-Key": OTHER_KEY})

            assert {*at_once, later} == {later}
            assert other_owner != later
            assert other_task.status_code == 409
            assert len(server.runs.directory.records()) == 2

    asyncio.run(run())


def test_a_key_whose_run_could_not_begin_is_free_again() -> None:
    async def run() -> None:
        async with served() as server:
            key = {"Idempotency-Key": "once"}
            wrong = {**BRIEF, "models": "nobody/none"}
            first = await server.http.post("/api/stream/task", json=wrong, headers=key)
            assert first.status_code == 422
            await server.start(BRIEF, **key)

    asyncio.run(run())


def test_one_call_starts_one_run_however_often_it_reconnects() -> None:
    async def run() -> None:
        async with served() as server:
            url = "/api/collaborate/stream"
            params = {"task": "Sort a list", "models": "openai/steady", "strategy": "alone"}
            seen: list[ev.AnyEvent] = []
            headers: dict[str, str] = {}
            for _ in range(4):
                async with server.http.stream("GET", url, params=params, headers=headers) as answer:
                    lines = answer.aiter_lines()
                    async for line in lines:
                        if line.startswith("data: "):
                            seen.append(known(line[6:]))
                            headers["Last-Event-ID"] = f"{seen[-1].stream_id}:{seen[-1].seq}"
                            if len(seen) % 15 == 0:
                                break
            assert len(server.runs.directory.records()) == 1
            assert [event.seq for event in seen][:5] == [1, 2, 3, 4, 5]
            assert all((b.first_seq or b.seq) == a.seq + 1 for a, b in pairwise(seen))
            record = server.runs.directory.records()[0]
            await server.runs.directory.cancel(record.stream_id, record.owner, "enough")
            await until(lambda: server.runs.active() == 0)
            record = server.runs.directory.records()[0]
            headers["Last-Event-ID"] = f"{record.stream_id}:{record.log.last_seq}"
            over = await server.http.get(url, params=params, headers=headers)
            assert over.status_code == 204
            assert len(server.runs.directory.records()) == 1

    asyncio.run(run())


def test_other_names_of_fields_are_taken() -> None:
    async def run() -> None:
        async with served() as server:
            body = {**BRIEF, "preferred_language": "Rust", "session_id": "mine"}
            answer = (await server.http.post("/api/stream/task", json=body)).json()
            assert folded(server.runs.directory.records()[0]).context == {"language": "Rust"}
        assert answer["session_id"] == "mine"
        assert answer["estimated_time"] == answer["estimated_time_s"]

    asyncio.run(run())


# --- refusals ----------------------------------------------------------------------------------------------------


def test_what_ended_long_ago_is_gone() -> None:
    async def run() -> None:
        async with served(ServerConfig(port=0, keep_s=0.05)) as server:
            stream_id = await server.start()
            await until(lambda: not server.runs.directory.records() and not server.runs.active())
            for path in (f"/api/stream/events/{stream_id}", f"/api/stream/status/{stream_id}"):
                answer = await server.http.get(path)
                assert answer.status_code == 410
                assert answer.headers["content-type"] == "application/problem+json"
                other = await server.http.get(path, headers={"X-API-Key": OTHER_KEY})
                assert other.status_code == 404

    asyncio.run(run())


def test_a_stream_is_its_owners() -> None:
    async def run() -> None:
        async with served() as server:
            stream_id = await server.start()
            other = {"X-API-Key": OTHER_KEY}
            answers = [
                await server.http.get(f"/api/stream/events/{stream_id}", headers=other),
                await server.http.get(f"/api/stream/status/{stream_id}", headers=other),
                await server.http.post(f"/api/stream/cancel/{stream_id}", headers=other),
                await server.http.get("/api/stream/events/nothing"),
            ]
            assert [answer.status_code for answer in answers] == [404] * 4
            for problem in (answer.json() for answer in answers):
                assert problem["type"] == "urn:facilitair:not-found"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"task": "   "}, 422),
        ({"task": "a", "models": "nobody/none"}, 422),
        ({"task": "a", "strategy": "none"}, 422),
        ({"task": "a", "max_cost": -1}, 422),
        ({"task": "a", "base_url": "http://localhost"}, 422),
        ({"task": "a" * 300_000}, 413),
        ({"task": "a" * 3_000_000}, 413),
    ],
)
def test_a_task_that_cannot_be_is_a_problem(body: dict[str, object], status: int) -> None:
    async def run() -> httpx.Response:
        async with served() as server:
            answer = await server.http.post("/api/stream/task", json=body)
            assert server.runs.active() == 0
            return answer

    answer = asyncio.run(run())
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


def test_a_body_that_does_not_say_its_length_is_cut_off_too() -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b'{"task": "'
        for _ in range(100):
            yield b"a" * 10_000

    async def run() -> None:
        async with served(ServerConfig(port=0, max_body_bytes=50_000)) as server:
            answer = await server.http.post(
                "/api/stream/task", content=body(), headers={"Content-Type": "application/json"}
            )
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:facilitair:too-large")

    asyncio.run(run())


@pytest.mark.parametrize("wrong", ["nonsense", "other:5", ":-1", "x:" + "9" * 40])
def test_a_position_of_another_stream_is_refused(wrong: str) -> None:
    async def run() -> int:
        async with served() as server:
            stream_id = await server.start()
            path = f"/api/stream/events/{stream_id}"
            answer = await server.http.get(path, headers={"Last-Event-ID": wrong})
            return answer.status_code

    assert asyncio.run(run()) == 400


def test_a_full_server_says_when_to_come_back() -> None:
    async def run() -> None:
        async with served(ServerConfig(port=0, max_runs=1)) as server:
            stream_id = await server.start(MUTE)
            full = await server.http.post("/api/stream/task", json=BRIEF)
            assert full.status_code == 429
            assert int(full.headers["Retry-After"]) > 0
            await server.http.post(f"/api/stream/cancel/{stream_id}")
            await until(lambda: server.runs.active() == 0)
            await server.start(BRIEF)

    asyncio.run(run())


def test_health_needs_no_key_and_the_api_is_described() -> None:
    async def run() -> None:
        async with served() as server, httpx.AsyncClient(base_url=server.url) as anybody:
            assert (await anybody.get("/healthz")).json()["status"] == "ok"
            described = json.loads((await anybody.get("/openapi.json")).content)
            for path in ("/api/stream/task", "/api/stream/events/{stream_id}", "/v1/chat/completions"):
                assert path in described["paths"]
            assert (await anybody.get("/api/stream/status/x")).status_code == 401

    asyncio.run(run())
