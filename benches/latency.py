"""How long a token is on its way: from `push`, or from the provider's write, to the batch in Python.

    python benches/latency.py

Three agents at 100 chunks a second each, out of step. Pushed tokens come from another thread; HTTP ones from a
provider in a process of its own, one write each. Each chunk carries the time of its writing (the system's monotonic
clock, which all processes share). The engine lets text gather instead: that row is what its viewers see.
"""

import asyncio
import multiprocessing as mp
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import facilitair_rust as fr
from _machine import machine

AGENTS, RATE, CHUNKS = 3, 100.0, 1000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%d "}}]}\n\n'
DONE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


async def _serve(pipe: Connection) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        loop = asyncio.get_running_loop()
        writer.write(HEAD)
        start = loop.time() + int(head.split(b" ", 2)[1].strip(b"/")) / AGENTS / RATE
        for number in range(CHUNKS):
            await asyncio.sleep(start + number / RATE - loop.time())
            writer.write(EVENT % time.monotonic_ns())
        writer.write(DONE)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


def _run(pipe: Connection) -> None:
    asyncio.run(_serve(pipe))


@contextmanager
def stamping_provider() -> Iterator[str]:
    context = mp.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run, args=(there,), daemon=True)
    process.start()
    try:
        assert here.poll(30), "the provider did not start"
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


async def delays(mux: fr.Mux) -> list[float]:
    """Return how long each chunk was on its way, in microseconds."""
    found = []
    async for batch in mux:
        now = time.monotonic_ns()
        for delta in batch:
            if isinstance(delta, fr.Content):
                found += [(now - int(stamp)) / 1000 for stamp in delta.text.split()]
    assert len(found) == AGENTS * CHUNKS
    return found


async def pushed() -> list[float]:
    mux = fr.HttpClient().mux()

    def write(stream: fr.PushStream, start: float) -> None:
        for number in range(CHUNKS):
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
            stream.push(f"{time.monotonic_ns()} ")
        stream.finish()

    begin = time.monotonic() + 0.1
    writers = [
        threading.Thread(target=write, args=(mux.push_stream(), begin + n / AGENTS / RATE))
        for n in range(AGENTS)
    ]
    for writer in writers:
        writer.start()
    found = await delays(mux)
    for writer in writers:
        writer.join()
    return found


async def over_http(*, gather: bool) -> list[float]:
    with stamping_provider() as base:
        mux = fr.HttpClient().mux(gather=gather)
        for n in range(AGENTS):
            mux.open(f"{base}/{n}", {}, b"{}")
        return await delays(mux)


def row(name: str, found: list[float]) -> str:
    percentiles = statistics.quantiles(found, n=100)
    return f"| {name} | {percentiles[49]:.0f} us | {percentiles[98]:.0f} us | {max(found) / 1000:.1f} ms |"


def main() -> None:
    print(f"| {AGENTS} agents, {RATE:g} chunks a second each | p50 | p99 | largest |\n|---|---:|---:|---:|")
    print(row("push to batch", asyncio.run(pushed())))
    print(row("socket to batch", asyncio.run(over_http(gather=False))))
    print(row("socket to batch, gathering (the engine)", asyncio.run(over_http(gather=True))), end="\n\n")
    print(machine())


if __name__ == "__main__":
    main()
