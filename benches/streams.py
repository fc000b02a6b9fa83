"""What a provider's chunk costs from the socket to (agent, text) in Python, against the usual ways.

    python benches/streams.py                     # the table in docs
    python benches/streams.py --streams 3 --rate 100

CPU time of this process, all threads, user and system, divided by the provider's chunks; the provider runs in a
process of its own. Each run checks every stream's text before its time counts. Runs of the contenders are
interleaved, and the median of the rounds is shown.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
import httpx
import httpx2
import httpx_sse
import openai
import orjson
from pyreqwest.client import ClientBuilder

import facilitair_rust as fr
from _machine import machine
from _provider import provider, text

Reader = Callable[[str, int], Coroutine[None, None, "Received"]]
Queue = asyncio.Queue[tuple[int, str | None]]

BODY: dict[str, object] = {
    "model": "gpt-5.2-mini",
    "stream": True,
    "messages": [{"role": "user", "content": "Write."}],
}
TIMEOUT_S = 120.0


@dataclass(slots=True)
class Received:
    """What one reader got."""

    texts: list[list[str]]
    chunks: int = 0
    wakes: int = 0

    @classmethod
    def empty(cls, streams: int) -> "Received":
        return cls([[] for _ in range(streams)])

    def check(self, streams: int, chunks: int) -> None:
        assert self.chunks == streams * chunks, f"{self.chunks} of {streams * chunks} chunks"
        for stream, pieces in enumerate(self.texts):
            assert "".join(pieces) == text(stream, chunks), f"stream {stream} differs"


@asynccontextmanager
async def ours() -> AsyncIterator[Reader]:
    client = fr.HttpClient()
    body = json.dumps(BODY).encode()
    headers = {"authorization": "Bearer sk-bench"}

    async def read(base: str, streams: int) -> Received:
        mux = client.mux()
        ids = {mux.open(f"{base}/s/{n}/chat/completions", headers, body): n for n in range(streams)}
        received = Received.empty(streams)
        async for batch in mux:
            received.wakes += 1
            for delta in batch:
                if isinstance(delta, fr.Content):
                    received.texts[ids[delta.stream]].append(delta.text)
                    received.chunks += delta.chunks
                elif isinstance(delta, fr.Failed):
                    raise AssertionError(delta)
        return received

    yield read
    client.close()


async def fan_in(streams: int, read: Callable[[int, Queue], Coroutine[None, None, None]]) -> Received:
    """The usual way: a task per stream, one queue for all."""
    queue: Queue = asyncio.Queue(1024)
    received = Received.empty(streams)

    async def feed(stream: int) -> None:
        await read(stream, queue)
        await queue.put((stream, None))

    async with asyncio.TaskGroup() as tasks:
        for stream in range(streams):
            tasks.create_task(feed(stream))
        open_streams = streams
        while open_streams:
            stream, piece = await queue.get()
            if piece is None:
                open_streams -= 1
            else:
                received.texts[stream].append(piece)
                received.chunks += 1
    return received


@asynccontextmanager
async def openai_sdk() -> AsyncIterator[Reader]:
    async with openai.AsyncOpenAI(api_key="sk-bench", base_url="http://localhost", max_retries=0) as client:

        async def read(base: str, streams: int) -> Received:
            async def one(stream: int, queue: Queue) -> None:
                chunks = await client.with_options(base_url=f"{base}/s/{stream}").chat.completions.create(
                    model="gpt-5.2-mini", stream=True, messages=[{"role": "user", "content": "Write."}]
                )
                async for chunk in chunks:
                    if content := chunk.choices[0].delta.content:
                        await queue.put((stream, content))

            return await fan_in(streams, one)

        yield read


def content(data: str) -> str | None:
    """Return the text of an event, as a program without an SDK reads it."""
    if data == "[DONE]":
        return None
    piece: str | None = json.loads(data)["choices"][0]["delta"].get("content")
    return piece


@asynccontextmanager
async def httpx2_json() -> AsyncIterator[Reader]:
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(timeout=TIMEOUT_S, limits=limits) as client:

        async def read(base: str, streams: int) -> Received:
            async def one(stream: int, queue: Queue) -> None:
                url = f"{base}/s/{stream}/chat/completions"
                async with client.stream("POST", url, json=BODY) as response:
                    async for event in httpx2.EventSource(response):
                        if piece := content(event.data):
                            await queue.put((stream, piece))

            return await fan_in(streams, one)

        yield read


@asynccontextmanager
async def httpx_sse_json() -> AsyncIterator[Reader]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits) as client:

        async def read(base: str, streams: int) -> Received:
            async def one(stream: int, queue: Queue) -> None:
                url = f"{base}/s/{stream}/chat/completions"
                async with httpx_sse.aconnect_sse(client, "POST", url, json=BODY) as source:
                    async for event in source.aiter_sse():
                        if piece := content(event.data):
                            await queue.put((stream, piece))

            return await fan_in(streams, one)

        yield read


class Events:
    """Server-sent events by hand, as fast as it goes for a server whose events are one line of data each."""

    def __init__(self) -> None:
        self._rest = b""

    def texts(self, data: bytes) -> list[str]:
        """Return the texts of all events that `data` completes."""
        *events, self._rest = (self._rest + data).split(b"\n\n") if self._rest else data.split(b"\n\n")
        found: list[str] = []
        for event in events:
            if event.startswith(b"data: {"):
                piece: str | None = orjson.loads(event[6:])["choices"][0]["delta"].get("content")
                if piece:
                    found.append(piece)
        return found


async def fan_in_batches(
    streams: int, read: Callable[[int, Callable[[bytes], None]], Coroutine[None, None, None]]
) -> Received:
    """As `fan_in`, with all that one read brought as one item of the queue, which then needs no bound."""
    queue: asyncio.Queue[tuple[int, list[str] | None]] = asyncio.Queue()
    received = Received.empty(streams)

    async def feed(stream: int) -> None:
        events = Events()

        def take(data: bytes) -> None:
            if texts := events.texts(data):
                queue.put_nowait((stream, texts))

        await read(stream, take)
        queue.put_nowait((stream, None))

    async with asyncio.TaskGroup() as tasks:
        for stream in range(streams):
            tasks.create_task(feed(stream))
        open_streams = streams
        while open_streams:
            stream, texts = await queue.get()
            if texts is None:
                open_streams -= 1
            else:
                received.texts[stream] += texts
                received.chunks += len(texts)
    return received


@asynccontextmanager
async def aiohttp_orjson() -> AsyncIterator[Reader]:
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def read(base: str, streams: int) -> Received:
            async def one(stream: int, take: Callable[[bytes], None]) -> None:
                async with session.post(f"{base}/s/{stream}/chat/completions", json=BODY) as response:
                    async for data in response.content.iter_any():
                        take(data)

            return await fan_in_batches(streams, one)

        yield read


@asynccontextmanager
async def pyreqwest_orjson() -> AsyncIterator[Reader]:
    async with ClientBuilder().timeout(timedelta(seconds=TIMEOUT_S)).build() as client:

        async def read(base: str, streams: int) -> Received:
            async def one(stream: int, take: Callable[[bytes], None]) -> None:
                request = client.post(f"{base}/s/{stream}/chat/completions").body_json(BODY)
                async with request.build_streamed() as response:
                    while data := await response.body_reader.read_chunk():
                        take(bytes(data))

            return await fan_in_batches(streams, one)

        yield read


CONTENDERS: dict[str, Callable[[], AbstractAsyncContextManager[Reader]]] = {
    "facilitair_rust": ours,
    "openai SDK + asyncio.Queue": openai_sdk,
    "httpx2 (its own SSE) + json + asyncio.Queue": httpx2_json,
    "httpx-sse + json + asyncio.Queue": httpx_sse_json,
    "pyreqwest + orjson + asyncio.Queue, by hand": pyreqwest_orjson,
    "aiohttp + orjson + asyncio.Queue, by hand": aiohttp_orjson,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One checked run."""

    cpu_us: float
    wall_s: float
    wakes: int


def measure(name: str, base: str, streams: int, chunks: int) -> Figure:
    """Making the client is not measured: the certificates it reads cost more than a short stream."""

    async def timed() -> tuple[Received, float, float]:
        async with CONTENDERS[name]() as read:
            cpu, wall = time.process_time(), time.perf_counter()
            received = await asyncio.wait_for(read(base, streams), TIMEOUT_S)
            return received, time.process_time() - cpu, time.perf_counter() - wall

    received, cpu, wall = asyncio.run(timed())
    received.check(streams, chunks)
    return Figure(cpu / (streams * chunks) * 1e6, wall, received.wakes)


def compare(streams: int, chunks: int, rate: float | None, rounds: int) -> dict[str, list[Figure]]:
    figures: dict[str, list[Figure]] = {name: [] for name in CONTENDERS}
    with provider(streams, chunks, rate) as base:
        for name in CONTENDERS:  # warms imports, connections and caches
            measure(name, base, streams, chunks)
        for _ in range(rounds):
            for name, found in figures.items():
                found.append(measure(name, base, streams, chunks))
    return figures


def table(title: str, figures: dict[str, list[Figure]]) -> list[str]:
    medians = {name: statistics.median(one.cpu_us for one in found) for name, found in figures.items()}
    own = medians["facilitair_rust"]
    lines = [
        f"### {title}",
        "",
        "| path | CPU per chunk, us (min-max) | times ours | wall, s |",
        "|---|---:|---:|---:|",
    ]
    for name, found in figures.items():
        spread = [one.cpu_us for one in found]
        wall = statistics.median(one.wall_s for one in found)
        cost = f"{medians[name]:.2f} ({min(spread):.2f}-{max(spread):.2f})"
        lines.append(f"| {name} | {cost} | {medians[name] / own:.1f} | {wall:.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time per provider chunk.")
    parser.add_argument("--streams", type=int, default=30)
    parser.add_argument("--rate", type=float, default=75.0, help="chunks a second of each paced stream")
    parser.add_argument("--paced-chunks", type=int, default=300, help="chunks of each paced stream")
    parser.add_argument("--saturated-chunks", type=int, default=500, help="chunks of each saturated stream")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    paced = compare(args.streams, args.paced_chunks, args.rate, args.rounds)
    saturated = compare(args.streams, args.saturated_chunks, None, args.rounds)
    versions = machine("openai", "httpx2", "httpx-sse", "aiohttp", "orjson", "pyreqwest")
    print(f"{args.streams} streams, median of {args.rounds} rounds. {versions}\n")
    print("\n".join(table(f"Paced: {args.rate:g} chunks a second each", paced)), end="\n\n")
    print("\n".join(table("Saturated: as fast as the client reads", saturated)))


if __name__ == "__main__":
    main()
