"""What it costs to merge streams that the program itself writes, and how many streams one process holds.

    python benches/sources.py

Async iterators: `feed` into a `Mux` against a task per iterator and one `asyncio.Queue`, and against
`aiostream.stream.merge`; items that come one by one (a turn of the event loop each) and ten together. CPU time of the
process, median of the rounds. Memory is what the process gained for each open stream.
"""

import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import aiostream

import facilitair_rust as fr
from _machine import machine
from _provider import provider, text
from facilitair.sources import feed

STREAMS, ITEMS, ROUNDS = 5, 20_000, 5
PUSHED = 1_000_000
HTTP, HTTP_CHUNKS, HTTP_RATE = 5_000, 10, 0.5
Merge = Callable[[int], Coroutine[None, None, int]]


async def items(together: int) -> AsyncIterator[str]:
    for number in range(ITEMS):
        if number % together == 0:
            await asyncio.sleep(0)
        yield f" w{number}"


async def ours(together: int) -> int:
    mux = fr.HttpClient().mux()
    chunks = 0
    async with asyncio.TaskGroup() as tasks:
        for _ in range(STREAMS):
            tasks.create_task(feed(mux.push_stream(), items(together)))
        async for batch in mux:
            for delta in batch:
                if isinstance(delta, fr.Content):
                    chunks += delta.chunks
    return chunks


async def queue(together: int) -> int:
    merged: asyncio.Queue[tuple[int, str | None]] = asyncio.Queue(1024)
    chunks = 0

    async def pump(stream: int) -> None:
        async for piece in items(together):
            await merged.put((stream, piece))
        await merged.put((stream, None))

    async with asyncio.TaskGroup() as tasks:
        for stream in range(STREAMS):
            tasks.create_task(pump(stream))
        left = STREAMS
        while left:
            _, piece = await merged.get()
            if piece is None:
                left -= 1
            else:
                chunks += 1
    return chunks


async def merge(together: int) -> int:
    chunks = 0
    async with aiostream.stream.merge(*(items(together) for _ in range(STREAMS))).stream() as merged:
        async for _ in merged:
            chunks += 1
    return chunks


MERGES: dict[str, Merge] = {
    "facilitair: feed": ours,
    "asyncio.Queue fan-in": queue,
    "aiostream.merge": merge,
}


def cost(how: Merge, together: int) -> float:
    began = time.process_time()
    assert asyncio.run(how(together)) == STREAMS * ITEMS
    return 1e6 * (time.process_time() - began) / STREAMS / ITEMS


def iterators() -> list[str]:
    lines = [f"| {STREAMS} async iterators, CPU per item | one by one | ten together |", "|---|---:|---:|"]
    for name, how in MERGES.items():
        cost(how, 10)
        found = [statistics.median(cost(how, n) for _ in range(ROUNDS)) for n in (1, 10)]
        lines.append(f"| {name} | {found[0]:.2f} us | {found[1]:.2f} us |")
    return lines


def rss_kb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


async def pushed() -> list[str]:
    """Open all streams, push three tokens into each in turns, then read everything."""
    mux = fr.HttpClient().mux()
    before = rss_kb()
    streams = [mux.push_stream() for _ in range(PUSHED)]
    for token in ("one", " two", " three"):
        for stream in streams:
            assert stream.push(token)
    memory = (rss_kb() - before) / PUSHED
    for stream in streams:
        stream.finish()
    whole = ended = 0
    async for batch in mux:
        for delta in batch:
            if isinstance(delta, fr.Content):
                whole += delta.text == "one two three"
            else:
                ended += isinstance(delta, fr.Finished)
    assert whole == ended == PUSHED, (whole, ended)
    return [
        f"| {PUSHED:,} pushed streams open at once, 3 tokens each | all delivered | {memory:.2f} KB a stream |"
    ]


async def over_http() -> list[str]:
    with provider(HTTP, HTTP_CHUNKS, HTTP_RATE) as base:
        mux = fr.HttpClient().mux()
        before = rss_kb()
        body = json.dumps({"model": "m", "stream": True, "messages": []}).encode()
        timeouts = fr.Timeouts(connect=30)
        ids = {}
        for n in range(HTTP):
            ids[mux.open(f"{base}/s/{n}/chat/completions", {}, body, timeouts)] = n
            if n % 100 == 99:
                await asyncio.sleep(0.02)  # the provider is one process too
        found: list[list[str]] = [[] for _ in range(HTTP)]
        most = 0.0
        async for batch in mux:
            most = max(most, rss_kb())
            for delta in batch:
                if isinstance(delta, fr.Content):
                    found[ids[delta.stream]].append(delta.text)
                else:
                    assert isinstance(delta, fr.Finished), delta
        assert all("".join(pieces) == text(n, HTTP_CHUNKS) for n, pieces in enumerate(found))
    return [f"| {HTTP:,} HTTP streams at once | nothing lost | {(most - before) / HTTP:.1f} KB a stream |"]


def main() -> None:
    print("\n".join(iterators()), end="\n\n")
    print("| streams at once | | memory |\n|---|---|---:|")
    print("\n".join(asyncio.run(over_http())))
    print("\n".join(asyncio.run(pushed())), end="\n\n")
    print(machine("aiostream"))


if __name__ == "__main__":
    main()
