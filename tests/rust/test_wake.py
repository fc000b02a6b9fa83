"""How a `Mux` wakes the loop that waits for it: one bell for all on a loop, no wake lost, nothing left behind.

Who feeds waits until everything was read before it goes on, so that each piece needs a wake of its own, and a lost one
would be the last.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from facilitair_rust import Content, Delta, HttpClient, Mux

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

NewLoop = Callable[[], asyncio.AbstractEventLoop]

SOON = 20.0
FILES = Path("/proc/self/fd")


class Unwatching(asyncio.SelectorEventLoop):
    """Like Windows' proactor loop, which cannot watch sockets for others."""

    def add_reader(self, *_args: object) -> None:
        raise NotImplementedError


def unwatching() -> asyncio.AbstractEventLoop:
    loop = asyncio.SelectorEventLoop()
    # asyncio's own start needs what is taken away here.
    loop.__class__ = Unwatching
    return loop


def uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    return loop


WATCHING = [
    pytest.param(asyncio.SelectorEventLoop, id="asyncio"),
    pytest.param(
        uvloop,
        id="uvloop",
        marks=pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="needs uvloop"),
    ),
]
ALL = [*WATCHING, pytest.param(unwatching, id="unwatching")]


def run(work: Coroutine[None, None, None], new_loop: NewLoop = asyncio.SelectorEventLoop) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(work, SOON))


def sockets() -> int:
    found = 0
    for file in FILES.iterdir():
        with suppress(FileNotFoundError):  # what listed them
            found += str(file.readlink()).startswith("socket:")
    return found


class Exchange:
    """Pushed streams, each of a `Mux` of its own, and how much of each was read."""

    def __init__(self, client: HttpClient, count: int) -> None:
        self.muxes = [client.mux() for _ in range(count)]
        self.streams = [mux.push_stream() for mux in self.muxes]
        self.read = [0] * count

    async def read_all(self, patience: float | None = None) -> None:
        """Read until all streams have ended; who loses `patience` gives up the wait, and waits again."""
        await asyncio.gather(*(self._read(number, patience) for number in range(len(self.muxes))))

    async def _read(self, number: int, patience: float | None) -> None:
        while True:
            try:
                async with asyncio.timeout(patience):
                    batch = await anext(self.muxes[number])
            except TimeoutError:
                continue
            except StopAsyncIteration:
                return
            self.read[number] += sum(delta.chunks for delta in batch if isinstance(delta, Content))

    def feed(self, rounds: int) -> None:
        """Push one piece into each stream when all pieces before were read, and end the streams."""
        deadline = time.monotonic() + SOON / 2
        for pieces in range(1, rounds + 1):
            for stream in self.streams:
                stream.push("x")
            while min(self.read) < pieces and time.monotonic() < deadline:
                time.sleep(0)
        for stream in self.streams:
            stream.finish()


@contextmanager
def feeding(exchanges: Iterable[Exchange], rounds: int) -> Iterator[None]:
    threads = [threading.Thread(target=exchange.feed, args=(rounds,)) for exchange in exchanges]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
    assert all(exchange.read == [rounds] * len(exchange.read) for exchange in exchanges)


@pytest.mark.skipif(not FILES.is_dir(), reason="needs /proc")
@pytest.mark.parametrize("new_loop", WATCHING)
def test_many_multiplexers_share_a_bell(new_loop: NewLoop) -> None:
    async def work() -> None:
        client = HttpClient()
        before = sockets()
        exchange = Exchange(client, 100)
        reading = asyncio.create_task(exchange.read_all())
        await asyncio.sleep(0.01)
        assert sockets() == before + 2
        with feeding([exchange], 1):
            await reading
        assert sockets() == before + 2
        for mux in exchange.muxes:
            mux.close()
        await asyncio.sleep(0.01)
        assert sockets() == before

    run(work(), new_loop)


@pytest.mark.parametrize("patience", [None, 0.001])
@pytest.mark.parametrize("new_loop", ALL)
def test_no_wake_is_lost(new_loop: NewLoop, patience: float | None) -> None:
    async def work() -> None:
        client = HttpClient()
        for rounds in (1, 1, 1, 1, 200):  # also while they are tied, which the first wait does
            exchanges = [Exchange(client, count) for count in (1, 2, 5, 10)]
            with feeding(exchanges, rounds):
                await asyncio.gather(*(exchange.read_all(patience) for exchange in exchanges))

    run(work(), new_loop)


class Interrupted(asyncio.SelectorEventLoop):
    """Another thread gets its turn in the midst of a wait: where the loop is tied, or where a future is made."""

    def __init__(self) -> None:
        super().__init__()
        self.interruptions: dict[str, Callable[[], object]] = {}

    def _interrupt(self, name: str) -> None:
        if name in self.interruptions:
            thread = threading.Thread(target=self.interruptions.pop(name))
            thread.start()
            thread.join()

    def add_reader(self, fd: FileDescriptorLike, callback: Callable[..., object], *args: object) -> None:
        self._interrupt("add_reader")
        super().add_reader(fd, callback, *args)

    def create_future(self) -> asyncio.Future[object]:
        self._interrupt("create_future")
        return super().create_future()


@pytest.mark.parametrize("name", ["add_reader", "create_future"])
@pytest.mark.parametrize("end", ["push", "wake", "close"])
def test_a_wake_may_come_before_there_is_who_waits(name: str, end: str) -> None:
    loop = Interrupted()

    async def work() -> None:
        mux = HttpClient().mux()
        stream = mux.push_stream()
        wake = {"push": lambda: stream.push("x"), "wake": mux.wake, "close": mux.close}[end]
        loop.interruptions[name] = wake
        await mux.wait()
        assert not loop.interruptions
        assert len(mux.take()) == (end == "push")
        mux.close()

    run(work(), lambda: loop)


@pytest.mark.parametrize("new_loop", ALL)
def test_each_loop_has_a_bell(new_loop: NewLoop) -> None:
    client = HttpClient()
    exchanges = [Exchange(client, 5) for _ in range(3)]

    def read(exchange: Exchange) -> None:
        run(exchange.read_all(), new_loop)

    threads = [threading.Thread(target=read, args=(exchange,)) for exchange in exchanges]
    with feeding(exchanges, 200):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("new_loop", ALL)
def test_a_wake_waits_for_a_loop_that_stands_still(new_loop: NewLoop) -> None:
    async def next_batch() -> list[Delta]:
        return await anext(mux)

    mux = HttpClient().mux()
    stream = mux.push_stream()
    loop = new_loop()
    try:
        waiting = loop.create_task(next_batch())
        loop.run_until_complete(asyncio.sleep(0.01))
        thread = threading.Thread(target=stream.push, args=("x",))
        thread.start()
        thread.join()
        [content] = loop.run_until_complete(asyncio.wait_for(waiting, SOON))
        assert isinstance(content, Content)
        mux.close()
    finally:
        loop.close()


@pytest.mark.parametrize("end", ["close", "drop"])
@pytest.mark.parametrize("new_loop", ALL)
def test_one_that_rang_and_ended_takes_no_other_along(new_loop: NewLoop, end: str) -> None:
    async def wait(mux: Mux) -> None:
        await mux.wait()

    async def work() -> None:
        client = HttpClient()
        exchange = Exchange(client, 1)
        reading = asyncio.create_task(exchange.read_all())
        mux = client.mux()
        stream = mux.push_stream()
        waiting = asyncio.create_task(wait(mux))
        await asyncio.sleep(0.01)
        stream.push_reasoning("x")
        exchange.streams[0].push_reasoning("x")
        exchange.streams[0].finish()
        if end == "close":
            mux.close()
        else:
            waiting.cancel()
        del mux, stream
        await asyncio.wait([waiting, reading], timeout=SOON / 2)
        assert reading.done()

    run(work(), new_loop)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("new_loop", ALL)
def test_a_close_ends_a_wait_from_any_thread(new_loop: NewLoop, alone: bool) -> None:
    async def work() -> None:
        client = HttpClient()
        others = Exchange(client, 0 if alone else 2)
        reading = asyncio.create_task(others.read_all())
        for elsewhere in (True, False):
            mux = client.mux()
            mux.push_stream()  # held by nobody: its end comes first
            assert await anext(mux)
            stream = mux.push_stream()
            waiting = asyncio.ensure_future(batches(mux))
            await asyncio.sleep(0.01)
            if elsewhere:
                await asyncio.to_thread(mux.close)
            else:
                mux.close()
            assert await waiting == 0
            assert stream.closed
        with feeding([] if alone else [others], 1):
            await reading

    async def batches(mux: Mux) -> int:
        return len([batch async for batch in mux])

    run(work(), new_loop)


@pytest.mark.parametrize("new_loop", ALL)
def test_a_second_loop_is_refused_while_the_first_is_open(new_loop: NewLoop) -> None:
    async def wait(mux: Mux) -> None:
        async with asyncio.timeout(0.01):
            await mux.wait()

    mux = HttpClient().mux()
    first, second = new_loop(), new_loop()
    try:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                first.run_until_complete(wait(mux))
            with pytest.raises(RuntimeError, match="another event loop"):
                second.run_until_complete(wait(mux))
    finally:
        first.close()
        second.close()
    mux.close()


@pytest.mark.skipif(not FILES.is_dir(), reason="needs /proc")
@pytest.mark.parametrize("end", ["close", "drop", "keep", "abandon"])
@pytest.mark.parametrize("new_loop", ALL)
def test_a_closed_loop_leaves_nothing_behind(new_loop: NewLoop, end: str) -> None:
    """Whether the multiplexer ended before it, lives on, or is still waited on."""
    if end in {"keep", "abandon"} and new_loop is unwatching:
        pytest.skip("a loop that watches nothing does not say when it is closed")

    async def wait(mux: Mux) -> None:
        await mux.wait()

    async def work(mux: Mux) -> None:
        waiting = asyncio.create_task(wait(mux))
        await asyncio.sleep(0)
        if end != "abandon":
            waiting.cancel()
            await asyncio.wait([waiting])
        if end == "close":
            mux.close()

    client = HttpClient()
    kept, loops = [], []
    before = sockets()
    for _ in range(200):
        mux = client.mux()
        loop = new_loop()
        loop.set_exception_handler(lambda *_: None)  # for the abandoned
        loops.append(weakref.ref(loop))
        loop.run_until_complete(work(mux))
        loop.close()
        if end in {"keep", "abandon"}:
            kept.append(mux)
        del mux, loop
    gc.collect()
    assert sockets() == before
    assert [loop for loop in loops if loop() is not None] == []
    for mux in kept:
        with pytest.raises(RuntimeError, match="another event loop"):
            run(wait(mux), new_loop)


@pytest.mark.parametrize("new_loop", ALL)
def test_one_may_be_dropped_because_something_was_raised(new_loop: NewLoop) -> None:
    client = HttpClient()

    async def tied() -> Mux:
        mux = client.mux()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await mux.wait()
        return mux

    def fail() -> Mux:
        raise ValueError("the reason")

    async def work() -> None:
        with pytest.raises(ValueError, match="the reason") as caught:
            [await tied(), fail()]
        assert caught.value.__context__ is None

    run(work(), new_loop)


FORKED = """
import asyncio, os, threading, warnings
from facilitair_rust import HttpClient
warnings.simplefilter("ignore")

async def main():
    client = HttpClient()
    muxes = [client.mux() for _ in range(3)]
    streams = [mux.push_stream() for mux in muxes]
    waits = [asyncio.ensure_future(anext(mux)) for mux in muxes]
    await asyncio.sleep(0.01)
    child = os.fork()
    if child == 0:
        for mux in muxes:
            mux.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    await asyncio.sleep(0.01)
    for stream in streams:
        threading.Thread(target=stream.push, args=("x",)).start()
    print([batch[0].text for batch in await asyncio.wait_for(asyncio.gather(*waits), 10)])

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_bell_to_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "['x', 'x', 'x']\n"
