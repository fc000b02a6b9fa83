"""Who answers: a synthesizer, an agent, or, where both fail, the deliverables. Whole runs."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from facilitair import AgentSpec, Collaboration, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.engine.graph import EdgeKind, Loop
from facilitair.simulator.brain import Script
from facilitair.simulator.prompt import Prompt

from .harness import SYNTHESIZER, Played, apart, chain, play, says, sentences

TEXTS = {n: says(sentences(n, 6)) for n in ("a", "b", "c", "synthesizer")}


def answered_by(answer: str, strategy: Strategy, *deliverables: tuple[str, ...]) -> Strategy:
    """Return the strategy without its synthesizer."""
    return replace(strategy, synthesizer=None, answer=answer, deliverables=deliverables or None)


def completed(played: Played) -> ev.TaskCompletedEvent:
    assert isinstance(played.last, ev.TaskCompletedEvent)
    return played.last


@pytest.mark.parametrize("kind", ["live", "after"])
def test_the_text_of_an_agent_is_the_answer(kind: EdgeKind) -> None:
    played = play(TEXTS, strategy=answered_by("b", chain("a", "b", "c", kind=kind)))
    end = completed(played)
    assert (end.content, end.degraded) == (sentences("b", 6), ())
    assert end.models_used == ("simulator/a", "simulator/b", "simulator/c")
    started = played.events[0]
    assert isinstance(started, ev.TaskStartedEvent)
    assert [agent.name for agent in started.agents] == ["a", "b", "c"]
    *_, last_chunk = played.of(ev.ChunkCompletedEvent)
    (stream,) = played.of(ev.SynthesisStreamEvent)
    (synthesis,) = played.of(ev.SynthesisCompletedEvent)
    assert last_chunk.seq < stream.seq < synthesis.seq
    assert (synthesis.content, synthesis.finish_reason) == (sentences("b", 6), "stop")
    assert "in place of" not in played.said()


def test_each_section_is_answered_by_the_agent_s_text_on_it() -> None:
    scripts = {"a": says(lambda prompt: f"About {prompt.section}."), "b": says("A remark.")}
    played = play(scripts, strategy=answered_by("a", apart(a="a", b="b")), sections=["One", "Two"])
    assert completed(played).content == "## One\n\nAbout One.\n\n## Two\n\nAbout Two."
    assert {e.section: e.content for e in played.of(ev.SynthesisCompletedEvent)} == {
        "one": "## One\n\nAbout One.", "two": "## Two\n\nAbout Two.",
    }  # fmt: skip


def test_an_architect_that_answers_divides_nothing() -> None:
    def opening(prompt: Prompt) -> str:
        return f"@@{prompt.nonce} section One\n@@{prompt.nonce} section Two\nThe answer."

    architect = AgentSpec("arch", "architect", model="simulator/arch")
    strategy = replace(apart(b="b"), agents=(architect, *apart(b="b").agents))
    played = play({"arch": says(opening), **TEXTS}, strategy=answered_by("arch", strategy))
    assert [s.id for s in played.state.sections] == ["task"]
    assert completed(played).content == "The answer."


def test_where_who_answers_has_no_text_the_deliverables_do() -> None:
    strategy = answered_by("c", apart(a="a", b="b", c="c+500x99"), ("b",), ("a", "c"))
    end = completed(played := play(TEXTS, strategy=strategy))
    assert end.content == f"{sentences('b', 6)}\n\n{sentences('a', 6)}"
    assert len(end.degraded) == 1
    assert end.degraded[0].startswith("c on task: simulator/c")
    assert "task shows the text of b, a in place of the text of c" in played.said()
    assert [e.finish_reason for e in played.of(ev.SynthesisCompletedEvent)] == ["error"]


def test_a_broken_text_of_who_answers_stands() -> None:
    strategy = answered_by("a", apart(a="a+cut=0.5", b="b"))
    end = completed(played := play(TEXTS, strategy=strategy))
    assert end.content == played.text("a")
    assert 0 < len(end.content) < len(sentences("a", 6))
    assert len(end.degraded) == 1
    assert "in place of" not in played.said()
    assert [e.finish_reason for e in played.of(ev.SynthesisCompletedEvent)] == ["error"]


def test_where_no_deliverable_has_text_the_run_fails() -> None:
    strategy = answered_by("a", apart(a="a+500x99", b="b+500x99", c="c"), ("b",))
    last = play(TEXTS, strategy=strategy, config=Config(limits=LimitsConfig(quorum=0.1))).last
    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "agents_failed"
    assert last.message == "a, b left no text on 'task' that could be the answer"


def test_a_failed_synthesis_shows_the_latest_of_each_chain() -> None:
    broken = replace(SYNTHESIZER, model="simulator/synthesizer+500x9")
    strategy = replace(chain("a", "b", "c"), synthesizer=broken, deliverables=(("a", "c"), ("b",)))
    end = completed(played := play(TEXTS, strategy=strategy))
    assert end.content == f"{sentences('c', 6)}\n\n{sentences('b', 6)}"
    assert "task shows the text of c, b in place of a synthesis" in played.said()
    assert any(loss.startswith("synthesizer on task") for loss in end.degraded)


def test_the_partial_answer_is_made_of_the_deliverables() -> None:
    def look(run: Collaboration, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.ChunkCompletedEvent) and event.agent == "c":
            run.cancel("enough")

    # c ends first, and as the last of one chain it would be shown alone.
    scripts: dict[str, Script] = {**TEXTS, "c": says("Short.", tokens_per_s=1.0)}
    agents = replace(apart(a="a", b="b", c="c"), synthesis="end", deliverables=(("b",), ("a",)))
    for strategy, shown in ((agents, "ba"), (replace(agents, synthesizer=None, answer="c"), "c")):
        played = play(scripts, strategy=strategy, look=look)
        assert isinstance(played.last, ev.TaskCancelledEvent)
        assert all(map(played.text, shown))
        assert played.last.partial == "\n\n".join(map(played.text, shown))


def reviewed(verdict: str, **texts: Script) -> Played:
    """Play one that writes, one that reviews, and one that refines and answers."""
    names = {"w": "coder", "r": "reviewer", "f": "refiner"}
    strategy = Strategy(
        name="reviewed",
        agents=tuple(AgentSpec(n, role, model=f"simulator/{n}") for n, role in names.items()),
        edges=(Edge("w", "r"), Edge("w", "f"), Edge("r", "f")),
        loop=Loop("r", "f", max_rounds=2),
    )
    scripts = {
        "w": says("First."),
        "r": says(lambda p: f"Read.\n@@{p.nonce} verdict {verdict}"),
        "f": says(lambda p: "Third." if "Second." in str(p.peers) else "Second."),
        **texts,
    }
    return play(scripts, strategy=answered_by("f", strategy, ("w", "f")))


def test_the_latest_round_of_who_answers_is_the_answer() -> None:
    assert completed(reviewed("revise")).content == "Third."


def test_one_that_answers_and_was_never_needed_is_no_loss() -> None:
    end = completed(played := reviewed("approve"))
    assert (end.content, end.degraded) == ("First.", ())
    assert "in place of" not in played.said()
    assert [e.finish_reason for e in played.of(ev.SynthesisCompletedEvent)] == ["stop"]


def test_a_last_round_that_failed_leaves_the_answer_of_the_one_before() -> None:
    end = completed(reviewed("revise", f=says(lambda p: "" if "Second." in str(p.peers) else "Second.")))
    assert end.content == "Second."
    assert len(end.degraded) == 1


def test_an_answer_whose_ground_is_taken_back_is_said_anew() -> None:
    # b breaks off, so it does not wait for the architect, who then takes back what b was shown.
    def opening(prompt: Prompt) -> str:
        outline = f"@@{prompt.nonce} section One\n@@{prompt.nonce} section Two\n"
        return (
            f"{outline}{sentences('arch', 40)}\n@@{prompt.nonce} retract #1 wrong\n{sentences('better', 2)}"
        )

    architect = AgentSpec("arch", "architect", model="simulator/arch")
    writers = apart(b="b+cut=0.5", c="c")
    strategy = replace(writers, agents=(architect, *writers.agents), edges=(Edge("arch", "b", "live"),))
    scripts = {"arch": says(opening), "b": says(sentences("b", 6)), "c": says("C.")}
    played = play(scripts, strategy=answered_by("b", strategy))

    said = [e.content for e in played.of(ev.SynthesisCompletedEvent) if e.section == "one"]
    assert len(said) == 2
    assert said[0]
    retracted = next(e for e in played.of(ev.FragmentsRetractedEvent) if e.chunk_id == "one/b.1")
    assert retracted.keep == 0
    assert [e.section for e in played.of(ev.SynthesisCompletedEvent) if e.seq < retracted.seq] == [
        "one",
        "two",
    ]
    texts = (f"## {title}\n\n{played.text('b', title.lower())}" for title in ("One", "Two"))
    assert completed(played).content == "\n\n".join(texts)
