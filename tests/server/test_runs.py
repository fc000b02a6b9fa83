"""The driver of runs: what breaks around one run costs no other, and who follows a log is never kept for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from facilitair import Client, Config
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.config import ServerConfig
from facilitair.fold import fold
from facilitair.server.directory import MemoryDirectory, RunRecord
from facilitair.server.limits import Slot
from facilitair.server.log import MemoryLog, MemoryWriter, Writer
from facilitair.server.reporting import Reporter
from facilitair.server.runs import Listener, LiveRun, Runs
from facilitair.server.schemas import Call
from facilitair.simulator.brain import Brain
from facilitair.simulator.script import ScriptTransport
from tests.engine.harness import says, sentences
from tests.live import until

from .harness import ALONE, folded

SETTINGS = ServerConfig(port=0, dollars_per_day=None)
CALL = Call("Sort a list", None, {"strategy": "alone", "models": {"coder": "simulator/a"}})
BRAIN = {"a": says(sentences("a", 30)), "synthesizer": says("Done."), "coder": says("x")}


class Quiet:
    """A listener that hears and does nothing."""

    def started(self, run: LiveRun) -> None: ...

    def spoke(self, run: LiveRun) -> None: ...

    def happened(self, run: LiveRun, notable: Sequence[ev.AnyEvent], count: int) -> None: ...

    def ended(self, run: LiveRun) -> None: ...


class Breaking:
    """A listener that raises in one of its methods."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __getattribute__(self, name: str) -> Any:
        def hear(*_: object) -> None:
            if name == object.__getattribute__(self, "_where"):
                raise ZeroDivisionError(name)

        return hear


class Directory(MemoryDirectory):
    """A directory whose logs break as told."""

    def __init__(self, fails: tuple[int, ...] = (), broken: str = "") -> None:
        super().__init__(SETTINGS)
        self._fails, self._broken = fails, broken

    async def add(self, stream_id: str, owner: str, cancel: Any) -> RunRecord:
        record = await super().add(stream_id, owner, cancel)
        record.log = _Log(self._fails)
        return record

    async def end(self, record: RunRecord, *, begun: bool) -> None:
        await super().end(record, begun=begun)
        if self._broken == "end":
            raise ConnectionError("the directory is gone")

    async def release(self, slot: Slot, cost_usd: float | None) -> None:
        await super().release(slot, cost_usd)
        if self._broken == "release":
            raise ConnectionError("the directory is gone")


class _Log(MemoryLog):
    def __init__(self, fails: tuple[int, ...]) -> None:
        super().__init__()
        self._fails = fails

    def writer(self) -> MemoryWriter:
        return cast("MemoryWriter", _Writer(super().writer(), self._fails))


class _Writer:
    """Raises for the appends with these numbers, counted from 1; a negative one is "from there on"."""

    def __init__(self, inner: Writer, fails: tuple[int, ...]) -> None:
        self._inner, self._fails, self._count = inner, fails, 0

    async def append(self, events: Sequence[ev.AnyEvent], standing: ev.RunState) -> None:
        self._count += 1
        if self._count in self._fails or any(number < 0 and self._count >= -number for number in self._fails):
            raise ConnectionError("the log is gone")
        await self._inner.append(events, standing)

    async def give_up(self) -> None:
        await self._inner.give_up()


Told = list[tuple[BaseException, Mapping[str, str]]]


@asynccontextmanager
async def driven(directory: MemoryDirectory, *listeners: Listener) -> AsyncIterator[tuple[Runs, Told]]:
    told: Told = []
    config = Config(strategy={"alone": ALONE}, server=SETTINGS)
    transport = ScriptTransport(Brain(BRAIN), VirtualClock())
    reporter = Reporter(lambda error, where: told.append((error, where)))
    async with asyncio.timeout(20), Client(config, env={}, transport=transport) as client:
        async with Runs(client, SETTINGS, directory, listeners, reporter) as runs:
            yield runs, told
        directory.close()


@pytest.mark.parametrize("where", ["started", "spoke", "happened", "ended"])
def test_a_listener_that_raises_costs_no_run(where: str) -> None:
    async def run() -> None:
        directory = MemoryDirectory(SETTINGS)
        async with driven(directory, cast("Listener", Breaking(where)), Quiet()) as (runs, told):
            first = await runs.start(CALL, "me", "key")
            second = await runs.start(CALL, "me")
            await until(lambda: runs.active() == 0)
            assert (await runs.start(CALL, "me", "key")).stream_id == first.stream_id
            assert [folded(record).status for record in (first, second)] == ["completed", "completed"]
            assert not runs.closing
            assert {type(error) for error, _ in told} == {ZeroDivisionError}

    asyncio.run(run())


@pytest.mark.parametrize("broken", ["end", "release"])
def test_a_directory_that_fails_at_the_end_of_a_run_costs_no_other(broken: str) -> None:
    async def run() -> None:
        async with driven(Directory(broken=broken)) as (runs, told):
            for _ in range(2):
                record = await runs.start(CALL, "me")
                await until(lambda: runs.active() == 0)
                assert folded(record).status == "completed"
            assert {type(error) for error, _ in told} == {ConnectionError}

    asyncio.run(run())


@pytest.mark.parametrize("fails", [(3,), (2,), (6,)])
def test_a_batch_whose_append_failed_once_is_written_with_the_end(fails: tuple[int, ...]) -> None:
    async def run() -> None:
        async with driven(Directory(fails)) as (runs, told):
            record = await runs.start(CALL, "me")
            await until(lambda: runs.active() == 0)
            events = [event async for batch in record.log.follow(0) for event in batch.events]
            assert [event.seq for event in events][-1] == record.log.last_seq
            assert isinstance(events[-1], ev.TERMINAL)
            assert fold(events) == folded(record)
            assert {type(error) for error, _ in told} == {ConnectionError}

    asyncio.run(run())


def test_viewers_of_a_log_that_cannot_be_written_are_not_kept() -> None:
    async def run() -> None:
        async with driven(Directory((-3,))) as (runs, told):
            record = await runs.start(CALL, "me")
            seen = [event async for batch in record.log.follow(0) for event in batch.events]
            assert seen
            assert not any(isinstance(event, ev.TERMINAL) for event in seen)
            await until(lambda: runs.active() == 0)
            assert {type(error) for error, _ in told} == {ConnectionError}

    asyncio.run(run())
