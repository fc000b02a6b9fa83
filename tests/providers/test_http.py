"""The transport over real sockets: what arrives, who wakes it, and that leaving stops the provider."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest

from facilitair.providers.http import HttpTransport
from facilitair.transport import Channel, Delta, HttpRequest, Transport
from facilitair_rust import Closed, Content, Failed, Finished, Timeouts

from .servers import Server, answering, chat, event, serving, streaming

LIVENESS_S = 20.0
WORD = event('{"choices":[{"index":0,"delta":{"content":"word "}}]}')


def request(server: Server, **headers: str) -> HttpRequest:
    return HttpRequest(
        url=f"{server.url}/v1/chat/completions",
        headers={"content-type": "application/json", **headers},
        body=b'{"stream":true}',
        timeouts=Timeouts(),
    )


async def drain(channel: Channel, streams: int = 1) -> list[Delta]:
    """Receive until that many streams have ended."""
    deltas: list[Delta] = []
    async with asyncio.timeout(LIVENESS_S):
        while sum(isinstance(delta, Finished | Failed | Closed) for delta in deltas) < streams:
            deltas += await channel.recv(None)
    return deltas


def text(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Content))


@pytest.fixture
def transport() -> Transport:
    return HttpTransport()


def test_a_stream_arrives_with_its_usage(transport: Transport) -> None:
    async def run() -> None:
        async with serving(chat("Hello ", "you")) as server:
            channel = transport.channel()
            stream = channel.open(request(server, authorization="Bearer key-of-the-test"))
            deltas = await drain(channel)
            await channel.aclose()

        end = deltas[-1]
        assert isinstance(end, Finished)
        assert (end.stream, end.reason, text(deltas)) == (stream, "stop", "Hello you")
        assert end.usage is not None
        assert (end.usage.input_tokens, end.usage.output_tokens, end.usage.cost_usd) == (7, 2, 0.25)
        assert server.heads[0].startswith("POST /v1/chat/completions HTTP/1.1\r\n")
        assert "authorization: bearer key-of-the-test" in server.heads[0].lower()
        assert server.bodies == [b'{"stream":true}']

    asyncio.run(run())


def test_many_streams_are_merged_and_each_ends_once(transport: Transport) -> None:
    async def run() -> None:
        async with serving(chat(*"abcdef")) as server:
            channel = transport.channel()
            streams = [channel.open(request(server)) for _ in range(8)]
            deltas = await drain(channel, len(streams))
            await channel.aclose()

        ends = [delta.stream for delta in deltas if isinstance(delta, Finished)]
        assert sorted(ends) == sorted(streams)
        for stream in streams:
            assert text([delta for delta in deltas if delta.stream == stream]) == "abcdef"

    asyncio.run(run())


def test_a_refused_connection_is_a_delta_and_not_an_exception(transport: Transport) -> None:
    async def run() -> None:
        channel = transport.channel()
        channel.open(request(Server(port=1)))
        end = (await drain(channel))[-1]
        await channel.aclose()

        assert isinstance(end, Failed)
        assert (end.error.code, end.error.retryable) == ("connect_failed", True)

    asyncio.run(run())


def test_an_error_answer_is_a_delta_without_the_key(transport: Transport) -> None:
    async def run() -> None:
        async with serving(answering(b'{"error":{"message":"no such key"}}', "401 Unauthorized")) as server:
            channel = transport.channel()
            channel.open(request(server, authorization="Bearer key-of-the-test"))
            end = (await drain(channel))[-1]
            await channel.aclose()

        assert isinstance(end, Failed)
        assert (end.error.code, end.error.status) == ("auth_failed", 401)
        assert "key-of-the-test" not in end.error.message + repr(end) + repr(end.error)

    asyncio.run(run())


def test_recv_returns_empty_when_its_time_comes(transport: Transport) -> None:
    async def run() -> None:
        channel = transport.channel()
        until = transport.clock.now() + 0.05
        async with asyncio.timeout(LIVENESS_S):
            assert await channel.recv(until) == []
        assert transport.clock.now() >= until
        assert await channel.recv(until) == []  # a time gone by is no error
        await channel.aclose()

    asyncio.run(run())


def test_wake_ends_a_waiting_recv(transport: Transport) -> None:
    async def run() -> None:
        channel = transport.channel()
        waiting = asyncio.create_task(channel.recv(None))
        await asyncio.sleep(0.01)
        channel.wake()
        async with asyncio.timeout(LIVENESS_S):
            assert await waiting == []
        await channel.aclose()

    asyncio.run(run())


def test_a_cancelled_recv_loses_nothing(transport: Transport) -> None:
    async def run() -> None:
        async with serving(chat(*"abcdefgh")) as server:
            channel = transport.channel()
            channel.open(request(server))
            deltas: list[Delta] = []
            attempts = 0
            async with asyncio.timeout(LIVENESS_S):
                while not any(isinstance(delta, Finished) for delta in deltas):
                    attempts += 1
                    waiting = asyncio.create_task(channel.recv(None))
                    for _ in range(attempts % 5):  # cancel it at each of its steps in turn
                        await asyncio.sleep(0)
                    waiting.cancel()
                    outcome = (await asyncio.gather(waiting, return_exceptions=True))[0]
                    deltas += outcome if isinstance(outcome, list) else []
            await channel.aclose()

        assert text(deltas) == "abcdefgh"

    asyncio.run(run())


def test_the_loop_gets_its_turn_under_a_steady_flow(transport: Transport) -> None:
    async def run() -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with serving(streaming(*[WORD] * 2_000)) as server:
            channel = transport.channel()
            channel.open(request(server))
            task = asyncio.create_task(other())
            counts = []
            ended = False
            async with asyncio.timeout(LIVENESS_S):
                while not ended:
                    ended = any(isinstance(delta, Failed) for delta in await channel.recv(None))
                    counts.append(turns)
            task.cancel()
            await channel.aclose()

        assert all(later > earlier for earlier, later in pairwise(counts))

    asyncio.run(run())


def test_closing_a_stream_gives_what_had_arrived_and_leaves_the_server(transport: Transport) -> None:
    async def run() -> None:
        gone = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + WORD)
            await writer.drain()
            while True:  # a connection that the client has closed fails to write
                await asyncio.sleep(0.01)
                writer.write(b": keep-alive\n\n")
                try:
                    await writer.drain()
                except ConnectionError:
                    gone.set()
                    raise

        async with serving(answer) as server:
            channel = transport.channel()
            stream = channel.open(request(server))
            async with asyncio.timeout(LIVENESS_S):
                first = await channel.recv(None)
                channel.close_stream(stream)
                channel.close_stream(stream)
                channel.close_stream(stream + 99)
                rest = await drain(channel)
                await gone.wait()
            await channel.aclose()

        assert text([*first, *rest]) == "word "
        assert [type(delta) for delta in rest] == [Closed]

    asyncio.run(run())


def test_closing_the_channel_leaves_every_server(transport: Transport) -> None:
    async def run() -> None:
        left = 0
        both = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            nonlocal left
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + WORD)
            try:
                while True:
                    await asyncio.sleep(0.01)
                    writer.write(b": keep-alive\n\n")
                    await writer.drain()
            finally:
                left += 1
                if left == 2:
                    both.set()

        async with serving(answer) as server:
            channel = transport.channel()
            for _ in range(2):
                channel.open(request(server))
            async with asyncio.timeout(LIVENESS_S):
                await channel.recv(None)
                await channel.aclose()
                await channel.aclose()
                await both.wait()

    asyncio.run(run())
