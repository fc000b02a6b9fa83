"""A loopback provider that only writes bytes built beforehand, in a process of its own.

`paced` writes each chunk of each stream when it is due; `saturated` writes as fast as the reader takes. Streams
are told apart by the number in the request's path, so that each reader can check its own text.
"""

import asyncio
import json
import multiprocessing as mp
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

END = b"0\r\n\r\n"
NOTHING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def token(stream: int, index: int) -> str:
    """Text of about one model token that names its place."""
    return f" w{stream}.{index}"


def text(stream: int, chunks: int) -> str:
    """What a reader of `stream` must end up with."""
    return "".join(token(stream, index) for index in range(chunks))


def _event(payload: dict[str, object]) -> bytes:
    data = b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    return _event(
        {
            "id": "chatcmpl-BuZDn5cZqtK0sOmqIYk2b1b0tS8Hw",
            "object": "chat.completion.chunk",
            "created": 1763712000,
            "model": "gpt-5.2-mini-2026-08-07",
            "service_tier": "default",
            "system_fingerprint": None,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
            "usage": None,
        }
    )


def events(stream: int, chunks: int) -> list[bytes]:
    """One HTTP chunk for each event, as providers send them."""
    done = b"data: [DONE]\n\n"
    return [
        *(_chunk({"content": token(stream, index)}) for index in range(chunks)),
        _chunk({}, "stop") + b"%x\r\n%s\r\n" % (len(done), done) + END,
    ]


async def _serve(pipe: "Connection", streams: int, chunks: int, rate: float | None) -> None:
    prepared = [events(stream, chunks) for stream in range(streams)]
    merged = [b"".join(one) for one in prepared]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):
                    writer.write(NOTHING)  # somebody looks which models there are
                    continue
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                await reader.readexactly(length)
                stream = int(head.split(b" ", 2)[1].split(b"/")[2])
                writer.write(HEAD)
                if rate is None:
                    writer.write(merged[stream])
                else:
                    await _pace(writer, prepared[stream], stream / streams / rate, rate)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


async def _pace(writer: asyncio.StreamWriter, pieces: list[bytes], offset: float, rate: float) -> None:
    """One write per chunk, streams out of step with each other."""
    loop = asyncio.get_running_loop()
    start = loop.time() + offset
    for index, piece in enumerate(pieces):
        await asyncio.sleep(start + index / rate - loop.time())
        writer.write(piece)


def _run(pipe: "Connection", streams: int, chunks: int, rate: float | None) -> None:
    asyncio.run(_serve(pipe, streams, chunks, rate))


@contextmanager
def provider(streams: int, chunks: int, rate: float | None) -> "Iterator[str]":
    """The base URL of a provider of `streams` streams; `rate` in chunks a second each, or None for no limit."""
    context = mp.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run, args=(there, streams, chunks, rate), daemon=True)
    process.start()
    try:
        if not here.poll(30):
            sys.exit("the provider did not start")
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()
