"""A server on loopback in the test's own loop, a provider behind it whose connections can be counted, and clients."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse

from facilitair import Client, Config
from facilitair import events as ev
from facilitair.config import AgentConfig, PriceConfig, ServerConfig, StrategyConfig
from facilitair.server.directory import RunRecord
from facilitair.server.reporting import ErrorHook
from facilitair.server.runs import Runs
from facilitair.server.serving import Server, listen, make_server
from facilitair.server.settings import server_settings
from facilitair.simulator.brain import Brain
from facilitair.simulator.server import Simulator
from tests.live import KEY as PROVIDER_KEY
from tests.live import LIVENESS_S, brain

KEY = "sk-fac-for-tests-0123456789"
OTHER_KEY = "sk-fac-of-somebody-else-0123"
ALONE = StrategyConfig(
    agents=(AgentConfig(name="writer", role="coder"), AgentConfig(name="synthesizer", role="synthesizer")),
    synthesizer="synthesizer",
    synthesis="end",
)
BRIEF = {"task": "Sort a list", "models": "openai/brief"}
STEADY = {"task": "Sort a list", "models": "openai/steady", "strategy": "alone"}
MUTE = {"task": "Sort a list", "models": "openai/mute", "strategy": "alone"}


@dataclass
class Served:
    """A running server and what stands around it."""

    url: str
    simulator: Simulator
    server: Server
    runs: Runs
    http: httpx.AsyncClient

    async def start(self, body: Mapping[str, Any] = BRIEF, **headers: str) -> str:
        """Start a run and return its stream's id."""
        answer = await self.http.post("/api/stream/task", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        stream_id: str = answer.json()["stream_id"]
        return stream_id

    async def watch(
        self, stream_id: str, after: int | None = None, last_event_id: str | None = None
    ) -> AsyncIterator[tuple[ServerSentEvent, ev.AnyEvent]]:
        """Yield the events of a stream as a browser gets them."""
        params = {} if after is None else {"after": str(after)}
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        path = f"/api/stream/events/{stream_id}"
        async with aconnect_sse(self.http, "GET", path, params=params, headers=headers) as source:
            async for sse in source.aiter_sse():
                yield sse, known(sse.data)

    async def events(self, stream_id: str, after: int | None = None) -> list[ev.AnyEvent]:
        """Return all events of a stream behind `after`."""
        return [event async for _, event in self.watch(stream_id, after)]


def folded(record: RunRecord) -> ev.RunState:
    """Return the run as its log has it; in memory that never waits."""
    try:
        record.log.state().send(None)
    except StopIteration as returned:
        state: ev.RunState = returned.value
        return state
    raise AssertionError("the log waits")


async def ran(*command: str, **env: str) -> str:
    """Run somebody else's program to its end, with nothing in its environment but `env` and the path; return what it
    printed. It must succeed and complain of nothing."""
    pipe = asyncio.subprocess.PIPE
    surroundings = {"PATH": os.environ["PATH"], **env}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=surroundings
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, err.decode()) == (0, "")
    return out.decode()


def known(data: str | bytes) -> ev.AnyEvent:
    event = ev.decode(data)
    assert not isinstance(event, ev.UnknownEvent)
    return event


@asynccontextmanager
async def served(
    settings: ServerConfig | None = None,
    script: Brain | None = None,
    speed: float = 1.0,
    prices: Mapping[str, PriceConfig] | None = None,
    send_buffer: int | None = None,
    on_error: ErrorHook | None = None,
) -> AsyncIterator[Served]:
    """Run a server whose provider is a simulator that it takes for OpenAI; nothing may hang."""
    config = Config(
        strategy={"alone": ALONE}, server=settings or ServerConfig(port=0), pricing=dict(prices or {})
    )
    env = {"FACILITAIR_SERVER_KEYS": f"{KEY},{OTHER_KEY}"}
    async with asyncio.timeout(LIVENESS_S), Simulator(script or brain(), speed=speed) as simulator:
        provider = {"OPENAI_BASE_URL": simulator.base_url, "OPENAI_API_KEY": PROVIDER_KEY}
        async with Client(config, env=provider) as client:
            told = server_settings(config, env, port=0)
            with listen(told) as listening:
                if send_buffer is not None:  # so that the kernel does not read in place of a stalled viewer
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
                server = make_server(told, client, on_error)
                serving = asyncio.create_task(server.serve(sockets=[listening]))
                while not server.started:  # noqa: ASYNC110 (uvicorn has a flag only)
                    await asyncio.sleep(0.001)
                url = f"http://127.0.0.1:{listening.getsockname()[1]}"
                headers = {"X-API-Key": KEY}
                try:
                    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=LIVENESS_S) as http:
                        yield Served(url, simulator, server, server.runs, http)
                finally:
                    server.stop()
                    await serving


def check(events: list[ev.AnyEvent], after: int = 0) -> None:
    """Nothing is lost, doubled or out of order, and exactly one terminal event ends it."""
    for event in events:
        if not isinstance(event, ev.StateSnapshotEvent):
            assert (event.first_seq or event.seq) == after + 1
        assert event.seq > after
        after = event.seq
    assert [e for e in events if isinstance(e, ev.TERMINAL)] == events[-1:]
