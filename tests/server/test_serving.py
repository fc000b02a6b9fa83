"""The server as a process: it stops in time, and tells everybody who watches."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from httpx_sse import aconnect_sse

from facilitair import events as ev
from tests.live import LIVENESS_S, until

from .harness import known
from .soak import KEY, process, stalled
from .soak import soak as soak_for

STREAMS = 50
STALLED_STREAMS = STREAMS // 10
STOP_S = 5.0
NOTES = "A line of notes. " * 60_000
# The server of the soak, whose kernel takes little in place of a client that does not read.
WITH_SMALL_BUFFERS = """
import socket, sys
from facilitair.server import serving
from tests.server import soak

def listen(settings, real=serving.listen):
    listening = real(settings)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return listening

serving.listen = listen
soak.main(["serve", sys.argv[1]])
"""


def test_a_stop_tells_every_viewer_that_reads_and_takes_less_than_five_seconds() -> None:
    async def run(url: str, pid: int) -> tuple[list[list[ev.AnyEvent]], float]:
        headers = {"X-API-Key": KEY}
        limits = httpx.Limits(max_connections=None)
        async with (
            asyncio.timeout(2 * LIVENESS_S),
            httpx.AsyncClient(base_url=url, headers=headers, timeout=LIVENESS_S, limits=limits) as http,
        ):
            usual: dict[str, object] = {"task": "Sort a list"}
            huge = {**usual, "context": {"notes": NOTES}}
            bodies = [huge] * STALLED_STREAMS + [usual] * (STREAMS - STALLED_STREAMS)
            started = [await http.post("/api/stream/task", json=body) for body in bodies]
            ids = [answer.json()["stream_id"] for answer in started]
            watching = [asyncio.create_task(watch(http, stream_id)) for stream_id in ids]
            # A tenth is watched by somebody too who reads nothing, until the server cannot write any more.
            port = int(url.rpartition(":")[2])
            with stalled(port, ids[:STALLED_STREAMS]):
                while not (await http.get(f"/api/stream/status/{ids[-1]}")).json()["viewers"]:
                    pass
                await until(lambda: _stuck(port) >= STALLED_STREAMS)
                await asyncio.sleep(0.2)
                assert _stuck(port) >= STALLED_STREAMS, "and so it stays"
                stopped = time.monotonic()
                os.kill(pid, signal.SIGTERM)
                seen = await asyncio.gather(*watching)
                await until(lambda: _has_ended(pid))
                return seen, time.monotonic() - stopped

    async def watch(http: httpx.AsyncClient, stream_id: str) -> list[ev.AnyEvent]:
        async with aconnect_sse(http, "GET", f"/api/stream/events/{stream_id}") as source:
            return [known(sse.data) async for sse in source.aiter_sse()]

    with (
        process("provide", "60", "20") as (_, provider),
        small_buffers(str(STREAMS), OPENAI_BASE_URL=provider, OPENAI_API_KEY="sk-none") as (pid, url),
    ):
        seen, took = asyncio.run(run(url, pid))

    for events in seen:
        assert isinstance(events[-1], ev.TaskCancelledEvent)
        assert events[-1].reason == "the server is shutting down"
        assert any(
            isinstance(e, ev.SystemMessageEvent) and "shutting down" in e.message for e in events[-40:]
        )
        assert len([e for e in events if isinstance(e, ev.TERMINAL)]) == 1
    assert took < STOP_S


@contextmanager
def small_buffers(*arguments: str, **env: str) -> Iterator[tuple[int, str]]:
    """Run that server; give its process id and its URL."""
    command = [sys.executable, "-c", WITH_SMALL_BUFFERS, *arguments]
    home = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **env}, cwd=home) as child:
        try:
            assert child.stdout is not None
            yield child.pid, child.stdout.readline().decode().strip()
        finally:
            child.kill()


def _stuck(port: int) -> int:
    """Return to how many clients the kernel holds something for, but not all that the server has for them."""
    held = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, _, queues, *_ = line.split()
        if int(local.partition(":")[2], 16) == port:
            held.append(int(queues.partition(":")[0], 16))
    return sum(0 < count < len(NOTES) // 2 for count in held)


def _has_ended(pid: int) -> bool:
    # Its parent, this process, has not asked for it yet.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_many_streams_with_viewers_that_stall_and_reconnect() -> None:
    report = asyncio.run(asyncio.wait_for(soak_for(10, streams=30, rate=2000, run_s=4), 55))
    assert report.wrong == []
    assert report.reconnections > 0
