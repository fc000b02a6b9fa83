"""HTTP/1 byte for byte, where parsers differ: offers of an upgrade that is not taken, and clients of HTTP/1.0."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from .harness import BRIEF, KEY, Served, served

BODY = json.dumps({**BRIEF, "stream": False}).encode()
JAVA = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)


def head(line: str, more: bytes = b"") -> bytes:
    fixed = f"{line}\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
    return fixed.encode() + more + b"\r\n"


def sized(more: bytes = b"", version: str = "1.1") -> bytes:
    length = f"Content-Length: {len(BODY)}\r\n".encode()
    return head(f"POST /api/stream/task HTTP/{version}", more + length) + BODY


def chunked(more: bytes = b"") -> bytes:
    parts = b"".join(
        b"%x\r\n%s\r\n" % (len(BODY[i : i + 9]), BODY[i : i + 9]) for i in range(0, len(BODY), 9)
    )
    return (
        head("POST /api/stream/task HTTP/1.1", more + b"Transfer-Encoding: chunked\r\n")
        + parts
        + b"0\r\n\r\n"
    )


@asynccontextmanager
async def connected(server: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 24)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Return one answer that has a length."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


@pytest.mark.parametrize("pieces", ["at once", "head, then body", "byte by byte"])
@pytest.mark.parametrize("request_bytes", [sized(JAVA), chunked(JAVA)], ids=["length", "chunks"])
def test_an_offer_of_http_2_does_not_lose_the_body(request_bytes: bytes, pieces: str) -> None:
    """As Java's HttpClient asks over plain HTTP, and the connection goes on to be used."""
    cut = request_bytes.index(b"\r\n\r\n") + 4
    parts = {
        "at once": [request_bytes],
        "head, then body": [request_bytes[:cut], request_bytes[cut:]],
        "byte by byte": [request_bytes[i : i + 1] for i in range(len(request_bytes))],
    }[pieces]

    async def run() -> None:
        async with served(speed=50) as server, connected(server) as (reader, writer):
            for _ in range(2):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                status, _, body = await answer(reader)
                assert (status, json.loads(body)["status"]) == (200, "completed")

    asyncio.run(run())


def test_requests_behind_an_offer_are_answered_in_order() -> None:
    async def run() -> None:
        async with served(speed=50) as server, connected(server) as (reader, writer):
            writer.write(sized(JAVA) + head("GET /healthz HTTP/1.1") + chunked(JAVA))
            answers = [await answer(reader) for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 200]
        assert json.loads(answers[1][2])["status"] == "ok"

    asyncio.run(run())


def test_two_lengths_behind_an_offer_are_refused_as_without_one() -> None:
    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            more = JAVA + b"Content-Length: 5\r\n"
            writer.write(chunked(more))
            assert b" 400 " in await reader.readline()

    asyncio.run(run())


def test_a_stream_over_http_1_0_is_not_chunked_and_ends_with_the_connection() -> None:
    async def run() -> None:
        async with served(speed=50) as server:
            stream_id = await server.start()
            async with connected(server) as (reader, writer):
                writer.write(head(f"GET /api/stream/events/{stream_id} HTTP/1.0"))
                got = await reader.read()
        start, _, body = got.partition(b"\r\n\r\n")
        assert b" 200 " in start.split(b"\r\n")[0]
        assert b"chunked" not in start.lower()
        fields = (b":", b"id: ", b"event: ", b"data: ", b"retry: ")
        assert all(line.startswith(fields) for line in body.split(b"\n") if line)
        assert b"event: task_completed\n" in body

    asyncio.run(run())


def test_an_answer_over_http_1_0_has_its_length() -> None:
    async def run() -> None:
        async with served(speed=50) as server, connected(server) as (reader, writer):
            writer.write(sized(version="1.0"))
            status, headers, body = await answer(reader)
            assert (status, json.loads(body)["status"]) == (200, "completed")
            assert "transfer-encoding" not in headers
            assert await reader.read() == b""

    asyncio.run(run())


def test_a_tunnel_is_refused() -> None:
    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            writer.write(b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert int((await reader.readline()).split()[1]) >= 400

    asyncio.run(run())
