"""Whole runs: who starts when, and what the answer is."""

from __future__ import annotations

from facilitair import events as ev

from .harness import chain, plain, play, says, sentences


def test_an_after_edge_waits_and_a_live_edge_does_not() -> None:
    scripts = plain("a", "b", "synthesizer", count=10)
    for kind, overlap in (("after", False), ("live", True)):
        played = play(scripts, strategy=chain("a", "b", kind=kind))  # type: ignore[arg-type]
        started = {e.agent: e.ts for e in played.of(ev.ChunkStartedEvent)}
        ended = {e.agent: e.ts for e in played.of(ev.ChunkCompletedEvent)}
        assert (started["b"] < ended["a"]) is overlap
        assert isinstance(played.last, ev.TaskCompletedEvent)


def test_the_answer_is_the_synthesis_and_chunks_are_whole() -> None:
    played = play(plain("a", "b", "synthesizer"), strategy=chain("a", "b"))
    assert played.state.content == sentences("synthesizer", 4)
    assert played.text("a") == sentences("a", 4)
    assert played.text("b") == sentences("b", 4)
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.degraded == ()
    assert last.simulated
    assert last.cost_usd == 0.0
    assert last.models_used == ("simulator/a", "simulator/b", "simulator/synthesizer")


def test_the_first_token_is_passed_on_at_once() -> None:
    played = play(plain("a", "synthesizer"), strategy=chain("a"))
    first = played.of(ev.TokenStreamEvent)[0]
    assert first.ts == 0.4  # the script's own first token
    assert played.of(ev.ChunkCompletedEvent)[0].ttft_s == 0.4


def test_synthesis_can_wait_for_its_section_or_for_all() -> None:
    scripts = plain("a", "synthesizer") | {"b": says(sentences("b", 4), tokens_per_s=20)}
    for timing in ("section", "end"):
        played = play(scripts, strategy=chain("a", "b", synthesis=timing), sections=["One", "Two"])
        first = played.of(ev.SynthesisStreamEvent)[0].ts
        assert first > max(e.ts for e in played.of(ev.ChunkCompletedEvent))
    live = play(scripts, strategy=chain("a", "b"))
    assert live.of(ev.SynthesisStreamEvent)[0].ts < live.of(ev.ChunkCompletedEvent)[-1].ts
