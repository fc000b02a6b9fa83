"""Small HTTP servers on loopback that stand for the servers of a user: real sockets, answers written by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Where it listens and what it was sent."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Server]:
    """Run a server that reads one request from each connection, lets `answer` write, and closes."""
    server = Server()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            server.heads.append(head)
            length = next(
                (line for line in head.lower().split("\r\n") if line.startswith("content-length:")), ": 0"
            )
            server.bodies.append(await reader.readexactly(int(length.partition(":")[2])))
            await answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left, which is what some tests are about
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        server.port = listening.sockets[0].getsockname()[1]
        yield server
    finally:
        listening.close()


def answering(body: bytes, status: str = "200 OK", headers: str = "") -> Answer:
    """Answer with a whole body."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)

    return answer


def event(data: str) -> bytes:
    """Return one server-sent event."""
    return f"data: {data}\n\n".encode()


def streaming(*pieces: bytes, then_wait: asyncio.Event | None = None) -> Answer:
    """Answer with a stream of events that ends with the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then_wait is not None:
            await then_wait.wait()

    return answer


def chat(*words: str) -> Answer:
    """Answer with a chat completion of these words."""
    deltas = [event(f'{{"choices":[{{"index":0,"delta":{{"content":"{word}"}}}}]}}') for word in words]
    usage = '"usage":{"prompt_tokens":7,"completion_tokens":2,"cost":0.25}'
    end = [
        event('{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'),
        event(f'{{"choices":[],{usage}}}'),
        event("[DONE]"),
    ]
    return streaming(*deltas, *end)
