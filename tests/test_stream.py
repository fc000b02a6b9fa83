"""The owner of a run's events: what is said gets its envelope, every stream has one end, and nothing stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair import Client, Collaboration, Config
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.config import LimitsConfig
from facilitair.errors import SequenceError
from facilitair.fold import fold
from facilitair.simulator.brain import Brain
from facilitair.simulator.script import ScriptTransport
from facilitair.stream import NOBODY, Cancel, EventStream, Figures, Inbox

from .engine.harness import apart, chain, check, play, says, sentences

ENDED = ev.TaskCancelledEvent(reason="enough", partial="", usage=ev.Usage())


def started(chunk_id: str) -> ev.ChunkStartedEvent:
    return ev.ChunkStartedEvent(
        chunk_id=chunk_id,
        section="task",
        agent="coder",
        role="coder",
        model="m",
        description="",
        current=1,
        total=1,
        section_index=1,
        section_total=1,
    )


def token(chunk_id: str, tokens: str) -> ev.TokenStreamEvent:
    return ev.TokenStreamEvent(chunk_id=chunk_id, agent="coder", tokens=tokens)


def begun() -> tuple[EventStream, VirtualClock]:
    clock, events = VirtualClock(100.0), EventStream()
    events.begin(clock, lambda: None)
    return events, clock


class TestWhatIsSaid:
    def test_it_is_numbered_stamped_folded_and_handed_out_once(self) -> None:
        events, clock = begun()
        events.say(started("task/coder.1"))
        clock.advance_to(101.5)
        events.say(token("task/coder.1", "Hello"))

        said = events.drain()

        assert [(e.stream_id, e.seq, e.ts) for e in said] == [
            (events.stream_id, 1, 0.0),
            (events.stream_id, 2, 1.5),
        ]
        assert events.state.chunks["task/coder.1"].text == "Hello"
        assert events.drain() == []

    def test_two_runs_have_two_names(self) -> None:
        assert EventStream().stream_id != EventStream().stream_id

    def test_nothing_follows_the_end(self) -> None:
        events, _ = begun()
        events.end(ENDED)
        with pytest.raises(SequenceError, match="TokenStreamEvent cannot follow the end"):
            events.say(token("c", "late"))

    def test_a_second_end_says_nothing(self) -> None:
        events, _ = begun()
        events.end(ENDED)
        events.end(ev.TaskErrorEvent(code="internal", message="", partial="", usage=ev.Usage()))
        assert [type(e) for e in events.drain()] == [ev.TaskCancelledEvent]
        assert events.state.status == "cancelled"

    def test_what_is_open_is_closed_before_the_end(self) -> None:
        events, clock = begun()
        events.say(started("task/coder.1"))
        events.say(token("task/coder.1", "Half"))
        events.say(ev.SynthesisStreamEvent(section="task", tokens="Half an answer"))
        clock.advance_to(103.0)
        used = ev.Usage(input_tokens=10, output_tokens=1, estimated=True)

        events.end(ENDED, "deadline", {"task/coder.1": Figures(used, 0.5, 0.25)})

        *_, chunk, synthesis, end = events.drain()
        assert isinstance(chunk, ev.ChunkCompletedEvent)
        assert (chunk.content, chunk.finish_reason) == ("Half", "deadline")
        assert (chunk.usage, chunk.cost_usd, chunk.ttft_s, chunk.duration_s) == (used, 0.5, 0.25, 3.0)
        assert isinstance(synthesis, ev.SynthesisCompletedEvent)
        assert (synthesis.content, synthesis.finish_reason) == ("Half an answer", "deadline")
        assert isinstance(end, ev.TaskCancelledEvent)

    def test_what_a_snapshot_shows_lacks_the_end_alone(self) -> None:
        events, _ = begun()
        events.say(started("task/coder.1"))
        events.end(ENDED)

        assert (events.standing.status, events.state.status) == ("running", "cancelled")
        assert events.standing.chunks == events.state.chunks
        assert events.standing.seq == events.state.seq - 1


class TestWhatComesFromElsewhere:
    def test_what_was_seen_is_not_taken_again(self) -> None:
        events = EventStream("s", after=2)
        assert not events.take(ev.CacheMissEvent(stream_id="s", seq=2, reason=""))
        assert events.take(ev.CacheMissEvent(stream_id="s", seq=3, reason=""))
        assert not events.take(ev.CacheMissEvent(stream_id="s", seq=3, reason=""))

    def test_a_gap_is_told_and_a_merged_delivery_is_none(self) -> None:
        events = EventStream("s")
        merged = ev.TokenStreamEvent(stream_id="s", seq=4, first_seq=1, chunk_id="c", agent="a", tokens="x")
        assert events.take(merged)
        with pytest.raises(SequenceError, match="event 6 follows 4"):
            events.take(ev.CacheMissEvent(stream_id="s", seq=6, reason=""))

    def test_a_delivery_that_overlaps_what_was_there_is_told(self) -> None:
        events = EventStream("s", after=3)
        with pytest.raises(SequenceError, match="events 2 to 4 come together, but 3 was there"):
            events.take(
                ev.TokenStreamEvent(stream_id="s", seq=4, first_seq=2, chunk_id="c", agent="a", tokens="x")
            )

    def test_an_event_of_another_run_is_told(self) -> None:
        with pytest.raises(SequenceError, match="of another stream, 't'"):
            EventStream("s").take(ev.CacheMissEvent(stream_id="t", seq=1, reason=""))

    @pytest.mark.parametrize("seq", [1, 3, 100])
    def test_events_of_a_later_version_keep_the_order_too(self, seq: int) -> None:
        events = EventStream("s", after=1)
        later = ev.UnknownEvent(type="telepathy", seq=seq, raw=b"{}")
        if seq == 1:
            assert not events.take(later)
        else:
            with pytest.raises(SequenceError, match="cannot follow 1"):
                events.take(later)

    def test_a_snapshot_may_leap(self) -> None:
        events = EventStream("s")
        state = ev.RunState(stream_id="s", seq=40)
        assert events.take(ev.StateSnapshotEvent(stream_id="s", seq=40, state=state))
        assert events.take(ev.CacheMissEvent(stream_id="s", seq=41, reason=""))

    def test_events_of_a_later_version_have_their_place(self) -> None:
        events = EventStream("s")
        assert events.take(ev.UnknownEvent(type="telepathy", seq=1, raw=b"{}"))
        assert events.take(ev.CacheMissEvent(stream_id="s", seq=2, reason=""))

    def test_nothing_follows_the_end(self) -> None:
        events = EventStream("s")
        events.take(ev.TaskCancelledEvent(stream_id="s", seq=1, reason="", partial="", usage=ev.Usage()))
        with pytest.raises(SequenceError, match="follows the end of the run"):
            events.take(ev.CacheMissEvent(stream_id="s", seq=2, reason=""))


class TestTheInbox:
    def test_it_wakes_and_gives_each_command_once(self) -> None:
        woken: list[bool] = []
        inbox = Inbox(wake=lambda: woken.append(True))
        inbox.put(Cancel("first"))
        inbox.put(Cancel("second"))
        assert len(woken) == 2
        assert inbox.take() == [Cancel("first"), Cancel("second")]
        assert inbox.take() == []


# --- a whole run ---------------------------------------------------------------------------------------------------

SCRIPTS = {"a": says(sentences("a", 20)), "b": says(sentences("b", 20)), "synthesizer": says("Both agree.")}
GRAPH = chain("a", "b")


@given(st.integers(1, 60))
def test_a_run_that_is_left_anywhere_has_one_end_with_the_true_partial_and_usage(taken: int) -> None:
    """As when the task that drives it is cancelled, or its loop is left."""

    async def run() -> list[ev.AnyEvent]:
        transport = ScriptTransport(Brain(SCRIPTS), VirtualClock())
        async with Client(Config(), env={}, transport=transport) as client:
            collaboration = client.collaborate("Build a thing", strategy=GRAPH)
            events: list[ev.AnyEvent] = []
            batches = collaboration.batches()
            async for batch in batches:
                events += batch
                if len(events) >= taken:
                    break
            await batches.aclose()
            events += collaboration.rest()
            assert collaboration.state == fold(events)
            return events

    events = asyncio.run(run())
    state, end = check(events), events[-1]
    assert all(chunk.status == "completed" for chunk in state.chunks.values())
    if isinstance(end, ev.TaskCancelledEvent):
        assert end.reason == NOBODY
        written = [c for c in state.chunks.values() if c.text]
        assert bool(end.partial) == bool(written)
        # A synthesis has no chunk, so the run may have used more than its chunks.
        used = [c.usage for c in state.chunks.values() if c.usage is not None]
        assert len(used) == len(state.chunks)
        assert (end.usage.input_tokens or 0) >= sum(u.input_tokens or 0 for u in used)
        assert (end.usage.output_tokens or 0) >= sum(u.output_tokens or 0 for u in used)
        assert end.usage.output_tokens or not written


@pytest.mark.parametrize("taken", [1, 2, 3, 7, 20])
def test_who_leaves_in_the_middle_of_a_batch_gets_the_rest_of_it(taken: int) -> None:
    async def run() -> list[ev.AnyEvent]:
        transport = ScriptTransport(Brain(SCRIPTS), VirtualClock())
        async with Client(Config(), env={}, transport=transport) as client:
            collaboration = client.collaborate("Build a thing", strategy=GRAPH)
            events: list[ev.AnyEvent] = []
            async with aclosing(collaboration.__aiter__()) as stream:
                async for event in stream:
                    events.append(event)
                    if len(events) == taken:
                        break
            return events + collaboration.rest()

    check(asyncio.run(run()))


@pytest.mark.parametrize("broken", ["run.Run._figures", "budget.Budget.settle"])
def test_a_mistake_that_keeps_a_run_from_ending_in_order_ends_it_all_the_same(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def boom(*_: object) -> None:
        raise ZeroDivisionError

    async def consume(collaboration: Collaboration, events: list[ev.AnyEvent]) -> None:
        async for batch in collaboration.batches():
            events += batch
            if len(events) > 20:
                monkeypatch.setattr(f"facilitair.engine.{broken}", boom)
                collaboration.cancel("enough")

    async def run() -> list[ev.AnyEvent]:
        transport = ScriptTransport(Brain(SCRIPTS), VirtualClock())
        async with Client(Config(), env={}, transport=transport) as client:
            collaboration = client.collaborate("Build a thing", strategy=GRAPH)
            events: list[ev.AnyEvent] = []
            with pytest.raises(ZeroDivisionError):
                await consume(collaboration, events)
            return events + collaboration.rest()

    state = check(asyncio.run(run()))
    assert state.error_code == "internal"
    assert state.chunks
    assert all(chunk.status == "completed" for chunk in state.chunks.values())


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(LimitsConfig(timeout=1.0), "deadline"), (LimitsConfig(max_tokens=1000), "budget")],
)
def test_a_run_that_fails_leaves_no_chunk_running(limits: LimitsConfig, reason: str) -> None:
    """The house's smallest input: a time limit gave `task_error` while a chunk was still running."""
    played = play(SCRIPTS, strategy=apart(a="a", b="b"), config=Config(limits=limits))

    assert isinstance(played.last, ev.TaskErrorEvent)
    chunks = list(played.state.chunks.values())
    assert chunks
    assert all(chunk.status == "completed" for chunk in chunks)
    assert reason in {chunk.finish_reason for chunk in chunks}
    assert all(chunk.usage is not None for chunk in chunks)


def test_a_command_takes_effect_at_the_time_it_was_given() -> None:
    """The clock does not move on while something is in the inbox."""
    told: Iterator[int] = count()

    def look(collaboration: object, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.TokenStreamEvent) and next(told) == 5:
            collaboration.say("look here")  # type: ignore[attr-defined]

    played = play(SCRIPTS, strategy=GRAPH, look=look)

    sixth = [e for e in played.events if isinstance(e, ev.TokenStreamEvent)][5]
    said = next(e for e in played.events if isinstance(e, ev.SystemMessageEvent) and "look here" in e.message)
    assert (said.ts, said.level) == (sixth.ts, "warning")


def test_a_run_that_was_cancelled_before_it_began_asks_nobody() -> None:
    async def run() -> tuple[list[ev.AnyEvent], int]:
        transport = ScriptTransport(Brain(SCRIPTS), VirtualClock())
        async with Client(Config(), env={}, transport=transport) as client:
            collaboration = client.collaborate("Build a thing", strategy=GRAPH)
            collaboration.cancel("changed my mind")
            return [event async for event in collaboration], len(transport.requests)

    events, requests = asyncio.run(run())
    assert [type(e) for e in events] == [ev.TaskCancelledEvent]
    assert requests == 0


def test_folding_is_linear() -> None:
    """What is copied for each delta grows with the square of the text; the count of copies shows it without a clock."""
    events, _ = begun()
    events.say(started("c"))
    moves, last = 0, 0
    for _ in range(20_000):
        events.say(token("c", "abcd "))
        place = id(events.state.chunks["c"].text)
        moves += place != last
        last = place
    assert len(events.state.chunks["c"].text) == 100_000
    assert moves < 2_000
