"""Many streams, some viewers that stall and some that reconnect: `python -m tests.server.soak SECONDS`.

100 runs at a time of 5 agents each, 10,000 tokens a second together; a run that has ended is followed by the next one.
Provider, server and viewers are three processes. A tenth of the runs also has a viewer that reads nothing, a tenth one
that leaves at random and comes back. For every viewer that reads, what it folded must equal what the source folded,
with nothing lost, doubled or out of order. When as many runs begin as end, memory and pace are measured.

`python -m tests.server.soak --limit` raises the rate until the agents are held up.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
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
from facilitair.simulator.brain import Brain, Script, pieces
from facilitair.simulator.server import Simulator

AGENTS: Final = 5
STREAMS: Final = 100
TOKENS_PER_S: Final = 10_500.0  # while all write; between two runs nobody does
RUN_S: Final = 12.0
KEPT_S: Final = 5.0  # how long the server keeps an ended run
HELD_UP: Final = 1.02  # agents that take longer by this factor than their provider needs were held up
KEY: Final = "sk-fac-for-the-soak-0123456789"
STALLED, RECONNECTING = "stalled", "reconnecting"
_FIRST_S: Final = 0.2
_BRIEF: Final = "That is all."
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
    """What a soak found, in the time when as many runs began as ended."""

    seconds: float
    tokens: int
    deliveries: int
    reconnections: int
    runs: int
    cpu_s: float
    paces: list[float]
    rss_mb: list[float]
    wrong: list[str]

    @property
    def tokens_per_s(self) -> float:
        """What the provider wrote, in tokens a second."""
        return self.tokens / self.seconds

    @property
    def growth_mb(self) -> float:
        """How much memory the server gained from the first third of the time to the last."""
        third = max(1, len(self.rss_mb) // 3)
        return statistics.median(self.rss_mb[-third:]) - statistics.median(self.rss_mb[:third])

    @property
    def pace(self) -> float:
        """How many times longer than their provider needed the agents of the median run took."""
        return statistics.median(self.paces)

    def __str__(self) -> str:
        per_delivery = 1e6 * self.cpu_s / max(1, self.deliveries)
        lines = [
            f"{self.runs} runs of {AGENTS} agents in {self.seconds:.0f} s",
            f"tokens a second together   {self.tokens_per_s:,.0f}",
            f"agents' time / provider's  {self.pace:.3f}",
            f"deliveries                 {self.deliveries:,} ({self.reconnections:,} reconnections)",
            f"server CPU per delivery    {per_delivery:.0f} us ({self.cpu_s / self.seconds:.0%} of one core)",
            f"server memory              {max(self.rss_mb):.0f} MB at most",
            f"its growth                 {self.growth_mb:+.1f} MB from the first third to the last",
        ]
        return "\n".join([*lines, *(self.wrong[:20] or ["every viewer saw exactly what happened"])])


# --- the two other processes -------------------------------------------------------------------------------------


async def provide(run_s: float, rate: float) -> None:
    """Let each agent write for about `run_s`, `rate` tokens a second."""
    count = int((run_s - _FIRST_S) * rate)
    text = "".join(f" Sentence {number} goes on and ends." for number in range(count))
    script = Script(
        text="".join(pieces(text.lstrip())[:count]), ttft_s=_FIRST_S, tokens_per_s=rate, jitter=0.5
    )
    brief = Script(text=_BRIEF, ttft_s=0.05, tokens_per_s=100)
    async with Simulator(Brain({"steady": script, "brief": brief})) as simulator:
        print(simulator.base_url, flush=True)  # noqa: T201
        await asyncio.Event().wait()


async def serve(streams: int) -> None:
    writers = tuple(AgentConfig(name=f"writer-{n}", role="coder") for n in range(AGENTS - 1))
    synthesizer = AgentConfig(name="synthesizer", role="synthesizer", model="openai/brief")
    fifth = AgentConfig(name=f"writer-{AGENTS - 1}", role="reviewer")
    five = StrategyConfig(agents=(*writers, fifth, synthesizer), synthesizer="synthesizer", synthesis="end")
    models: dict[str, ModelChoice] = {"default": "openai/steady"}
    table = ServerConfig(
        port=0,
        max_runs=2 * streams,
        max_runs_per_key=2 * streams,
        requests_per_minute=None,
        ring_events=256,
        keep_s=KEPT_S,
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


@dataclass
class Soak:
    """The runs that go on and what was seen of them; `until` is when no more is begun."""

    port: int
    pid: int
    provider: str
    run_s: float
    until: float
    chance: random.Random
    paces: list[float] = field(default_factory=list)
    deliveries: int = 0
    reconnections: int = 0
    wrong: list[str] = field(default_factory=list)

    async def seat(self, number: int, of: int) -> None:
        """Keep one run going; which place it has says who watches."""
        tenth = max(1, of // 10)
        kind = RECONNECTING if number < tenth else STALLED if number >= of - tenth else "steady"
        await asyncio.sleep(self.run_s * number / of)
        while time.monotonic() < self.until:
            await self._run(kind)

    async def _run(self, kind: str) -> None:
        stream_id = await start(self.port)
        viewer = Viewer(stream_id, kind)
        with stalled(self.port, [stream_id] if kind == STALLED else []):
            await watch(self.port, viewer, self.chance)
        source = Viewer(stream_id, "source")
        await watch(self.port, source, self.chance)
        self.wrong += [f"{kind} viewer of {stream_id}: {line}" for line in viewer.mistakes]
        if source.state != viewer.state:
            self.wrong.append(f"{kind} viewer of {stream_id}: another state than the source's")
        if source.state.status != "completed" or source.state.degraded:
            self.wrong.append(f"{stream_id} ended {source.state.status} {source.state.degraded}")
        took = [chunk.duration_s or 0.0 for chunk in source.state.chunks.values()]
        self.paces.append(statistics.mean(took) / self.run_s)
        self.deliveries += viewer.deliveries
        self.reconnections += viewer.connections - 1

    async def measure(self, seconds: float) -> Report:
        """Return what happens from now on, for `seconds`."""
        began, cpu, tokens = time.monotonic(), _cpu_s(self.pid), await _written(self.provider)
        runs, deliveries, reconnections = len(self.paces), self.deliveries, self.reconnections
        memory: list[float] = []
        while time.monotonic() < began + seconds:
            memory.append(_rss_mb(self.pid))
            await asyncio.sleep(0.5)
        return Report(
            seconds=time.monotonic() - began,
            tokens=await _written(self.provider) - tokens,
            deliveries=self.deliveries - deliveries,
            reconnections=self.reconnections - reconnections,
            runs=len(self.paces) - runs,
            cpu_s=_cpu_s(self.pid) - cpu,
            paces=self.paces[runs:],
            rss_mb=memory,
            wrong=self.wrong,
        )


async def soak(
    seconds: float, streams: int = STREAMS, rate: float = TOKENS_PER_S, run_s: float = RUN_S, seed: int = 1
) -> Report:
    """Measure for `seconds`, once runs end as fast as they begin; return what was found."""
    each = rate / streams / AGENTS
    ready = 2 * run_s + KEPT_S
    with (
        process("provide", str(run_s), str(each)) as (_, provider),
        process("serve", str(streams), OPENAI_BASE_URL=provider, OPENAI_API_KEY="sk-none") as (pid, url),
    ):
        soaking = Soak(
            port=int(url.rpartition(":")[2]),
            pid=pid,
            provider=provider,
            run_s=run_s,
            until=time.monotonic() + ready + seconds,
            chance=random.Random(seed),  # noqa: S311
        )
        async with asyncio.TaskGroup() as seats:
            for number in range(streams):
                seats.create_task(soaking.seat(number, streams))
            await asyncio.sleep(ready)
            measuring = seats.create_task(soaking.measure(seconds))
    return measuring.result()


async def limit(seconds: float = 20) -> None:
    """Raise the rate by a tenth until runs are held up, and print each step."""
    rate = TOKENS_PER_S
    while True:
        report = await soak(seconds, rate=rate)
        print(f"{rate:,.0f} tokens a second wanted\n{report}\n", flush=True)  # noqa: T201
        if report.wrong or report.pace > HELD_UP:
            return
        rate *= 1.1


async def _written(provider: str) -> int:
    """Return how many tokens the provider has written."""
    port = int(provider.removesuffix("/v1").rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    steps: int = json.loads(re.search(rb"\{.*\}", answer, re.DOTALL)[0])["steps"]  # type: ignore[index]
    return steps


def _rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["provide", run_s, rate]:
            asyncio.run(provide(float(run_s), float(rate)))
        case ["serve", streams]:
            asyncio.run(serve(int(streams)))
        case ["--limit"]:
            asyncio.run(limit())
        case [seconds]:
            report = asyncio.run(soak(float(seconds)))
            print(report)  # noqa: T201
            return 1 if report.wrong else 0
        case _:
            print("usage: python -m tests.server.soak SECONDS | --limit", file=sys.stderr)  # noqa: T201
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
