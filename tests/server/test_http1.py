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


@pytest.mark.parametrize("where", ["url", "one header", "many headers"])
def test_a_head_without_end_is_refused_before_anybody_has_shown_a_key(where: str) -> None:
    async def run() -> bytes:
        async with served() as server, connected(server) as (reader, writer):
            piece = b"X-%d: " + b"y" * 1000 + b"\r\n"
            writer.write(b"GET /" + b"x" * (80_000 if where == "url" else 1))
            if where == "many headers":
                writer.write(b" HTTP/1.1\r\n" + b"".join(piece % n for n in range(100)))
            elif where == "one header":
                writer.write(b" HTTP/1.1\r\nX: " + b"y" * 80_000)
            return await asyncio.wait_for(reader.read(), 10)

    assert asyncio.run(run()).startswith(b"HTTP/1.1 431 ")


def test_hundreds_of_offers_in_one_packet_are_all_answered() -> None:
    offer = head("GET /healthz HTTP/1.1", b"Connection: Upgrade\r\nUpgrade: h2c\r\n")

    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            writer.write(offer * 600)
            for _ in range(600):
                assert (await answer(reader))[0] == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    "lines", [b"Connection: Upgrade\r\nConnection: keep-alive\r\n", b"Connection: keep-alive, Upgrade\r\n"]
)
def test_a_body_behind_an_offer_is_never_taken_for_a_request(lines: bytes) -> None:
    body = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    more = lines + b"Upgrade: h2c\r\nContent-Length: %d\r\n" % len(body)

    async def run() -> None:
        async with served() as server, connected(server) as (reader, writer):
            writer.write(head("POST /api/stream/task HTTP/1.1", more))
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(body)
            assert (await answer(reader))[0] == 422
            writer.write(head("GET /healthz HTTP/1.1"))
            assert (await answer(reader))[0] == 200
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)

    asyncio.run(run())


def test_a_websocket_offered_on_two_lines_opens() -> None:
    more = (
        b"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )

    async def run() -> bytes:
        async with served() as server, connected(server) as (reader, writer):
            writer.write(head("GET /api/stream/ws HTTP/1.1", more))
            return await reader.readline()

    assert b" 101 " in asyncio.run(run())


@pytest.mark.parametrize(
    "more", [b"Expect: 100-continue\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"]
)
def test_http_1_0_knows_neither_continue_nor_upgrades(more: bytes) -> None:
    async def run() -> None:
        async with served(speed=50) as server, connected(server) as (reader, writer):
            writer.write(sized(more, version="1.0"))
            status, _, body = await answer(reader)
            assert (status, json.loads(body)["status"]) == (200, "completed")

    asyncio.run(run())
