"""The agenda: which sections and turns there are, from the first to what an outline adds."""

from __future__ import annotations

from facilitair import AgentSpec, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.simulator.brain import Script
from facilitair.simulator.prompt import Prompt

from .harness import SYNTHESIZER, Played, chain, pipeline_models, plain, play, reviewer, says, sentences


def test_sections_of_the_user_are_written_by_every_agent() -> None:
    played = play(plain("a", "b", "synthesizer"), strategy=chain("a", "b"), sections=["Design", "Build it"])
    assert [s.id for s in played.state.sections] == ["design", "build-it"]
    assert sorted(played.state.chunks) == ["build-it/a.1", "build-it/b.1", "design/a.1", "design/b.1"]
    assert played.state.content == "\n\n".join([sentences("synthesizer", 4)] * 2)
    assert len(played.of(ev.SynthesisCompletedEvent)) == 2


def outliner(*titles: str) -> Script:
    def text(prompt: Prompt) -> str:
        lines = "".join(f"@@{prompt.nonce} section {title}\n" for title in titles)
        return lines + sentences("architect", 3)

    return says(text)


def test_the_outline_of_the_architect_makes_the_sections() -> None:
    scripts = plain("coder", "refiner", "documenter", "synthesizer") | {
        "architect": outliner("Data model", "Interface", "Data model"),
        "reviewer": reviewer("approve fine"),
    }
    played = play(scripts, strategy="balanced", models=pipeline_models())
    assert [s.title for s in played.state.sections] == ["Task", "Data model", "Interface"]
    assert "task/architect.1" in played.state.chunks
    assert "data-model/coder.1" in played.state.chunks
    assert "data-model/architect.1" not in played.state.chunks
    assert "section" not in played.text("architect")
    assert played.state.content.count("sentence number 1 of synthesizer") == 2


def test_an_outline_is_capped_and_says_what_it_leaves_out() -> None:
    scripts = plain("coder", "reviewer", "refiner", "documenter", "synthesizer")
    scripts["architect"] = outliner("A", "B", "C")
    played = play(
        scripts,
        strategy="balanced",
        models=pipeline_models(),
        config=Config(limits=LimitsConfig(max_sections=2)),
    )
    assert [s.title for s in played.state.sections] == ["Task", "A", "B"]
    assert "'C' is left out" in played.said()


def test_one_outline_line_leaves_one_section() -> None:
    scripts = plain("coder", "reviewer", "refiner", "documenter", "synthesizer")
    scripts["architect"] = outliner("Everything")
    played = play(scripts, strategy="balanced", models=pipeline_models())
    assert [s.id for s in played.state.sections] == ["task"]
    assert played.text("coder") == sentences("coder", 4)


def opened_by(opening: str) -> Played:
    """Play an architect that opens so, and a coder that reads it; "@" stands for the run's mark."""
    strategy = Strategy(
        name="opened",
        agents=(
            AgentSpec("arch", "architect", model="simulator/arch"),
            AgentSpec("b", "coder", model="simulator/b"),
        ),
        edges=(Edge("arch", "b", "live"),),
        synthesizer=SYNTHESIZER,
    )
    architect = says(lambda prompt: opening.replace("@", f"@@{prompt.nonce}"))
    return play({"arch": architect, **plain("b", "synthesizer")}, strategy=strategy)


def test_a_heading_above_the_outline_does_not_hide_it() -> None:
    played = opened_by("# Plan\n\n## Outline\n@ section One\n@ section Two\nText here.")
    assert [s.title for s in played.state.sections] == ["Task", "One", "Two"]
    assert sorted(played.state.chunks) == ["one/b.1", "task/arch.1", "two/b.1"]


def test_text_above_the_outline_closes_it_and_that_is_said() -> None:
    played = opened_by("Here is what I propose. It is simple.\n@ section One\n@ section Two\nText here.")
    assert [s.id for s in played.state.sections] == ["task"]
    assert "arch gave no outline; the work stays in one section" in played.said()
