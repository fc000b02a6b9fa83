"""Many streams, some viewers that stall and some that reconnect: `python -m tests.server.soak SECONDS`.

100 streams of 5 agents, 20 tokens a second each, for SECONDS. Provider, server and viewers are three processes. A tenth
of the viewers reads nothing, a tenth leaves at random and comes back. For every viewer that reads, what it folded must
equal what the source folded, with nothing lost, doubled or out of order. Memory and CPU of the server are reported.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from facilitair import Client, Config
from facilitair import events as ev
from facilitair.config import AgentConfig, ModelChoice, ServerConfig, StrategyConfig
from facilitair.fold import apply
from facilitair.server.serving import serve as serve_forever
from facilitair.server.settings import server_settings
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.server import Simulator

AGENTS: Final = 5
TOKENS_PER_S: Final = 20.0
KEY: Final = "sk-fac-for-the-soak-0123456789"
STALLED, RECONNECTING = "stalled", "reconnecting"
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICK: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class Viewer:
    """Somebody who watches one stream."""

    stream_id: str
    kind: str
    state: ev.RunState = field(default_factory=ev.RunState)
    deliveries: int = 0
    connections: int = 0
    mistakes: list[str] = field(default_factory=list)

    def take(self, event: ev.AnyEvent) -> None:
        """Fold one delivery, and note when something before it is missing or came twice."""
        expected = self.state.seq + 1
        if not isinstance(event, ev.StateSnapshotEvent) and (event.first_seq or event.seq) != expected:
            self.mistakes.append(f"{event.first_seq or event.seq} came where {expected} was expected")
        self.state = apply(self.state, event)
        self.deliveries += 1

    @property
    def done(self) -> bool:
        return self.state.status != "running"


@dataclass
class Report:
    """What a soak found."""

    streams: int
    seconds: float
    took_s: float
    tokens: int
    deliveries: int
    reconnections: int
    cpu_s: float
    rss_mb: list[float]
    wrong: list[str]

    @property
    def growth_mb(self) -> float:
        """How much memory the server gained from the second quarter of the time to the last."""
        quarter = max(1, len(self.rss_mb) // 4)
        return statistics.median(self.rss_mb[-quarter:]) - statistics.median(
            self.rss_mb[quarter : 2 * quarter] or self.rss_mb
        )

    def __str__(self) -> str:
        per_delivery = 1e6 * self.cpu_s / max(1, self.deliveries)
        lines = [
            f"{self.streams} streams x {AGENTS} agents, {self.took_s:.1f} s (alone {self.seconds:.0f} s)",
            f"tokens a second together   {self.tokens / self.took_s:,.0f}",
            f"deliveries                 {self.deliveries:,} ({self.reconnections:,} reconnections)",
            f"server CPU per delivery    {per_delivery:.0f} us ({self.cpu_s / self.took_s:.0%} of one core)",
            f"server memory              {max(self.rss_mb):.0f} MB at most",
            f"its growth                 {self.growth_mb:+.1f} MB from the second quarter to the last",
        ]
        return "\n".join([*lines, *(self.wrong or ["every viewer saw exactly what happened"])])


# --- the two other processes -------------------------------------------------------------------------------------


async def provide(seconds: float) -> None:
    words = " ".join(f"Sentence {number} goes on and ends." for number in range(int(seconds * TOKENS_PER_S)))
    text = " ".join(words.split(" ")[: int(seconds * TOKENS_PER_S)]) + "."
    scripts = {
        "steady": Script(text=text, ttft_s=0.2, tokens_per_s=TOKENS_PER_S, jitter=0.5),
        "brief": Script(text="That is all.", ttft_s=0.05, tokens_per_s=100),
    }
    async with Simulator(Brain(scripts)) as simulator:
        print(simulator.base_url, flush=True)  # noqa: T201
        await asyncio.Event().wait()


async def serve(streams: int) -> None:
    writers = tuple(AgentConfig(name=f"writer-{n}", role="coder") for n in range(AGENTS - 1))
    synthesizer = AgentConfig(name="synthesizer", role="synthesizer", model="openai/brief")
    fifth = AgentConfig(name=f"writer-{AGENTS - 1}", role="reviewer")
    five = StrategyConfig(agents=(*writers, fifth, synthesizer), synthesizer="synthesizer", synthesis="end")
    models: dict[str, ModelChoice] = {"default": "openai/steady"}
    table = ServerConfig(
        port=0, max_runs=streams, max_runs_per_key=streams, requests_per_minute=None, ring_events=256
    )
    config = Config(default_strategy="five", strategy={"five": five}, models=models, server=table)
    settings = server_settings(config, {"FACILITAIR_SERVER_KEY": KEY})
    async with Client(config) as client:
        await serve_forever(settings, client, lambda url: print(url, flush=True))  # noqa: T201


@contextmanager
def process(*arguments: str, **env: str) -> Iterator[tuple[int, str]]:
    """Run this file with `arguments`; give its process id and the line that it prints."""
    command = [sys.executable, "-m", "tests.server.soak", *arguments]
    home = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **env}, cwd=home) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline().decode().strip()
            assert line, f"{arguments[0]} did not start"
            yield child.pid, line
        finally:
            child.terminate()
            child.wait(20)


# --- viewers -----------------------------------------------------------------------------------------------------


def _request(method: str, path: str, body: bytes = b"", last: str = "") -> bytes:
    # HTTP/1.0, so that the answer comes without chunks and ends with the connection.
    head = [
        f"{method} {path} HTTP/1.0",
        "Host: localhost",
        f"X-API-Key: {KEY}",
        f"Content-Length: {len(body)}",
    ]
    head += ["Content-Type: application/json"] if body else []
    head += [f"Last-Event-ID: {last}"] if last else []
    return "\r\n".join([*head, "", ""]).encode() + body


async def start(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request("POST", "/api/stream/task", json.dumps({"task": "Sort a list"}).encode()))
    answer = await reader.read()
    writer.close()
    stream_id: str = json.loads(answer.partition(b"\r\n\r\n")[2])["stream_id"]
    return stream_id


async def watch(port: int, viewer: Viewer, chance: random.Random) -> None:
    """Watch to the end, with breaks for one who reconnects."""
    while not viewer.done:
        viewer.connections += 1
        patience = chance.uniform(0.3, 2) if viewer.kind == RECONNECTING else None
        try:
            async with asyncio.timeout(patience):
                await _watch_once(port, viewer)
        except TimeoutError:
            await asyncio.sleep(chance.uniform(0, 0.5))


async def _watch_once(port: int, viewer: Viewer) -> None:
    last = f"{viewer.stream_id}:{viewer.state.seq}" if viewer.state.seq else ""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        writer.write(_request("GET", f"/api/stream/events/{viewer.stream_id}", last=last))
        await reader.readuntil(b"\r\n\r\n")
        while not viewer.done:
            frame = await reader.readuntil(b"\n\n")
            data = frame.partition(b"data: ")[2]
            if data:
                event = ev.decode(data)
                assert not isinstance(event, ev.UnknownEvent)
                viewer.take(event)
    finally:
        writer.transport.abort()


@contextmanager
def stalled(port: int, streams: Sequence[str]) -> Iterator[None]:
    """Ask for streams and read nothing."""
    sockets = []
    try:
        for stream_id in streams:
            silent = socket.socket()
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.connect(("127.0.0.1", port))
            silent.sendall(_request("GET", f"/api/stream/events/{stream_id}"))
            sockets.append(silent)
        yield
    finally:
        for silent in sockets:
            silent.close()


# --- the soak ----------------------------------------------------------------------------------------------------


async def soak(seconds: float, streams: int = 100, seed: int = 1) -> Report:
    """Let the viewers watch for `seconds`, and say what came of it."""
    chance = random.Random(seed)  # noqa: S311
    with (
        process("provide", str(seconds)) as (_, provider),
        process("serve", str(streams), OPENAI_BASE_URL=provider, OPENAI_API_KEY="sk-none") as (pid, url),
    ):
        port = int(url.rpartition(":")[2])
        ids = [await start(port) for _ in range(streams)]
        tenth = max(1, streams // 10)
        viewers = [Viewer(name, RECONNECTING if n < tenth else "steady") for n, name in enumerate(ids)]
        memory: list[float] = []
        began, cpu = time.monotonic(), _cpu_s(pid)
        sampling = asyncio.create_task(_sample(pid, memory))
        with stalled(port, ids[-tenth:]):
            await asyncio.gather(*(watch(port, viewer, chance) for viewer in viewers))
            took, used = time.monotonic() - began, _cpu_s(pid) - cpu
        sampling.cancel()
        wrong = [f"{v.kind} viewer of {v.stream_id}: {line}" for v in viewers for line in v.mistakes]
        for viewer in viewers:
            source = Viewer(viewer.stream_id, "source")
            await watch(port, source, chance)
            if source.state != viewer.state:
                wrong.append(f"{viewer.kind} viewer of {viewer.stream_id}: another state than the source's")
            if source.state.status != "completed" or source.state.degraded:
                wrong.append(f"{viewer.stream_id} ended {source.state.status} {source.state.degraded}")
    return Report(
        streams=streams,
        seconds=seconds,
        took_s=took,
        tokens=int(streams * AGENTS * seconds * TOKENS_PER_S),
        deliveries=sum(viewer.deliveries for viewer in viewers),
        reconnections=sum(viewer.connections - 1 for viewer in viewers),
        cpu_s=used,
        rss_mb=memory,
        wrong=wrong,
    )


async def _sample(pid: int, memory: list[float]) -> None:
    while True:
        memory.append(_rss_mb(pid))
        await asyncio.sleep(0.5)


def _rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["provide", seconds]:
            asyncio.run(provide(float(seconds)))
        case ["serve", streams]:
            asyncio.run(serve(int(streams)))
        case [seconds] | [seconds, _]:
            report = asyncio.run(soak(float(seconds), int(arguments[1]) if arguments[1:] else 100))
            print(report)  # noqa: T201
            return 1 if report.wrong else 0
        case _:
            print("usage: python -m tests.server.soak SECONDS [STREAMS]", file=sys.stderr)  # noqa: T201
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
