"""A provider and viewers that cost little, so that a server with hundreds of streams is what is measured.

The provider is a process of its own and writes each token of each stream as one HTTP chunk when it is due. It keeps
what it was late itself. Viewers read bytes, count frames, and look into nothing but the ends of chunks.
"""

import asyncio
import heapq
import json
import multiprocessing as mp
import random
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from _provider import HEAD, _chunk

FIRST_S = 0.2
_END = b"16\r\ndata: [DONE]\n\n\r\n0\r\n\r\n".replace(b"16", b"%x" % len(b"data: [DONE]\n\n"))
_NOTHING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_WORDS = ["Sentence", "number", "seven", "goes", "on", "and", "ends."]
_WRITTEN = re.compile(rb"@(\d+\.\d{4}) ")
# A token is a word and the time at which it was written, read off one clock by every process of this machine.
_PLACE = "x" * 25
_BEFORE, _AFTER = _chunk({"content": _PLACE}).split(_PLACE.encode())


class _Schedule:
    """Writes what is due; one timer for all streams."""

    def __init__(self) -> None:
        self.tokens = 0
        self.durations: list[float] = []
        self._due: list[tuple[float, int, _Stream]] = []
        self._count = 0

    def add(self, when: float, stream: "_Stream") -> None:
        self._count += 1
        heapq.heappush(self._due, (when, self._count, stream))

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            while self._due and self._due[0][0] <= now:
                _, _, stream = heapq.heappop(self._due)
                stream.write(now)
            await asyncio.sleep(0.001)


class _Stream(asyncio.Protocol):
    """One connection: requests in, paced tokens out."""

    def __init__(self, schedule: _Schedule, count: int, rate: float, chance: random.Random) -> None:
        self._schedule, self._count, self._rate, self._chance = schedule, count, rate, chance
        self._got = b""
        self._left = 0
        self._began = self._next = 0.0
        self._open = self._brief = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._open = transport, True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self._open = False

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or (length and len(body) < int(length[1])):
            return
        self._got = b""
        if head.startswith(b"GET /stats"):
            text = json.dumps(
                {"tokens": self._schedule.tokens, "durations": self._schedule.durations}
            ).encode()
            self._schedule.durations = []
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text))
        elif head.startswith(b"GET "):
            self._transport.write(_NOTHING)
        else:
            self._transport.write(HEAD)
            self._brief = b'"brief"' in body
            self._left = 4 if self._brief else self._count
            self._began = asyncio.get_running_loop().time()
            self._next = self._began + FIRST_S
            self._schedule.add(self._next, self)

    def write(self, now: float) -> None:
        if not self._open:
            return
        self._left -= 1
        token = f"{_WORDS[self._left % len(_WORDS)]:8} @{time.monotonic():014.4f} "
        self._transport.write(_BEFORE + token.encode() + _AFTER)
        self._schedule.tokens += 1
        if self._left:
            self._next += self._chance.uniform(0.5, 1.5) / self._rate
            self._schedule.add(self._next, self)
        else:
            self._transport.write(_chunk({}, "stop") + _END)
            if not self._brief:
                self._schedule.durations.append(now - self._began)


def _provide(pipe: Connection, run_s: float, rate: float) -> None:
    async def serve() -> None:
        schedule, count, chance = _Schedule(), int((run_s - FIRST_S) * rate), random.Random(1)  # noqa: S311
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Stream(schedule, count, rate, chance), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await schedule.run()

    asyncio.run(serve())


@contextmanager
def provider(run_s: float, rate: float) -> Iterator[str]:
    """Give the base URL of a provider whose answers take `run_s` seconds, `rate` tokens a second each."""
    context = mp.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_provide, args=(there, run_s, rate), daemon=True)
    process.start()
    try:
        if not here.poll(30):
            sys.exit("the provider did not start")
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        process.terminate()
        process.join()


async def stats(base_url: str) -> tuple[int, list[float]]:
    """Return the tokens written so far, and how long the answers took that have ended since the last call."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base_url.split(":")[2].split("/")[0]))
    writer.write(b"GET /stats HTTP/1.1\r\nhost: localhost\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    assert length is not None
    found = json.loads(await reader.readexactly(int(length[1])))
    writer.close()
    return found["tokens"], found["durations"]


class Viewer(asyncio.Protocol):
    """Watches one run to its end: `frames` are counted, `durations` are what the run says its chunks took, `latencies`
    (with `times`) how many seconds each token was under way."""

    def __init__(self, request: bytes, *, times: bool = False) -> None:
        self._request = request
        self._times = times
        self._tail = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.durations: list[float] = []
        self.frames = 0
        self.latencies: list[float] = []
        self.completed = False
        self.began = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.frames += data.count(b"\ndata: ")
        if self._times and b"completed" not in data:  # there all of the text comes again
            now = time.monotonic()
            self.latencies += [now - float(when) for when in _WRITTEN.findall(data)]
        if b"_completed" in data or self._tail:
            self._tail += data
            *frames, rest = self._tail.split(b"\n\n")
            for frame in frames:
                if b"event: chunk_completed" in frame:
                    self.durations.append(json.loads(frame.partition(b"data: ")[2])["duration_s"])
                self.completed |= b"event: task_completed" in frame
            self._tail = rest

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        if not self.ended.done():
            self.ended.set_result(None)
