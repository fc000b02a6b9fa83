"""Clients from npm that nobody here wrote: openai-node, the AI SDK, fetch-event-source, eventsource."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from facilitair.config import ServerConfig
from tests.live import brain, until

from .harness import KEY, STEADY, Served, ran, served

NPM: Final = Path(__file__).with_name("npm")
NODE: Final = shutil.which("node")
THERE: Final = NODE is not None and (NPM / "node_modules").is_dir()
ALONE: Final = {"task": "Sort a list", "models": "openai/brief", "strategy": "alone"}

pytestmark = pytest.mark.skipif(
    not THERE and "CI" not in os.environ, reason="needs Node.js 20 and npm, and then `make .setup/npm`"
)


async def played(at: Served, script: str, **env: str) -> Any:
    """Run a script of `npm` against the server and return what its client saw."""
    assert NODE is not None, "CI has Node.js"
    return json.loads(await ran(NODE, str(NPM / script), URL_=at.url, KEY=KEY, **env))


def test_openai_node_gets_the_answer_its_usage_and_errors_and_stops_what_it_leaves() -> None:
    async def run() -> None:
        async with served(script=brain()) as at:
            seen = await played(at, "openai.mjs")
            assert seen["whole"] == seen["streamed"] == "One thing. Another thing."
            assert seen["whole_usage"]["completion_tokens"] > 0
            assert seen["streamed_usage"]["completion_tokens"] == seen["whole_usage"]["completion_tokens"]
            assert (seen["refused"]["kind"], seen["refused"]["status"]) == ("NotFoundError", 404)
            assert "facilitair/balanced" in seen["refused"]["message"]
            assert seen["chunks"] == 2
            await until(lambda: not at.runs.active())  # the one that was left has been stopped
            assert len(at.runs.directory.records()) == 3

    asyncio.run(run())


def test_the_ai_sdk_shows_the_debate_as_reasoning_and_repeats_no_failed_run() -> None:
    async def run() -> None:
        async with served(script=brain()) as at:
            seen = await played(at, "ai.mjs")
            assert seen["good"]["text"] == "One thing. Another thing."
            assert "**writer**" in seen["good"]["reasoning"]
            assert seen["good"]["errors"] == []
            assert seen["failed"]["errors"]
            assert len(at.runs.directory.records()) == 2

    asyncio.run(run())


@pytest.mark.parametrize("path", ["events", "collaborate"])
def test_fetch_event_source_gets_every_event_once_and_nothing_else(path: str) -> None:
    async def run() -> None:
        async with served(ServerConfig(port=0, heartbeat_s=0.05), brain()) as at:
            if path == "events":
                place = f"/api/stream/events/{await at.start(ALONE)}"
            else:
                place = "/api/collaborate/stream?task=Sort&strategy=alone&models=openai/brief"
            seen = await played(at, "fetch_event_source.mjs", PATH_=place)
            (record,) = at.runs.directory.records()
            assert (seen["opened"], seen["unreadable"]) == (1, 0)
            assert (seen["types"][0], seen["types"][-1]) == ("task_started", "task_completed")
            assert seen["ids"] == sorted(set(seen["ids"]))
            assert seen["ids"][-1] == record.log.last_seq

    asyncio.run(run())


def test_eventsource_comes_back_with_its_ticket_and_stops_at_the_end() -> None:
    async def run() -> None:
        async with served(script=brain()) as at:
            stream_id = await at.start({**STEADY, "models": "openai/brief"})
            ticket = (await at.http.post("/api/stream/ticket", json={"stream_id": stream_id})).json()[
                "ticket"
            ]
            place = f"/api/stream/events/{stream_id}?ticket={ticket}"
            types = ",".join(sorted({sse.event async for sse, _ in at.watch(stream_id)}))
            seen = await played(at, "eventsource.mjs", PATH_=place, TYPES=types)
            assert seen["closed"]
            assert seen["connections"] == 3  # cut; to the end; told that there is no more
            assert seen["ids"] == sorted(set(seen["ids"]))
            assert seen["ids"][-1] == at.runs.directory.records()[0].log.last_seq

    asyncio.run(run())
