"""Folding: random runs against a reference that knows nothing of the implementation, and the rule's own words.

The reference keeps each text as a list of code points and writes down what the contract says, one line for each kind
of event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair import events as ev
from facilitair.fold import answer, apply, fold

AGENTS = ("architect", "coder")
SECTIONS = (ev.SectionInfo(id="design", title="Design"), ev.SectionInfo(id="code", title="Code"))
texts = st.text(
    alphabet=st.one_of(st.sampled_from("ab é\u0301\u200d\u2028🦀👩💻"), st.characters(codec="utf-8"))
)


@dataclass
class Reference:
    """A run under way: makes events that are valid now, and knows what their texts must fold to."""

    events: list[ev.AnyEvent] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)
    closed: dict[str, bool] = field(default_factory=dict)
    fragments: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    answers: dict[str, list[str]] = field(default_factory=dict)
    numbers: int = 0

    def emit(self, kind: type[Any], **payload: Any) -> None:
        seq = len(self.events) + 1
        self.events.append(kind(stream_id="run", seq=seq, ts=seq / 8, **payload))

    def start(self, section: str, agent: str) -> None:
        chunk = f"{section}/{agent}.{1 + sum(c.startswith(f'{section}/{agent}.') for c in self.texts)}"
        self.texts[chunk], self.closed[chunk], self.fragments[chunk] = [], False, []
        self.emit(
            ev.ChunkStartedEvent,
            chunk_id=chunk,
            section=section,
            agent=agent,
            role=agent,
            model="m",
            description="",
            current=len(self.texts),
            total=len(self.texts),
            section_index=1,
            section_total=2,
        )

    def write(self, chunk: str, tokens: str, keep: int | None) -> None:
        kept = self.texts[chunk] if keep is None else [c for n, c in enumerate(self.texts[chunk]) if n < keep]
        self.texts[chunk] = [*kept, *tokens]
        self.emit(ev.TokenStreamEvent, chunk_id=chunk, agent=agent_of(chunk), tokens=tokens, keep=keep)

    def cut(self, chunk: str) -> None:
        """Make what has been written since the last fragment one, if it is anything."""
        start = self.fragments[chunk][-1][1] if self.fragments[chunk] else 0
        end = len(self.texts[chunk])
        if start < end:
            self.numbers += 1
            fragment = f"{chunk}#{self.numbers}"
            self.fragments[chunk].append((fragment, end))
            self.emit(
                ev.FragmentEvent, chunk_id=chunk, fragment=fragment, start=start, end=end, derived_from=()
            )

    def retract(self, chunk: str, first: int) -> None:
        """Take back every fragment from the one of that number on."""
        gone = [name for name, _ in self.fragments[chunk][first:]]
        self.fragments[chunk] = self.fragments[chunk][:first]
        keep = self.fragments[chunk][-1][1] if self.fragments[chunk] else 0
        self.texts[chunk] = [c for n, c in enumerate(self.texts[chunk]) if n < keep]
        self.closed[chunk] = False
        self.emit(
            ev.FragmentsRetractedEvent,
            chunk_id=chunk,
            agent=agent_of(chunk),
            fragments=tuple(gone),
            keep=keep,
            cause="withdrawn",
            root=gone[0],
            reason="wrong",
        )

    def complete(self, chunk: str) -> None:
        self.closed[chunk] = True
        self.emit(
            ev.ChunkCompletedEvent,
            chunk_id=chunk,
            agent=agent_of(chunk),
            content="".join(self.texts[chunk]),
            finish_reason="stop",
            usage=None,
            cost_usd=None,
            ttft_s=None,
            duration_s=1.0,
        )

    def synthesise(self, section: str, tokens: str, keep: int | None) -> None:
        written = self.answers.get(section, [])
        kept = written if keep is None else [c for n, c in enumerate(written) if n < keep]
        self.answers[section] = [*kept, *tokens]
        self.emit(ev.SynthesisStreamEvent, section=section, tokens=tokens, keep=keep)

    def settle(self, section: str) -> None:
        content = "".join(self.answers.setdefault(section, []))
        self.emit(ev.SynthesisCompletedEvent, section=section, content=content)


def agent_of(chunk: str) -> str:
    return chunk.partition("/")[2].partition(".")[0]


@st.composite
def runs(draw: st.DrawFn) -> Reference:
    """Draw a run in which everything is where it may be."""
    run = Reference()
    run.emit(
        ev.TaskProgressEvent,
        sections=SECTIONS,
        total_chunks=2,
        completed_chunks=0,
        estimated_time_s=None,
        estimated_cost_usd=None,
        cost_usd=None,
        cache=ev.CacheInfo(state="off"),
    )
    for _ in range(draw(st.integers(1, 30))):
        section = draw(st.sampled_from(SECTIONS)).id
        open_chunks = [chunk for chunk, closed in run.closed.items() if not closed]
        citable = [chunk for chunk, fragments in run.fragments.items() if fragments]
        moves = ["start", "synthesise", "settle"] + ["write", "write", "cut", "complete"] * bool(open_chunks)
        match draw(st.sampled_from(moves + ["retract"] * bool(citable))):
            case "start":
                run.start(section, draw(st.sampled_from(AGENTS)))
            case "synthesise":
                run.synthesise(section, draw(texts), drawn_keep(draw, run.answers.get(section, [])))
            case "settle":
                run.settle(section)
            case "retract":
                chunk = draw(st.sampled_from(citable))
                run.retract(chunk, draw(st.integers(0, len(run.fragments[chunk]) - 1)))
            case "cut":
                run.cut(draw(st.sampled_from(open_chunks)))
            case "complete":
                run.complete(draw(st.sampled_from(open_chunks)))
            case _:
                chunk = draw(st.sampled_from(open_chunks))
                # What stands in a fragment is taken back by a retraction only.
                floor = run.fragments[chunk][-1][1] if run.fragments[chunk] else 0
                run.write(chunk, draw(texts), drawn_keep(draw, run.texts[chunk], floor))
    return run


def drawn_keep(draw: st.DrawFn, text: Sequence[str], floor: int = 0) -> int | None:
    return draw(st.one_of(st.none(), st.integers(floor, len(text))))


def on_the_wire(events: Sequence[ev.AnyEvent]) -> list[ev.AnyEvent | ev.UnknownEvent]:
    return [ev.decode(ev.encode(event)) for event in events]


@given(runs())
def test_texts_are_what_the_reference_says(run: Reference) -> None:
    state = fold(run.events)

    assert {name: chunk.text for name, chunk in state.chunks.items()} == joined(run.texts)
    assert {name: s.text for name, s in state.syntheses.items()} == joined(run.answers)
    assert (state.stream_id, state.seq, state.ts) == ("run", len(run.events), len(run.events) / 8)


@given(runs())
def test_fragments_and_statuses_are_what_the_reference_says(run: Reference) -> None:
    state = fold(run.events)

    for name, chunk in state.chunks.items():
        assert chunk.status == ("completed" if run.closed[name] else "running")
        assert chunk.finish_reason == ("stop" if run.closed[name] else None)
        assert [(f.id, f.end) for f in chunk.fragments] == run.fragments[name]
    assert state.completed_chunks == sum(run.closed.values())


@given(runs())
def test_each_completion_holds_the_text_folded_so_far(run: Reference) -> None:
    state = ev.RunState()
    for event in run.events:
        state = apply(state, event)
        if isinstance(event, ev.ChunkCompletedEvent):
            assert state.chunks[event.chunk_id].text == event.content
        if isinstance(event, ev.SynthesisCompletedEvent):
            assert state.syntheses[event.section].text == event.content


@given(runs())
def test_the_answer_is_the_syntheses_in_the_order_of_the_sections(run: Reference) -> None:
    parts = ["".join(run.answers.get(section.id, [])) for section in SECTIONS]

    assert answer(fold(run.events)) == "\n\n".join(part for part in parts if part)


@given(runs())
def test_events_that_travelled_fold_to_the_same_state(run: Reference) -> None:
    assert fold(on_the_wire(run.events)) == fold(run.events)


@given(runs(), st.data())
def test_a_viewer_that_gets_a_snapshot_in_between_ends_where_the_others_do(
    run: Reference, data: st.DataObject
) -> None:
    missed = data.draw(st.integers(1, len(run.events)))
    seen = fold(run.events[:missed])
    snapshot = ev.StateSnapshotEvent(stream_id="run", seq=seen.seq, ts=seen.ts, state=seen)
    late = [ev.decode(ev.encode(snapshot)), *run.events[missed:]]

    assert fold(late) == fold(run.events)
    assert fold(late) == fold(run.events), "the same events must fold to the same state twice"


@given(runs(), st.data())
def test_a_viewer_that_comes_late_is_spared_what_it_cannot_know(run: Reference, data: st.DataObject) -> None:
    late = run.events[data.draw(st.integers(0, len(run.events))) :]
    known = {event.chunk_id for event in late if isinstance(event, ev.ChunkStartedEvent)}

    assert {name: c.text for name, c in fold(late).chunks.items()} == joined(
        {name: text for name, text in run.texts.items() if name in known}
    )


@given(st.lists(texts, min_size=1), st.lists(texts, min_size=1))
def test_a_merged_delivery_folds_as_its_parts_do(earlier: list[str], later: list[str]) -> None:
    whole, merged = Reference(), Reference()
    for run, pieces in ((whole, later), (merged, ["".join(later)])):
        run.start("design", "coder")
        for tokens in earlier + pieces:
            run.write("design/coder.1", tokens, None)

    assert fold(merged.events).chunks == fold(whole.events).chunks


def joined(texts: dict[str, list[str]]) -> dict[str, str]:
    return {name: "".join(text) for name, text in texts.items()}


@pytest.mark.parametrize(
    ("before", "keep", "tokens", "after"),
    [
        ("abc", None, "d", "abcd"),
        ("abc", 3, "d", "abcd"),
        ("abc", 0, "", ""),
        ("🦀ab", 2, "!", "🦀a!"),  # UTF-16 would keep the crab alone
        ("e\u0301x", 1, "\u0300", "e\u0300"),  # the accent is a code point of its own
        ("👩\u200d💻x", 3, "", "👩\u200d💻"),  # three code points, one character to the eye
        ("👩\u200d💻x", 1, "", "👩"),
    ],
)
def test_keep_counts_code_points(before: str, keep: int | None, tokens: str, after: str) -> None:
    run = Reference()
    run.start("design", "coder")
    run.write("design/coder.1", before, None)
    run.synthesise("design", before, None)
    run.write("design/coder.1", tokens, keep)
    run.synthesise("design", tokens, keep)
    state = fold(run.events)

    assert state.chunks["design/coder.1"].text == after
    assert state.syntheses["design"].text == after


def test_a_retraction_after_the_completion_reopens_the_chunk_and_the_last_completion_wins() -> None:
    run = Reference()
    run.start("design", "coder")
    run.write("design/coder.1", "Right. ", None)
    run.cut("design/coder.1")
    run.write("design/coder.1", "Wrong.", None)
    run.cut("design/coder.1")
    run.complete("design/coder.1")
    run.retract("design/coder.1", 1)
    reopened = fold(run.events).chunks["design/coder.1"]
    run.write("design/coder.1", "Better.", None)
    run.complete("design/coder.1")
    completed = fold(run.events).chunks["design/coder.1"]

    assert (reopened.text, reopened.status, reopened.finish_reason) == ("Right. ", "running", None)
    assert (completed.text, completed.status, completed.finish_reason) == (
        "Right. Better.",
        "completed",
        "stop",
    )


def test_a_synthesis_that_goes_on_is_running_again() -> None:
    run = Reference()
    run.synthesise("design", "All.", None)
    run.settle("design")
    run.synthesise("design", "None.", 0)

    assert fold(run.events).syntheses["design"].status == "running"


def test_an_unknown_event_changes_nothing() -> None:
    run = Reference()
    run.start("design", "coder")
    unknown = ev.decode('{"type":"applause","stream_id":"other","seq":99,"ts":99.0}')

    assert fold([*run.events, unknown]) == fold(run.events)


def test_a_snapshot_replaces_everything() -> None:
    run = Reference()
    run.start("design", "coder")
    run.write("design/coder.1", "old", None)
    other = ev.RunState(task="other", syntheses={"s": ev.SynthesisState(section="s", text="new")})
    state = fold([*run.events, ev.StateSnapshotEvent(stream_id="run", seq=9, ts=9.0, state=other)])

    assert (state.chunks, state.task, state.seq) == ({}, "other", 9)
    assert state.syntheses["s"].text == "new"


USAGE = ev.Usage(input_tokens=3, output_tokens=5)
END: dict[str, Any] = {"stream_id": "run", "seq": 2, "ts": 1.0, "usage": USAGE, "cost_usd": 0.25}


@pytest.mark.parametrize(
    ("event", "status", "content", "code", "message"),
    [
        (
            ev.TaskErrorEvent(**END, code="budget_exceeded", message="no money", partial="half"),
            "failed", "half", "budget_exceeded", "no money",
        ),
        (ev.TaskCancelledEvent(**END, reason="enough", partial="half"), "cancelled", "half", None, "enough"),
        (
            ev.TaskCompletedEvent(
                **END, content="whole", sections=(), points=(), ledger=(), confidence=None, models_used=(),
                elapsed_s=1.0, degraded=(), simulated=False,
            ),
            "completed", "whole", None, None,
        ),
    ],
)  # fmt: skip
def test_the_last_event_says_how_it_ended(
    event: ev.TerminalEvent, status: str, content: str, code: str | None, message: str | None
) -> None:
    state = fold([event])

    assert (state.status, state.content) == (status, content)
    assert (state.error_code, state.error_message) == (code, message)
    assert (state.usage, state.cost_usd) == (USAGE, 0.25)
