"""Our own code never keeps the event loop: no step of it takes more than 50 ms of its thread's CPU time.

The one timed assertion among the tests. It counts CPU time of the loop's thread, so that a busy machine fails nothing,
and leaves out what the collector takes. Where more has to be done at once, it is done in a thread or in Rust.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from asyncio.events import Handle
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import websockets

import facilitair
from facilitair import Client, Config
from facilitair.config import ServerConfig
from facilitair.simulator.brain import Brain, Script

from .live import alone, provided
from .server.harness import BRIEF, KEY, served

LIMIT_S: Final = 0.05
PACKAGE: Final = str(Path(facilitair.__file__).parent)


def places(handle: Handle) -> list[str]:
    """Return where a callback of the loop will run: the frames that its task waits in, or the callback itself."""
    callback: Any = getattr(handle, "_callback", None)
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        waits: Any = task.get_coro()
        found: list[str] = []
        while waits is not None:
            code = getattr(waits, "cr_code", None) or getattr(waits, "ag_code", None)
            if code is not None:
                found.append(f"{code.co_filename}:{code.co_qualname}")
            waits = getattr(waits, "cr_await", None) or getattr(waits, "ag_await", None)
        return found
    code = getattr(callback, "__code__", None)
    return [] if code is None else [f"{code.co_filename}:{code.co_qualname}"]


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """Give the longest step of each place in our own code, in seconds of CPU."""
    longest: dict[str, float] = {}
    collecting = 0.0
    run = Handle._run

    def collect(phase: str, _: object) -> None:
        nonlocal collecting
        collecting += -time.thread_time() if phase == "start" else time.thread_time()

    def measured(handle: Handle) -> None:
        ours = [place for place in places(handle) if place.startswith(PACKAGE)]
        began, before = time.thread_time(), collecting
        run(handle)
        took = time.thread_time() - began - (collecting - before)
        if ours:
            longest[ours[-1]] = max(took, longest.get(ours[-1], 0.0))

    gc.callbacks.append(collect)
    monkeypatch.setattr(Handle, "_run", measured)
    try:
        yield longest
    finally:
        monkeypatch.undo()
        gc.callbacks.remove(collect)


def check(longest: dict[str, float]) -> None:
    assert longest, "nothing of ours ran, so nothing was measured"
    slow = {place: round(took, 3) for place, took in longest.items() if took > LIMIT_S}
    assert not slow, f"steps of more than {LIMIT_S} s: {slow}"


def test_the_detector_finds_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with Client(Config(), env={}) as client:
            monkeypatch.setattr("facilitair.client.make_plan", lambda *_: spin())
            with pytest.raises(ZeroDivisionError):
                await client.run("Sort a list")

    def spin() -> None:
        until = time.thread_time() + 2 * LIMIT_S
        while time.thread_time() < until:
            pass
        raise ZeroDivisionError

    with watched(monkeypatch) as longest:
        asyncio.run(run())
    with pytest.raises(AssertionError, match="steps of more than"):
        check(longest)


def test_a_run_of_the_library_keeps_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with provided() as (_, client):
            await client.run("Sort a list", strategy=alone("brief"))
            async with aclosing(client.collaborate("Sort a list").batches()) as batches:
                async for _ in batches:
                    pass

    with watched(monkeypatch) as longest:
        asyncio.run(run())
    check(longest)


def test_the_first_run_without_any_key_keeps_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts the simulator, and asks for local servers."""

    async def run() -> None:
        async with Client(
            Config(), env={"FACILITAIR_SIMULATE": "1", "FACILITAIR_SIMULATOR_SPEED": "200"}
        ) as client:
            await client.run("Sort a list", max_tokens=100_000)

    with watched(monkeypatch) as longest:
        asyncio.run(run())
    check(longest)


def test_a_server_with_viewers_of_every_kind_keeps_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long texts, a small ring and so snapshots, SSE, WebSocket and `/v1`, and a context of a megabyte."""
    text = " ".join(f"Sentence number {n} goes on and ends, with é and 𝄞 in it." for n in range(700))
    brain = Brain({"brief": Script(text=text, ttft_s=0.01, tokens_per_s=20_000)})

    async def run() -> None:
        async with served(ServerConfig(port=0, ring_events=50), script=brain) as server:
            big = {**BRIEF, "strategy": "alone", "context": {"notes": "x" * 1_000_000}}
            stream_id = await server.start(big)

            async def socket() -> int:
                address = f"{server.url.replace('http', 'ws')}/api/stream/ws?stream_id={stream_id}"
                async with websockets.connect(
                    address, additional_headers={"X-API-Key": KEY}, max_size=None
                ) as connection:
                    count = 0
                    async for message in connection:
                        count += 1
                        if json.loads(message)["type"] in ("task_completed", "task_error"):
                            break
                    return count

            async def openai() -> str:
                body = {
                    "model": "alone",
                    "facilitair": {"models": "openai/brief"},
                    "messages": [{"role": "user", "content": "Sort"}],
                    "stream": True,
                }
                answer = await server.http.post("/v1/chat/completions", json=body)
                return answer.text

            seen = await asyncio.gather(*(server.events(stream_id) for _ in range(10)), socket(), openai())
            late = await server.events(stream_id)
            assert all(seen)
            assert late

    with watched(monkeypatch) as longest:
        asyncio.run(run())
    # The provider's stand-in reads the megabyte six times in our loop; a real one is another process.
    check({place: took for place, took in longest.items() if not place.startswith(f"{PACKAGE}/simulator/")})
