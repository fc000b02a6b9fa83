"""What an author takes back is taken back from everybody who built on it."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from msgspec.structs import replace

from facilitair import Config, Edge
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.simulator.brain import Script
from facilitair.simulator.prompt import Prompt

from .harness import SYNTHESIZER, chain, play, says, sentences


def withdrawing(name: str, fragment: int, before: int, after: int) -> Script:
    """Return an author that takes back from `fragment` on after `before` sentences."""

    def text(prompt: Prompt) -> str:
        control = f"\n@@{prompt.nonce} retract #{fragment} it was wrong\n"
        return sentences(name, before) + control + sentences(f"{name} mended", after)

    return says(text)


def test_an_author_goes_on_from_the_clean_prefix() -> None:
    played = play({"a": withdrawing("a", 2, 3, 2), "synthesizer": says("Done.")}, strategy=chain("a"))
    assert played.text("a") == f"{sentences('a', 1)}\n\n{sentences('a mended', 2)}"
    retracted = played.of(ev.FragmentsRetractedEvent)[0]
    assert (retracted.cause, retracted.root, retracted.reason) == ("withdrawn", "task/a.1#2", "it was wrong")
    assert retracted.fragments == ("task/a.1#2", "task/a.1#3")
    numbers = [f.id.rpartition("#")[2] for f in played.state.chunks["task/a.1"].fragments]
    assert numbers[0] == "1"
    assert not {"2", "3"} & set(numbers)  # a number is never used again


def test_readers_are_rolled_back_and_end_without_the_wrong_text() -> None:
    scripts = {
        "a": withdrawing("a", 1, 8, 4),
        "b": says(sentences("b", 30)),
        "c": says(sentences("c", 30)),
        "synthesizer": says(sentences("synthesizer", 5)),
    }
    played = play(scripts, strategy=chain("a", "b", "c"))
    causes = {(e.agent, e.cause) for e in played.of(ev.FragmentsRetractedEvent)}
    assert ("a", "withdrawn") in causes
    assert ("b", "cascade") in causes
    gone = {f for e in played.of(ev.FragmentsRetractedEvent) for f in e.fragments}
    for chunk in played.state.chunks.values():
        assert not {f.id for f in chunk.fragments} & gone
        assert not {d for f in chunk.fragments for d in f.derived_from} & gone
    assert played.text("b") == sentences("b", 30)
    assert isinstance(played.last, ev.TaskCompletedEvent)


def test_only_own_fragments_can_be_taken_back() -> None:
    scripts = {
        "a": says(sentences("a", 5)),
        "b": says(lambda p: f"Begin here.\n@@{p.nonce} retract task/a.1#1 not mine\nGo on."),
        "synthesizer": says("Done."),
    }
    played = play(scripts, strategy=chain("a", "b"))
    assert not played.of(ev.FragmentsRetractedEvent)
    assert played.text("a") == sentences("a", 5)


@pytest.mark.parametrize("named", ["", " #99", " task/a.1#1", " nothing of mine"])
def test_a_last_reply_that_takes_back_what_is_not_its_own_changes_nothing(named: str) -> None:
    def reader(prompt: Prompt) -> str:
        return (
            f"@@{prompt.nonce} retract{named}\nOther text.\nAnd more of it."
            if prompt.is_last
            else sentences("s", 3)
        )

    class Last(Script):
        def reply(self, prompt: Prompt, manner: str | None, chance: Random) -> str:
            return reader(prompt) if prompt.is_last else super().reply(prompt, manner, chance)

    scripts = {"a": says(sentences("a", 40)), "synthesizer": Last(text=reader)}
    played = play(scripts, strategy=chain("a"), config=Config(limits=LimitsConfig(max_interrupts=0)))
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.content == sentences("s", 3)
    assert any("retract" in prompt for prompt in played.prompts("synthesizer"))


def fickle(prompt: Prompt) -> str:
    """Take back the first fragment five times."""
    number, text = 0, ""
    for _ in range(5):
        text += sentences("a", 8) + f"\n@@{prompt.nonce} retract #{number + 1} again\n"
        number += 8
    return text + sentences("a final", 8)


@pytest.mark.parametrize("rollbacks", [0, 1, 2])
def test_an_author_that_changes_its_mind_again_and_again_costs_nobody_its_text(rollbacks: int) -> None:
    played = play(
        {"a": says(fickle), "b": says(sentences("b", 80)), "synthesizer": says("Done.")},
        strategy=chain("a", "b"),
        config=Config(limits=LimitsConfig(max_rollbacks=rollbacks)),
    )
    assert played.text("a") == sentences("a final", 8)
    assert played.text("b") == sentences("b", 80)
    assert "too much of what it built on was taken back" in played.said()
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.degraded == ()
    restarts = played.prompts("b")
    assert len(restarts) <= rollbacks + 3


@pytest.mark.parametrize("name", ["task/a.1#1", "[task/a.1#1]", "[#1]", "#1", "`#1`:"])
def test_an_objection_names_a_fragment_as_the_prompt_shows_it(name: str) -> None:
    scripts = {
        "a": says(sentences("a", 5)),
        "b": says(lambda p: f"Begin here.\n@@{p.nonce} object {name} it is false\nGo on."),
        "synthesizer": says("Done."),
    }
    played = play(scripts, strategy=chain("a", "b", kind="after"))
    objections = [e for e in played.of(ev.AgentReactionEvent) if e.action == "objects"]
    assert [(e.agent, e.because) for e in objections] == [("b", ("task/a.1#1",))]


@pytest.mark.parametrize(("name", "says_"), [("[#1]", "shown 2 of that number"), ("#9", "not shown")])
def test_an_objection_that_can_mean_several_fragments_or_none_is_said(name: str, says_: str) -> None:
    scripts = {
        "a": says(sentences("a", 5)),
        "b": says(sentences("b", 5)),
        "c": says(lambda p: f"Begin here.\n@@{p.nonce} object {name} it is false\nGo on."),
        "synthesizer": says("Done."),
    }
    strategy = replace(chain("a", "b", "c", kind="after"), edges=(Edge("a", "c"), Edge("b", "c")))
    played = play(scripts, strategy=strategy)
    assert not [e for e in played.of(ev.AgentReactionEvent) if e.action == "objects"]
    assert says_ in played.said()


def test_a_retraction_may_be_the_last_line_without_a_line_end() -> None:
    scripts = {
        "a": says(lambda p: f"One sentence. Two sentence. And a tail\n@@{p.nonce} retract #2 wrong"),
        "synthesizer": says("Done."),
    }
    played = play(scripts, strategy=chain("a"))
    assert played.text("a").rstrip() == "One sentence."
    assert [f.id for f in played.state.chunks["task/a.1"].fragments] == ["task/a.1#1"]
    assert isinstance(played.last, ev.TaskCompletedEvent)


def test_a_reader_that_failed_on_what_was_retracted_starts_afresh() -> None:
    scripts = {
        "a": withdrawing("a", 1, 20, 4),
        "b": says(sentences("b", 8), tokens_per_s=200),
        "synthesizer": says("Done."),
    }
    strategy = chain("a", "b", synthesis="section")
    broken = replace(strategy.agents[1], model="simulator/b+cutx2=0.2")
    quiet = Config(limits=LimitsConfig(max_interrupts=0))
    played = play(scripts, strategy=replace(strategy, agents=(strategy.agents[0], broken)), config=quiet)
    completed = [e.finish_reason for e in played.of(ev.ChunkCompletedEvent) if e.agent == "b"]
    assert completed == ["error", "stop"]
    assert played.text("b") == sentences("b", 8)
    assert isinstance(played.last, ev.TaskCompletedEvent)


def test_a_synthesis_that_is_written_anew_after_a_retraction_is_the_answer() -> None:
    whole = "The synthesis is here. " * 20
    scripts = {
        "a": dataclasses.replace(withdrawing("a", 1, 8, 30), tokens_per_s=20.0),
        "synthesizer": says(whole.strip(), tokens_per_s=200),
    }
    synthesizer = replace(SYNTHESIZER, model="simulator/synthesizer+cutx1=0.1")
    played = play(scripts, strategy=replace(chain("a"), synthesizer=synthesizer))
    assert any(e.keep == 0 for e in played.of(ev.SynthesisStreamEvent))
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.content == whole.strip()
    assert last.degraded == ()
    assert "in place of a synthesis" not in played.said()


def test_a_synthesis_is_completed_once() -> None:
    def changes(prompt: Prompt) -> str:
        first, second = (f"\n@@{prompt.nonce} retract #{n} wrong\n" for n in (8, 2))
        return sentences("a", 20) + first + sentences("a", 3) + second + sentences("a mended", 6)

    played = play(
        {"a": says(changes), "synthesizer": says(sentences("synthesizer", 60))},
        strategy=chain("a"),
        config=Config(limits=LimitsConfig(max_rollbacks=0)),
    )
    assert len(played.of(ev.SynthesisCompletedEvent)) == 1


def test_a_failure_that_was_made_good_is_no_loss() -> None:
    scripts = {
        "a": withdrawing("a", 1, 20, 4),
        "b": says(sentences("b", 8), tokens_per_s=200),
        "synthesizer": says("Done."),
    }
    strategy = chain("a", "b", synthesis="section")
    broken = replace(strategy.agents[1], model="simulator/b+cutx1=0.2")
    played = play(scripts, strategy=replace(strategy, agents=(strategy.agents[0], broken)))
    assert played.text("b") == sentences("b", 8)
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.degraded == ()
