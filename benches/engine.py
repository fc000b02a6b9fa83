"""What live edges save, and what the engine adds to a provider's first token.

    python benches/engine.py

The speed-up is of virtual time: five agents of 40 fragments in a chain, 0.4 s to the first token, 80 tokens a
second, once with live edges and once one after the other; the bound is A*S/(S+A-1). The first token is real: the
simulator runs in a process of its own, and the same request goes out raw and as a run, in turns; a run's time counts
from the call, so that planning is in it.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from itertools import pairwise

import facilitair_rust as fr
from _machine import machine
from facilitair import AgentSpec, Client, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.engine.graph import EdgeKind
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.script import ScriptTransport
from facilitair.simulator.server import Simulator

AGENTS = ("a", "b", "c", "d", "e")
FRAGMENTS = 40
ROUNDS = 40
WRITER = AgentSpec("synthesizer", "synthesizer", model="simulator/synthesizer")


def fragments(name: str) -> str:
    numbers = range(1, FRAGMENTS + 1)
    return "\n\n".join(
        f"Sentence {n} of {name} says something in about as many words as usual." for n in numbers
    )


def chain(kind: EdgeKind) -> Strategy:
    edges = tuple(Edge(a, b, kind) for a, b in pairwise(AGENTS))
    agents = tuple(AgentSpec(name, "coder", model=f"simulator/{name}") for name in AGENTS)
    return Strategy(name=kind, agents=agents, edges=edges, synthesizer=WRITER, synthesis="section")


async def agents_done(kind: EdgeKind) -> tuple[float, int]:
    """Return when the last agent was done, in virtual seconds, and the fewest updates any reader was shown."""
    scripts = {name: Script(text=fragments(name)) for name in (*AGENTS, "synthesizer")}
    transport = ScriptTransport(Brain(scripts), VirtualClock())
    shown = dict.fromkeys(AGENTS[1:], 0)
    end = 0.0
    async with Client(Config(), env={}, transport=transport) as client:
        async for event in client.collaborate("Measure", strategy=chain(kind)):
            if isinstance(event, ev.ChunkCompletedEvent):
                end = event.ts
                assert event.content == fragments(event.agent)
            elif (
                isinstance(event, ev.AgentReactionEvent)
                and event.action == "continues"
                and event.agent in shown
            ):
                shown[event.agent] += 1
    return end, min(shown.values())


async def speed_up() -> list[str]:
    live, updates = await agents_done("live")
    after, _ = await agents_done("after")
    agents = len(AGENTS)
    bound = agents * FRAGMENTS / (FRAGMENTS + agents - 1)
    return [
        "| five agents of 40 fragments, virtual clock | |",
        "|---|---:|",
        f"| one after the other | {after:.1f} s |",
        f"| live edges (at least {updates} updates delivered to each reader) | {live:.1f} s |",
        f"| speed-up | {after / live:.2f} |",
        f"| bound A*S/(S+A-1) | {bound:.2f} |",
        f"| share of the bound | {after / live / bound:.0%} |",
    ]


async def serve() -> None:
    """Be the provider: always 0.3 s to the first token."""
    scripts = {name: Script(text=fragments(name), ttft_s=0.3) for name in ("coder", "synthesizer")}
    async with Simulator(brain=Brain(scripts)) as server:
        print(server.base_url, flush=True)
        await asyncio.Event().wait()


@contextmanager
def simulator() -> Iterator[str]:
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def raw_first_token(http: fr.HttpClient, base: str) -> float:
    """Return the seconds to the first content over the Rust core alone."""
    body = {"model": "coder", "stream": True, "messages": [{"role": "user", "content": "Measure"}]}
    mux = http.mux()
    begin = time.perf_counter()
    mux.open(f"{base}/chat/completions", {"authorization": "Bearer x"}, json.dumps(body).encode())
    try:
        async for batch in mux:
            if any(isinstance(delta, fr.Content) for delta in batch):
                return time.perf_counter() - begin
    finally:
        mux.close()
    raise AssertionError("no content came")


async def run_first_token(client: Client) -> float:
    """Return the seconds from the call to the first token event."""
    one = Strategy(
        name="one",
        agents=(AgentSpec("coder", "coder", model="openai/coder"),),
        synthesizer=AgentSpec("synthesizer", "synthesizer", model="openai/synthesizer"),
    )
    begin = time.perf_counter()
    async with aclosing(client.collaborate("Measure", strategy=one).__aiter__()) as events:
        async for event in events:
            if isinstance(event, ev.TokenStreamEvent):
                return time.perf_counter() - begin
    raise AssertionError("no token came")


async def first_token() -> list[str]:
    with simulator() as base:
        http = fr.HttpClient()
        env = {"OPENAI_BASE_URL": base, "OPENAI_API_KEY": "x"}
        raw: list[float] = []
        run: list[float] = []
        async with Client(Config(), env=env) as client:
            await run_first_token(client)  # loads what a program loads once
            for _ in range(ROUNDS):
                raw.append(await raw_first_token(http, base))
                run.append(await run_first_token(client))
        http.close()
    added = sorted(b - a for a, b in zip(raw, run, strict=True))
    return [
        f"| first token over HTTP, {ROUNDS} runs in turns | median |",
        "|---|---:|",
        f"| provider, raw | {statistics.median(raw) * 1e3:.1f} ms |",
        f"| from the call of `collaborate` to the event | {statistics.median(run) * 1e3:.1f} ms |",
        f"| added (pairs): median / largest | {statistics.median(added) * 1e3:.1f} / {added[-1] * 1e3:.1f} ms |",
    ]


async def main() -> None:
    print(f"{machine()}\n")
    print("\n".join(await speed_up()), end="\n\n")
    print("\n".join(await first_token()))


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1:] == ["serve"] else main())
