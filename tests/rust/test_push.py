"""Streams that the program itself writes: through `PushStream`, and from async iterators."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facilitair_rust as fr
from facilitair.sources import feed


async def read(mux: fr.Mux) -> dict[int, list[fr.Delta]]:
    found: dict[int, list[fr.Delta]] = {}
    async with asyncio.timeout(20):
        async for batch in mux:
            for delta in batch:
                found.setdefault(delta.stream, []).append(delta)
    return found


def text(deltas: list[fr.Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, fr.Content))


def test_pushed_text_arrives_with_its_reasoning_and_its_end() -> None:
    async def run() -> list[fr.Delta]:
        mux = fr.HttpClient().mux()
        stream = mux.push_stream()
        assert stream.push_reasoning("Hm. ")
        assert stream.push("Yes")
        assert stream.push(", yes.")
        stream.finish("stop", fr.Usage(input_tokens=3, output_tokens=2), "some-model")
        assert stream.closed
        assert not stream.push("late")
        return (await read(mux))[stream.stream]

    reasoning, content, end = asyncio.run(run())
    assert isinstance(reasoning, fr.Reasoning)
    assert reasoning.text == "Hm. "
    assert isinstance(content, fr.Content)
    assert (content.text, content.chunks) == ("Yes, yes.", 2)
    assert isinstance(end, fr.Finished)
    assert (end.reason, end.model) == ("stop", "some-model")
    assert end.usage == fr.Usage(input_tokens=3, output_tokens=2)


def test_a_full_stream_takes_more_when_it_was_read() -> None:
    async def run() -> tuple[int, str]:
        mux = fr.HttpClient().mux(buffered_bytes=1000)
        stream = mux.push_stream()
        pushed = 0
        while stream.push("abcdefgh"):
            pushed += 1
        room = stream.room()
        assert not room.done()
        found = text(mux.take())
        assert room.done()
        assert stream.push("more")
        stream.finish()
        found += text((await read(mux))[stream.stream])
        return pushed, found

    pushed, found = asyncio.run(run())
    assert 100 < pushed < 130
    assert found == "abcdefgh" * pushed + "more"


@pytest.mark.parametrize("end", ["close_stream", "close"])
def test_who_waits_for_room_hears_that_the_reader_stopped(end: str) -> None:
    async def run() -> None:
        mux = fr.HttpClient().mux(buffered_bytes=100)
        stream = mux.push_stream()
        while stream.push("x" * 50):
            pass
        room = stream.room()
        if end == "close":
            mux.close()
        else:
            mux.close_stream(stream.stream)
        async with asyncio.timeout(5):
            await room
        assert stream.closed

    asyncio.run(run())


def test_a_failure_names_a_known_code() -> None:
    async def run() -> list[fr.Delta]:
        mux = fr.HttpClient().mux()
        stream = mux.push_stream()
        with pytest.raises(ValueError, match=r'no error code "oops"; use one of invalid_request'):
            stream.fail("oops", "what")
        stream.fail("rate_limited", "slow down", status=429, retry_after_s=2.0, retryable=True)
        return (await read(mux))[stream.stream]

    [failed] = asyncio.run(run())
    assert isinstance(failed, fr.Failed)
    assert (failed.error.code, failed.error.status, failed.error.retry_after_s) == ("rate_limited", 429, 2.0)


def test_a_dropped_stream_is_truncated() -> None:
    async def run() -> dict[int, list[fr.Delta]]:
        mux = fr.HttpClient().mux()
        mux.push_stream().push("half a sen")
        return await read(mux)

    [[content, failed]] = asyncio.run(run()).values()
    assert isinstance(content, fr.Content)
    assert isinstance(failed, fr.Failed)
    assert failed.error.code == "truncated"


def test_threads_may_push() -> None:
    async def run() -> dict[int, list[fr.Delta]]:
        mux = fr.HttpClient().mux()

        def write(stream: fr.PushStream) -> None:
            for number in range(2000):
                while not stream.push(f"{number} "):
                    pass
            stream.finish()

        threads = [threading.Thread(target=write, args=(mux.push_stream(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            return await read(mux)
        finally:
            for thread in threads:
                thread.join()

    found = asyncio.run(run())
    assert len(found) == 4
    assert all(text(deltas) == "".join(f"{n} " for n in range(2000)) for deltas in found.values())


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.tuples(st.text(max_size=30), st.booleans()), max_size=40), min_size=1, max_size=5),
    st.integers(1, 300),
)
def test_iterators_arrive_whole_and_in_order(sources: list[list[tuple[str, bool]]], limit: int) -> None:
    async def pieces(source: list[tuple[str, bool]]) -> AsyncIterator[str]:
        for piece, waits in source:
            if waits:
                await asyncio.sleep(0)
            yield piece

    async def run() -> list[tuple[str, fr.Delta]]:
        mux = fr.HttpClient().mux(buffered_bytes=limit)
        async with asyncio.TaskGroup() as tasks:
            streams = [mux.push_stream() for _ in sources]
            ids = [stream.stream for stream in streams]
            for stream, source in zip(streams, sources, strict=True):
                tasks.create_task(feed(stream, pieces(source)))
            found = await read(mux)
        return [(text(found[name]), found[name][-1]) for name in ids]

    for (whole, end), source in zip(asyncio.run(run()), sources, strict=True):
        assert whole == "".join(piece for piece, _ in source)
        assert isinstance(end, fr.Finished)


def test_an_iterator_that_raises_fails_its_stream_and_no_other() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "so far "
        raise OSError("the other side is gone")

    async def whole() -> AsyncIterator[str]:
        yield "all"

    async def run() -> dict[int, list[fr.Delta]]:
        mux = fr.HttpClient().mux()
        feeds = [asyncio.create_task(feed(mux.push_stream(), source)) for source in (broken(), whole())]
        found = await read(mux)
        with pytest.raises(OSError, match="gone"):
            await feeds[0]
        await feeds[1]
        return found

    first, second = asyncio.run(run()).values()
    assert text(first) == "so far "
    assert isinstance(first[-1], fr.Failed)
    assert "OSError: the other side is gone" in first[-1].error.message
    assert text(second) == "all"


def test_a_cancelled_feed_ends_its_stream() -> None:
    async def endless() -> AsyncIterator[str]:
        yield "begun"
        await asyncio.Event().wait()

    async def run() -> list[fr.Delta]:
        mux = fr.HttpClient().mux()
        stream = mux.push_stream()
        feeding = asyncio.create_task(feed(stream, endless()))
        await mux.wait()
        feeding.cancel()
        return (await read(mux))[stream.stream]

    deltas = asyncio.run(run())
    assert text(deltas) == "begun"
    assert isinstance(deltas[-1], fr.Failed)
    assert deltas[-1].error.code == "truncated"
