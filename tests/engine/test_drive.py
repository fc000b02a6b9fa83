"""Driving a run: whoever iterates drives, and however it is left, it has one end and no open stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from msgspec.structs import replace

from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.engine.drive import drive
from facilitair.engine.influence import Situation
from facilitair.engine.plan import Plan
from facilitair.simulator.brain import Brain
from facilitair.simulator.script import ScriptChannel, ScriptTransport
from facilitair.stream import NOBODY, Cancel, EventStream, Say
from facilitair.transport import Delta, HttpRequest

from .harness import TEXT, apart, chain, check, planned, says

PLAN = planned(chain("a", "b"))


class Channel(ScriptChannel):
    """A channel that knows which streams were not closed, and how often it was waited for."""

    def __init__(self, transport: ScriptTransport, brain: Brain) -> None:
        super().__init__(brain, transport.clock, transport.requests)
        self.open_streams: set[int] = set()
        self.waits = 0

    def open(self, request: HttpRequest) -> int:
        stream = super().open(request)
        self.open_streams.add(stream)
        return stream

    def close_stream(self, stream: int) -> None:
        self.open_streams.discard(stream)
        super().close_stream(stream)

    async def recv(self, until: float | None) -> list[Delta]:
        self.waits += 1
        return await super().recv(until)


class Driven:
    """A run that is being driven, and all that it gave."""

    def __init__(self, plan: Plan = PLAN) -> None:
        brain = Brain({n: says(TEXT) for n in ("a", "b", "synthesizer")})
        transport = ScriptTransport(brain, VirtualClock())
        self.clock = transport.clock
        self.channel = Channel(transport, brain)
        self.stream = EventStream()
        self.batches: AsyncGenerator[list[ev.AnyEvent]] = drive(plan, self.channel, self.clock, self.stream)
        self.events: list[ev.AnyEvent] = []

    async def follow(self, batches: int | None = None) -> None:
        """Take so many batches, or all."""
        taken = 0
        async for batch in self.batches:
            assert batch  # an empty one wakes a consumer for nothing
            self.events += batch
            taken += 1
            if taken == batches:
                return

    def rest(self) -> ev.AnyEvent:
        """Take what is left and return the end."""
        self.events += self.stream.drain()
        check(self.events)
        return self.events[-1]


def test_a_run_is_driven_to_its_end() -> None:
    driven = Driven()
    asyncio.run(driven.follow())
    assert isinstance(driven.rest(), ev.TaskCompletedEvent)


def test_the_run_goes_no_further_than_its_consumer() -> None:
    async def follow() -> tuple[Driven, int, float]:
        driven = Driven()
        await driven.follow(3)
        waits, now = driven.channel.waits, driven.clock.now()
        await asyncio.sleep(0)
        assert (driven.channel.waits, driven.clock.now()) == (waits, now)
        await driven.follow()
        return driven, waits, now

    driven, waits, now = asyncio.run(follow())
    assert driven.channel.waits > waits
    assert driven.clock.now() > now


def test_who_leaves_finds_the_end_in_the_stream_and_no_stream_open() -> None:
    async def leave() -> Driven:
        driven = Driven()
        await driven.follow(5)
        assert driven.channel.open_streams
        await driven.batches.aclose()
        return driven

    driven = asyncio.run(leave())
    end = driven.rest()
    assert isinstance(end, ev.TaskCancelledEvent)
    assert end.reason == NOBODY
    assert driven.channel.open_streams == set()


def test_a_task_that_is_cancelled_leaves_an_end_as_well() -> None:
    driven = Driven()

    async def cancelled() -> None:
        await driven.follow(5)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await driven.follow()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert isinstance(driven.rest(), ev.TaskCancelledEvent)
    assert driven.channel.open_streams == set()


def test_what_a_run_is_told_before_it_begins_comes_first() -> None:
    driven = Driven()
    driven.stream.inbox.put(Cancel("never mind"))
    asyncio.run(driven.follow())
    end = driven.rest()
    assert isinstance(end, ev.TaskCancelledEvent)
    assert [type(e) for e in driven.events] == [ev.TaskCancelledEvent]
    assert driven.channel.waits == 0


def test_what_it_is_told_is_done_before_it_waits_again() -> None:
    async def told() -> Driven:
        driven = Driven()
        await driven.follow(4)
        waits = driven.channel.waits
        driven.stream.inbox.put(Say("look here"))
        driven.stream.inbox.put(Cancel("enough"))
        await driven.follow()
        assert driven.channel.waits == waits
        return driven

    driven = asyncio.run(told())
    end = driven.rest()
    assert isinstance(end, ev.TaskCancelledEvent)
    assert end.reason == "enough"
    assert "look here" in driven.stream.state.messages


def test_what_is_due_at_a_time_is_done_though_nobody_sends() -> None:
    driven = Driven(planned(apart(a="a+slow=9")))
    asyncio.run(driven.follow())
    driven.rest()
    waits = [e.ts for e in driven.events if isinstance(e, ev.AgentThinkingEvent)]
    assert waits == pytest.approx([2.0, 4.0, 6.0, 8.0])


class Broken:
    """A policy with a mistake in it."""

    def allows(self, situation: Situation) -> bool:
        raise ZeroDivisionError

    def concerns(self, news: Sequence[str], own: Sequence[str]) -> bool:
        raise ZeroDivisionError


def test_a_mistake_of_ours_ends_the_events_before_it_is_raised() -> None:
    driven = Driven(replace(PLAN, policy=Broken()))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(driven.follow())
    end = driven.events[-1]
    assert isinstance(end, ev.TaskErrorEvent)
    assert end.code == "internal"
    assert "ZeroDivisionError" in end.message
    assert driven.channel.open_streams == set()
    assert driven.rest() is end
