"""A client that is closed stops its runs at once and keeps nothing open."""

from __future__ import annotations

import asyncio

import pytest

import facilitair
from facilitair import events as ev

from .engine.harness import check
from .live import alone, provided, until
from .test_client import in_the_middle


@pytest.mark.parametrize("model", ["steady", "mute"])
def test_closing_the_client_stops_its_runs(model: str) -> None:
    async def run() -> None:
        async with provided() as (simulator, client):
            events: list[ev.AnyEvent] = []
            there = asyncio.Event()

            async def consume() -> None:
                async for event in client.collaborate("Sort a list", strategy=alone(model)):
                    events.append(event)
                    if await in_the_middle(model, simulator, event):
                        there.set()

            task = asyncio.create_task(consume())
            await there.wait()
            await client.aclose()
            await until(lambda: simulator.open_streams == 0)
            await task

            assert simulator.closed_early == 1
            assert isinstance(events[-1], ev.TaskErrorEvent | ev.TaskCancelledEvent)
            assert check(events).status != "completed"

    asyncio.run(run())


def test_a_client_that_is_closed_while_a_run_is_prepared_runs_nothing() -> None:
    async def run() -> None:
        async with provided() as (simulator, client):
            waiting = asyncio.create_task(client.run("Sort a list", strategy=alone("brief")))
            await asyncio.sleep(0)
            await client.aclose()
            with pytest.raises(facilitair.FacilitairError):
                await waiting
            assert simulator.requests == 0

    asyncio.run(run())


def test_a_closed_client_keeps_no_connection() -> None:
    async def run() -> None:
        async with provided() as (simulator, client):
            run = client.collaborate("Sort a list", strategy=alone("brief"))
            await run.result()
            await client.aclose()
            await until(lambda: simulator.stats["connections"] == 0)

    asyncio.run(run())


@pytest.mark.parametrize("argument", ["task", "section"])
def test_text_that_is_no_unicode_is_a_usage_error(argument: str) -> None:
    async def run() -> None:
        async with provided() as (_, client):
            call = {"task": "Sort \ud800"} if argument == "task" else {"task": "Sort", "sections": ["\ud800"]}
            with pytest.raises(facilitair.UsageError):
                await client.run(strategy=alone("brief"), **call)

    asyncio.run(run())
