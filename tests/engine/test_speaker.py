"""What a turn does becomes events: of a chunk for an agent, of a synthesis for a synthesizer."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from facilitair import events as ev
from facilitair.engine.provenance import Cut, Exposure
from facilitair.engine.rulings import Retraction
from facilitair.engine.speaker import ChunkSpeaker, Place, SynthesisSpeaker
from facilitair.fold import fold

from .harness import planned
from .parts import graph, settled, stream, turn_of

PLAN = planned(graph("ab"))
WHY = Retraction("cascade", "task/a.1#1", "it was wrong")


def facts(event: ev.AnyEvent) -> dict[str, Any]:
    """Return what an event says, without its envelope."""
    return {k: v for k, v in asdict(event).items() if k not in ev.Event.__struct_fields__}


def test_an_agent_s_turn_is_a_chunk_from_its_start_to_its_end() -> None:
    events, turn = stream(), turn_of(PLAN, "b", text="One. Two.")
    turn.provenance.exposures.append(Exposure(5, ("task/a.1#1",)))
    turn.spent.add(settled(10, 2, 0.5))
    speaker = ChunkSpeaker(events, lambda _: Place(2, 5, 1, 3))
    first, second = turn.provenance.fragments.values()

    speaker.started(turn)
    speaker.wrote(turn, "One. Two.")
    speaker.closed_fragment(turn, first)
    speaker.closed_fragment(turn, second)
    speaker.cut(turn, Cut(turn.id, 5, (second.id,)), WHY)
    turn.finish_reason = "budget"
    speaker.completed(turn)

    said = events.drain()
    begun, _, fragment, _, retracted, final, completed = said
    assert isinstance(begun, ev.ChunkStartedEvent)
    assert facts(begun) == {
        "chunk_id": "task/b.1", "section": "task", "agent": "b", "role": "coder", "model": "b",
        "description": "Coder on task", "current": 2, "total": 5, "section_index": 1, "section_total": 3,
    }  # fmt: skip
    assert facts(fragment) == {
        "chunk_id": "task/b.1", "fragment": first.id, "start": 0, "end": 5, "derived_from": (),
    }  # fmt: skip
    assert facts(retracted) == {
        "chunk_id": "task/b.1", "agent": "b", "fragments": (second.id,), "keep": 5,
        "cause": "cascade", "root": "task/a.1#1", "reason": "it was wrong",
    }  # fmt: skip
    assert isinstance(final, ev.TokenStreamEvent)
    assert final.is_final
    assert isinstance(completed, ev.ChunkCompletedEvent)
    assert (completed.content, completed.finish_reason, completed.cost_usd) == ("One. ", "budget", 0.5)
    assert fold(said).chunks["task/b.1"].text == "One. "


def test_a_synthesizer_s_turn_is_the_section_s_answer_and_no_chunk() -> None:
    events, turn = stream(), turn_of(PLAN, "synthesizer", text="One. Two.")
    speaker = SynthesisSpeaker(events, lambda _: "")
    speaker.started(turn)
    speaker.wrote(turn, "One. Two.")
    for fragment in turn.provenance.fragments.values():
        speaker.closed_fragment(turn, fragment)
    speaker.cut(turn, Cut(turn.id, 5, ()), WHY)
    speaker.wrote(turn, "Three.")
    speaker.completed(turn)

    said = events.drain()
    assert [type(e) for e in said] == [*[ev.SynthesisStreamEvent] * 3, ev.SynthesisCompletedEvent]
    assert facts(said[-1])["content"] == "One. Three."
    state = fold(said)
    assert state.chunks == {}
    assert state.syntheses["task"].text == "One. Three."


def test_an_agent_s_text_takes_the_place_of_whatever_was_said() -> None:
    events = stream()
    speaker = SynthesisSpeaker(events, lambda _: "")
    speaker.wrote(turn_of(PLAN, "synthesizer"), "Half a")
    speaker.gave("task", "The whole answer.", "error")

    state = fold(events.drain())
    assert state.syntheses["task"].text == "The whole answer."
    assert state.syntheses["task"].finish_reason == "error"


def test_a_heading_stands_above_whatever_is_said_and_is_never_taken_back() -> None:
    events, turn = stream(), turn_of(PLAN, "synthesizer", text="One. Two.")
    speaker = SynthesisSpeaker(events, lambda section: f"## {section}\n\n")
    speaker.wrote(turn, "One. Two.")
    speaker.cut(turn, Cut(turn.id, 5, ()), WHY)
    speaker.wrote(turn, "Three.")
    speaker.wrote(turn, "Four.", 5)
    speaker.wrote(turn, "Five.", 0)
    assert fold(said := events.drain()).syntheses["task"].text == "## task\n\nFive."
    speaker.gave("task", "All of it.", "error")
    assert fold([*said, *events.drain()]).syntheses["task"].text == "## task\n\nAll of it."
