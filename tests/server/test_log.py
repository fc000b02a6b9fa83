"""The log: wherever a viewer comes back, and however far it fell behind, it folds to what the source folded to."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair import events as ev
from facilitair.fold import apply, fold
from facilitair.server.log import MemoryLog

from .harness import check

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


def logged(events: list[ev.AnyEvent], **bounds: int) -> MemoryLog:
    log = MemoryLog(**bounds)
    for event in events:
        log.append(event)
    return log


def rest(log: MemoryLog, after: int, limit: int = 256) -> list[ev.AnyEvent]:
    read: list[ev.AnyEvent] = []
    while batch := log.read(after, limit):
        read += batch
        after = batch[-1].seq
    return read


@given(
    seed=st.integers(0, 2**32),
    ring=st.integers(1, 400),
    limit=st.integers(1, 50),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_who_comes_back_anywhere_folds_to_the_source(
    seed: int, ring: int, limit: int, cuts: list[int]
) -> None:
    events = Source(seed).events(150)
    wanted, state, after = fold(events), ev.RunState(), 0
    log = logged(events, ring_events=ring)
    seen: list[ev.AnyEvent] = []

    for cut in cuts:
        for event in rest(log, after, limit)[: cut % 40]:
            state, after = apply(state, event), event.seq
            seen.append(event)
    for event in rest(log, after, limit):
        state = apply(state, event)
        seen.append(event)

    assert state == wanted == log.state
    check(seen)


@given(seed=st.integers(0, 2**32), ring=st.integers(1, 60), pace=st.integers(1, 30))
def test_a_viewer_during_the_run_misses_nothing(seed: int, ring: int, pace: int) -> None:
    events = Source(seed).events(150)
    log, state, after = MemoryLog(ring_events=ring), ev.RunState(), 0
    for number, event in enumerate(events, start=1):
        log.append(event)
        if number % pace == 0:
            for read in log.read(after):
                state, after = apply(state, read), read.seq
            assert state == fold(events[:after])
    for read in rest(log, after):
        state = apply(state, read)

    assert state == fold(events)


def test_deltas_that_follow_each_other_are_one_delivery() -> None:
    deltas: list[ev.AnyEvent] = [
        ev.TokenStreamEvent(stream_id="s", seq=n, ts=0, chunk_id="c", agent="a", tokens=f"{n} ")
        for n in range(1, 6)
    ]
    log = logged(deltas)

    (merged,) = log.read(1)

    assert isinstance(merged, ev.TokenStreamEvent)
    assert (merged.first_seq, merged.seq, merged.tokens) == (2, 5, "2 3 4 5 ")
    assert log.read(4) == [deltas[4]]


def test_a_snapshot_stays_as_it_was_given() -> None:
    events = Source(1).events(100)
    log = logged(events[:60], ring_events=5)
    (snapshot,) = log.read(0)
    told = ev.encode(snapshot)
    for event in events[60:]:
        log.append(event)

    assert isinstance(snapshot, ev.StateSnapshotEvent)
    assert ev.encode(snapshot) == told
    assert snapshot.state == fold(events[:60])


def test_the_end_is_an_event_of_its_own_also_beyond_the_ring() -> None:
    events = Source(2).events(100)
    log = logged(events, ring_events=1)

    snapshot, end = log.read(0)

    assert isinstance(snapshot, ev.StateSnapshotEvent)
    assert snapshot.state.status == "running"
    assert end == events[-1]


@given(bounds=st.tuples(st.integers(1, 50), st.integers(1000, 20_000)))
def test_the_ring_keeps_to_its_bounds(bounds: tuple[int, int]) -> None:
    most_events, most_bytes = bounds
    log = MemoryLog(most_events, most_bytes)
    for event in Source(3).events(300):
        log.append(event)
        assert len(log) <= most_events
        assert log.bytes <= most_bytes or len(log) == 1


def test_only_the_next_event_can_be_appended() -> None:
    events = Source(4).events(3)
    log = logged(events)
    for wrong in (events[0], events[-1]):
        with pytest.raises(ValueError, match="cannot follow"):
            log.append(wrong)


def test_waiting_ends_with_the_next_event_and_with_the_run() -> None:
    async def run() -> None:
        events = Source(5).events(1)
        log = MemoryLog()
        waiting = [asyncio.create_task(log.wait(0)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        log.append(events[0])
        await asyncio.gather(*waiting)
        for event in events[1:]:
            log.append(event)
        await log.wait(log.last_seq + 100)

    asyncio.run(asyncio.wait_for(run(), 10))
