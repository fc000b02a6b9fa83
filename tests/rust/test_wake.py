"""How a `Mux` wakes the loop that waits for it."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Callable, Coroutine

import pytest

from facilitair_rust import HttpClient, Mux

NewLoop = Callable[[], asyncio.AbstractEventLoop]

SOON = 20.0


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
