"""Live edges: a reader starts on the first fragments, is shown the rest, and loses or repeats none of its own text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from facilitair import Config, Edge
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.engine.influence import Situation, SpacedPolicy
from facilitair.simulator.brain import Script
from facilitair.simulator.prompt import Prompt

from .harness import apart, chain, play, says, sentences

AGENTS = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize("option", ["", "+resume"])
@pytest.mark.parametrize("overlap", [0, 24])
def test_a_continued_text_is_whole(option: str, overlap: int) -> None:
    scripts = {n: says(sentences(n, 30), overlap=overlap) for n in (*AGENTS[:3], "synthesizer")}
    graph = chain(*AGENTS[:3])
    agents = tuple(replace(a, model=f"simulator/{a.name}{option}") for a in graph.agents)
    played = play(scripts, strategy=replace(graph, agents=agents))
    for name in AGENTS[:3]:
        assert played.text(name) == sentences(name, 30)
    tiers = {
        e.tier
        for e in played.of(ev.AgentReactionEvent)
        if e.action == "continues" and e.agent != "synthesizer"
    }
    assert tiers == {"resume" if option else "prefill"}


@pytest.mark.parametrize("option", ["", "+resume"])
def test_a_continuation_keeps_its_indents(option: str) -> None:
    points = "".join(f"- Point {i}:\n    - its detail, number {i}\n" for i in range(40))
    by_line = Script(
        text=points, tokens_per_s=4.0, split=lambda text: text.splitlines(keepends=True) if text else []
    )
    strategy = replace(apart(a="a", b=f"b{option}"), edges=(Edge("a", "b", "live"),))
    scripts = {"a": says(sentences("a", 60)), "b": by_line, "synthesizer": says("Done.")}
    played = play(scripts, strategy=strategy)
    assert any(e.agent == "b" and e.action == "continues" for e in played.of(ev.AgentReactionEvent))
    assert played.text("b") == points


def test_every_reader_is_shown_everything_before_it_ends() -> None:
    played = play({n: says(sentences(n, 20)) for n in (*AGENTS, "synthesizer")}, strategy=chain(*AGENTS))
    reactions = played.of(ev.AgentReactionEvent)
    for source, reader in pairwise(AGENTS):
        shown = {f for e in reactions if e.agent == reader for f in e.because}
        assert shown == {f.id for f in played.state.chunks[f"task/{source}.1"].fragments}
    shown = {f for e in reactions if e.agent == "synthesizer" for f in e.because}
    assert {f.partition(".")[0] for f in shown} == {f"task/{a}" for a in AGENTS}


def test_interruptions_are_few() -> None:
    played = play({n: says(sentences(n, 60)) for n in ("a", "b", "synthesizer")}, strategy=chain("a", "b"))
    continued = [e for e in played.of(ev.AgentReactionEvent) if e.agent == "b" and e.action == "continues"]
    assert 1 <= len(continued) <= 3  # two interruptions and the closing update


def test_balanced_reaches_three_quarters_of_the_bound() -> None:
    # 0.4 s to the first token and 80 tokens a second; a sentence of some 20 words takes 0.25 s
    fragments = 40
    names = (*AGENTS, "synthesizer")
    longer = " words, and it goes on for a while, as sentences in technical prose often do."
    scripts = {n: says(sentences(n, fragments).replace(" words.", longer)) for n in names}
    live = play(scripts, strategy=chain(*AGENTS))
    after = play(scripts, strategy=chain(*AGENTS, kind="after", synthesis="section"))
    for name in AGENTS:
        assert len(live.state.chunks[f"task/{name}.1"].fragments) == fragments
    for name in AGENTS[1:]:
        assert any(e.agent == name and e.action == "continues" for e in live.of(ev.AgentReactionEvent))
    agents = len(AGENTS)
    bound = agents * fragments / (fragments + agents - 1)
    speed_up = after.of(ev.ChunkCompletedEvent)[-1].ts / live.of(ev.ChunkCompletedEvent)[-1].ts
    assert speed_up >= 0.75 * bound


@pytest.mark.parametrize("option", ["", "+resume"])
def test_a_control_line_that_an_interruption_cuts_is_written_anew(option: str) -> None:
    def text(prompt: Prompt) -> str:
        line = f"\n@@{prompt.nonce} object task/a.1#1 because of a reason that takes many words to say\n"
        return "".join(f"Sentence {i} is here.{line}" for i in range(40))

    strategy = apart(a="a", b=f"b{option}")
    strategy = replace(strategy, edges=(Edge("a", "b", "live"),))
    played = play(
        {"a": says(sentences("a", 60)), "b": says(text), "synthesizer": says("Done.")}, strategy=strategy
    )
    assert any(e.agent == "b" and e.action == "continues" for e in played.of(ev.AgentReactionEvent))
    assert "@@" not in played.text("b")
    assert "because" not in played.text("b")


def test_a_text_that_was_cut_stays_known_as_cut_after_the_closing_update() -> None:
    strategy = replace(apart(a="a", b="b+lengthx1=0.5"), edges=(Edge("a", "b", "live"),))
    scripts = {"a": says(sentences("a", 30)), "b": says(sentences("b", 6)), "synthesizer": says("Done.")}
    played = play(scripts, strategy=strategy, config=Config(limits=LimitsConfig(max_interrupts=0)))
    assert len(played.prompts("b+lengthx1=0.5")) == 2  # the second is the closing update
    reasons = {e.agent: e.finish_reason for e in played.of(ev.ChunkCompletedEvent)}
    assert reasons == {"a": "stop", "b": "length"}
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.degraded == ("b on task: cut by its model's length limit",)


# --- the policy alone ----------------------------------------------------------------------------------------------


def interrupted(pending: int, *, interrupts: int = 0, own_since: int = 9, complete: bool = False) -> bool:
    """Whether the policy, which has two interruptions, stops an author there."""
    situation = Situation(interrupts=interrupts, pending=pending, complete=complete, own_since=own_since)
    return SpacedPolicy(max_interrupts=2).interrupts(situation)


def test_each_interruption_takes_twice_the_news_of_the_one_before() -> None:
    assert [interrupted(n) for n in (0, 5, 6, 7)] == [False, False, True, True]
    assert [interrupted(n, interrupts=1) for n in (6, 11, 12)] == [False, False, True]


def test_when_it_has_interrupted_often_enough_it_does_no_more() -> None:
    assert not interrupted(1000, interrupts=2)
    assert not interrupted(1000, interrupts=2, complete=True)


def test_an_author_that_was_just_shown_something_is_left_alone() -> None:
    assert [interrupted(1000, own_since=n) for n in (0, 2, 3)] == [False, False, True]


def test_the_last_news_is_shown_however_little_it_is() -> None:
    assert interrupted(1, complete=True)
    assert not interrupted(0, complete=True)


def test_a_policy_may_never_interrupt() -> None:
    situation = Situation(interrupts=0, pending=1000, complete=True, own_since=1000)
    assert not SpacedPolicy(max_interrupts=0).interrupts(situation)
