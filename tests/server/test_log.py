"""The log: wherever a viewer comes back, and however far it fell behind, it folds to what the source folded to.

What is asked of `MAKE` is asked of every log; a shared one is added there and has to pass.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair import events as ev
from facilitair.errors import LeaseLostError, SequenceError
from facilitair.fold import apply, fold
from facilitair.server.log import Batch, EventLog, MemoryLog
from facilitair.stream import EventStream

from .harness import check

MAKE: dict[str, Callable[..., EventLog]] = {"memory": MemoryLog}
every_log = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
CHUNKS = ("design/coder.1", "design/reviewer.1", "code/coder.1")


class Source:
    """Makes a run's events: chunks written at the same time, cut back, and completed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._seq = 0

    def _stamp(self) -> dict[str, Any]:
        self._seq += 1
        return {"stream_id": "s", "seq": self._seq, "ts": self._seq / 1000}

    def events(self, count: int) -> list[ev.AnyEvent]:
        texts = dict.fromkeys((*CHUNKS, "design"), "")
        made: list[ev.AnyEvent] = [self._started(chunk, n) for n, chunk in enumerate(CHUNKS)]
        where = CHUNKS[0]
        for _ in range(count):
            if self._random.random() < 0.4:
                where = self._random.choice(list(texts))
            made.append(self._delta(where, texts))
            if where != "design" and self._random.random() < 0.1:
                made.append(self._fragment(where, texts[where]))
        made.append(
            ev.TaskErrorEvent(
                **self._stamp(), code="agents_failed", message="m", partial="p", usage=ev.Usage()
            )
        )
        return made

    def _started(self, chunk: str, number: int) -> ev.AnyEvent:
        section, _, agent = chunk.partition("/")
        return ev.ChunkStartedEvent(
            **self._stamp(),
            chunk_id=chunk, section=section, agent=agent, role="coder", model="m", description="d",
            current=number + 1, total=len(CHUNKS), section_index=1, section_total=2,
        )  # fmt: skip

    def _delta(self, where: str, texts: dict[str, str]) -> ev.AnyEvent:
        keep = self._random.randrange(len(texts[where]) + 1) if self._random.random() < 0.1 else None
        tokens = self._random.choice(("word ", "\u2028", "é\n", "𝄞", ""))
        texts[where] = texts[where][:keep] + tokens
        if where == "design":
            return ev.SynthesisStreamEvent(**self._stamp(), section=where, tokens=tokens, keep=keep)
        return ev.TokenStreamEvent(**self._stamp(), chunk_id=where, agent="a", tokens=tokens, keep=keep)

    def _fragment(self, chunk: str, text: str) -> ev.AnyEvent:
        name = f"{chunk}#{self._seq}"
        return ev.FragmentEvent(
            **self._stamp(),
            chunk_id=chunk, fragment=name, start=0, end=len(text), derived_from=(),
        )  # fmt: skip


class Fed:
    """A log with its writer and the owner of its events, fed as a server does."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.owner = EventStream("s")
        self.writer = log.writer()

    async def feed(self, events: list[ev.AnyEvent], at_once: int = 7) -> None:
        for start in range(0, len(events), at_once):
            batch = events[start : start + at_once]
            for event in batch:
                self.owner.take(event)
            await self.writer.append(batch, self.owner.standing)

    async def read(self, after: int, batches: int = 1) -> list[ev.AnyEvent]:
        """Return the events of the next batches, of those that are there already."""
        read: list[ev.AnyEvent] = []
        async with aclosing(self.log.follow(after, 0.01)) as following:
            async for batch in following:
                read += batch.events
                batches -= 1
                if not batch.events or not batches:
                    break
        return read

    async def rest(self, after: int) -> list[ev.AnyEvent]:
        """Return all that follows; the run has ended."""
        async with aclosing(self.log.follow(after)) as following:
            return [event async for batch in following for event in batch.events]


async def fed(log: EventLog, events: list[ev.AnyEvent]) -> Fed:
    made = Fed(log)
    await made.feed(events)
    return made


@every_log
@given(
    seed=st.integers(0, 2**32),
    ring=st.integers(1, 400),
    limit=st.integers(1, 50),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_who_comes_back_anywhere_folds_to_the_source(
    make: Callable[..., EventLog], seed: int, ring: int, limit: int, cuts: list[int]
) -> None:
    events = Source(seed).events(150)
    wanted = fold(events)

    async def run() -> None:
        state, after = ev.RunState(), 0
        seen: list[ev.AnyEvent] = []
        made = await fed(make(ring_events=ring, read_limit=limit), events)
        for cut in cuts:
            for event in (await made.rest(after))[: cut % 40]:
                state, after = apply(state, event), event.seq
                seen.append(event)
        for event in await made.rest(after):
            state = apply(state, event)
            seen.append(event)

        assert state == wanted == await made.log.state()
        check(seen)

    asyncio.run(run())


@every_log
@given(seed=st.integers(0, 2**32), ring=st.integers(1, 60), pace=st.integers(1, 30))
def test_a_viewer_during_the_run_misses_nothing(
    make: Callable[..., EventLog], seed: int, ring: int, pace: int
) -> None:
    events = Source(seed).events(150)

    async def run() -> None:
        made = Fed(make(ring_events=ring))
        state, seen = ev.RunState(), []

        async def view() -> None:
            nonlocal state
            async with aclosing(made.log.follow(0)) as following:
                async for batch in following:
                    for event in batch.events:
                        state = apply(state, event)
                        seen.append(event)
                    assert state == fold(events[: state.seq])
                    for _ in range(pace):
                        await asyncio.sleep(0)

        viewing = asyncio.create_task(view())
        for event in events:
            await made.feed([event])
            await asyncio.sleep(0)
        await viewing
        assert state == fold(events)
        check(seen)

    asyncio.run(run())


@every_log
def test_deltas_that_follow_each_other_are_one_delivery(make: Callable[..., EventLog]) -> None:
    deltas: list[ev.AnyEvent] = [
        ev.TokenStreamEvent(stream_id="s", seq=n, ts=0, chunk_id="c", agent="a", tokens=f"{n} ")
        for n in range(1, 6)
    ]

    async def run() -> None:
        made = await fed(make(), deltas)
        (merged,) = await made.read(1)
        assert isinstance(merged, ev.TokenStreamEvent)
        assert (merged.first_seq, merged.seq, merged.tokens) == (2, 5, "2 3 4 5 ")
        assert await made.read(4) == [deltas[4]]

    asyncio.run(run())


@every_log
def test_a_snapshot_stays_as_it_was_given(make: Callable[..., EventLog]) -> None:
    events = Source(1).events(100)

    async def run() -> None:
        made = Fed(make(ring_events=5))
        await made.feed(events[:60])
        (snapshot,) = await made.read(0)
        told = ev.encode(snapshot)
        await made.feed(events[60:])

        assert isinstance(snapshot, ev.StateSnapshotEvent)
        assert ev.encode(snapshot) == told
        assert snapshot.state == fold(events[:60])

    asyncio.run(run())


@every_log
@pytest.mark.parametrize("at_once", [1, 200])
def test_the_end_is_an_event_of_its_own_also_beyond_the_ring(
    make: Callable[..., EventLog], at_once: int
) -> None:
    events = Source(2).events(100)

    async def run() -> None:
        made = Fed(make(ring_events=1))
        await made.feed(events, at_once)
        snapshot, end = await made.rest(0)
        assert isinstance(snapshot, ev.StateSnapshotEvent)
        assert snapshot.state.status == "running"
        assert snapshot.state == fold(events[:-1])
        assert end == events[-1]

    asyncio.run(run())


@every_log
@given(bounds=st.tuples(st.integers(1, 50), st.integers(1000, 20_000)))
def test_what_it_keeps_is_bounded(make: Callable[..., EventLog], bounds: tuple[int, int]) -> None:
    most_events, most_bytes = bounds

    async def run() -> None:
        made = Fed(make(ring_events=most_events, ring_bytes=most_bytes))
        for event in Source(3).events(300):
            await made.feed([event])
            held = made.log.held
            assert held.events <= most_events
            assert held.bytes <= most_bytes or held.events == 1

    asyncio.run(run())


@every_log
def test_only_the_next_event_can_be_appended(make: Callable[..., EventLog]) -> None:
    events = Source(4).events(3)

    async def run() -> None:
        made = await fed(make(), events[:-2])
        for wrong in (events[0], events[-1]):
            with pytest.raises(SequenceError, match="cannot follow"):
                await made.writer.append([wrong], made.owner.standing)
        await made.feed(events[-2:])
        with pytest.raises(SequenceError, match="ended: True"):
            await made.writer.append(
                [ev.CacheMissEvent(stream_id="s", seq=99, reason="")], made.owner.standing
            )

    asyncio.run(run())


@every_log
def test_who_took_the_lease_last_writes_alone(make: Callable[..., EventLog]) -> None:
    """So a stream can never have two ends, when a server was thought dead and was not."""
    events = Source(4).events(3)

    async def run() -> None:
        made = await fed(make(), events[:2])
        taken_over = made.log.writer()
        with pytest.raises(LeaseLostError, match="taken this run's log over"):
            await made.writer.append([events[2]], made.owner.standing)
        made.writer = taken_over
        await made.feed(events[2:])
        assert made.log.ended
        assert await made.rest(made.log.last_seq - 1) == events[-1:]

    asyncio.run(run())


@every_log
def test_following_ends_with_the_run_and_tells_when_nothing_comes(make: Callable[..., EventLog]) -> None:
    events = Source(5).events(1)

    async def run() -> None:
        made = Fed(make())
        got: list[Batch] = []

        async def view() -> None:
            async with aclosing(made.log.follow(0, 0.02)) as following:
                async for batch in following:
                    got.append(batch)  # noqa: PERF401 - seen while it comes

        viewing = [asyncio.create_task(view()) for _ in range(3)]
        while sum(not batch.events for batch in got) < 6:  # noqa: ASYNC110 (a real timer is what is tested)
            await asyncio.sleep(0.005)
        await made.feed(events)
        await asyncio.gather(*viewing)
        assert [event for batch in got if batch.events for event in batch.events][-1] == events[-1]
        assert await made.rest(made.log.last_seq + 100) == []

    asyncio.run(asyncio.wait_for(run(), 10))


@every_log
def test_viewers_at_one_place_share_what_is_made_of_it(make: Callable[..., EventLog]) -> None:
    events = Source(6).events(20)
    made_of: list[int] = []

    def encode(batch: Sequence[ev.AnyEvent]) -> int:
        made_of.append(batch[0].seq)
        return len(batch)

    async def run() -> None:
        made = Fed(make())

        async def view() -> int:
            async with aclosing(made.log.follow(0)) as following:
                async for batch in following:
                    return batch.made(encode)
            raise AssertionError("the run has not ended")

        viewing = [asyncio.create_task(view()) for _ in range(5)]
        await asyncio.sleep(0)
        await made.feed(events[:10], 10)
        assert len(set(await asyncio.gather(*viewing))) == 1
        assert made_of == [1]

    asyncio.run(asyncio.wait_for(run(), 10))


@every_log
def test_a_viewer_that_leaves_while_it_waits_leaves_nothing(make: Callable[..., EventLog]) -> None:
    async def run() -> None:
        made = Fed(make())
        for _ in range(100):
            waiting = asyncio.ensure_future(anext(made.log.follow(0, 60)))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert getattr(made.log, "_waiting", {}) == {}

    asyncio.run(asyncio.wait_for(run(), 10))
