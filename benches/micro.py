"""What single steps cost, one by one (pytest-benchmark): the text of a chunk, decoding, folding, one whole run.

    python benches/micro.py

No comparison is claimed from these; they are for finding out where time goes.
"""

import asyncio
import json
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import facilitair_rust as fr
from facilitair import AgentSpec, Client, Config, Strategy
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.fold import fold
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.script import ScriptTransport

TOKENS = [f" w{n}{'.' if n % 12 == 11 else ''}" for n in range(1200)]
TEXT = "".join(TOKENS)
AGENTS = ("a", "b", "c", "d", "e")


def chunk(content: str) -> bytes:
    payload = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}],
    }
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def run_five() -> list[ev.AnyEvent]:
    """Run five agents that read nobody, 1,200 tokens each, on the virtual clock."""
    scripts = {name: Script(text=TEXT) for name in (*AGENTS, "synthesizer")}
    strategy = Strategy(
        name="five",
        agents=tuple(AgentSpec(name, "coder", model=f"simulator/{name}") for name in AGENTS),
        synthesizer=AgentSpec("synthesizer", "synthesizer", model="simulator/synthesizer"),
        synthesis="end",
    )

    async def run() -> list[ev.AnyEvent]:
        transport = ScriptTransport(Brain(scripts), VirtualClock())
        async with Client(Config(), env={}, transport=transport) as client:
            return [event async for event in client.collaborate("Measure", strategy=strategy)]

    return asyncio.run(run())


def test_chunk_text_takes_1200_tokens(benchmark: BenchmarkFixture) -> None:
    def take() -> str:
        text = fr.ChunkText("abcdef0123", ["retract"])
        for token in TOKENS:
            text.feed(token)
        text.flush()
        return text.text

    assert benchmark(take) == TEXT


def test_decoder_takes_1200_chunks(benchmark: BenchmarkFixture) -> None:
    chunks = [chunk(token) for token in TOKENS]

    def take() -> str:
        decoder = fr.ChatDecoder(1, fr.Timeouts(), 0.0)
        decoder.head(200, [("content-type", "text/event-stream")], 0.0)
        found = [delta for data in chunks for delta in decoder.feed(data, 0.0)]
        return "".join(delta.text for delta in found if isinstance(delta, fr.Content))

    assert benchmark(take) == TEXT


def test_encoding_and_decoding_an_event(benchmark: BenchmarkFixture) -> None:
    event = ev.TokenStreamEvent(stream_id="s", seq=7, ts=1.5, chunk_id="task/a.1", agent="a", tokens=" word")
    assert benchmark(lambda: ev.decode(ev.encode(event))) == event


def test_folding_a_run(benchmark: BenchmarkFixture) -> None:
    events = run_five()
    assert benchmark(lambda: fold(events)).chunks["task/a.1"].text == TEXT


def test_a_run_of_five_agents(benchmark: BenchmarkFixture) -> None:
    events: list[ev.AnyEvent] = benchmark(run_five)
    assert sum(isinstance(event, ev.ChunkCompletedEvent) for event in events) == len(AGENTS)


if __name__ == "__main__":
    columns = "--benchmark-columns=min,median,max,rounds"
    sys.exit(
        pytest.main([__file__, "-q", "-p", "no:cacheprovider", "--override-ini=filterwarnings=", columns])
    )
