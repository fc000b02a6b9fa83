"""The agenda: which sections and turns there are, from the first to what an outline adds."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from facilitair import AgentSpec, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.engine.agenda import Agenda
from facilitair.engine.control import OutlineTitle, Verdict
from facilitair.engine.turn import Phase
from facilitair.simulator.brain import Script
from facilitair.simulator.prompt import Prompt

from .harness import (
    SYNTHESIZER,
    Played,
    chain,
    pipeline_models,
    plain,
    planned,
    play,
    reviewer,
    says,
    sentences,
)
from .parts import REVIEWED, graph, stream, turn_of, write


def test_sections_of_the_user_are_written_by_every_agent() -> None:
    played = play(plain("a", "b", "synthesizer"), strategy=chain("a", "b"), sections=["Design", "Build it"])
    assert [s.id for s in played.state.sections] == ["design", "build-it"]
    assert sorted(played.state.chunks) == ["build-it/a.1", "build-it/b.1", "design/a.1", "design/b.1"]
    text = sentences("synthesizer", 4)
    assert played.state.content == f"## Design\n\n{text}\n\n## Build it\n\n{text}"
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


# --- the agenda alone ----------------------------------------------------------------------------------------------


def begun(strategy: Strategy, *sections: str, limits: LimitsConfig | None = None) -> Agenda:
    """Return the agenda of a run that has begun."""
    plan = planned(strategy, Config(limits=limits or LimitsConfig()))
    agenda = Agenda(replace(plan, sections=sections or None), stream())
    agenda.begin()
    return agenda


OPENED = graph(("architect", "b", "c"), Edge("architect", "b", "live"))


def test_sections_of_the_user_have_a_turn_of_every_agent() -> None:
    agenda = begun(OPENED, "One", "Two")
    assert list(agenda.turns) == [
        f"{section}/{agent}.1"
        for section in ("one", "two")
        for agent in ("architect", "c", "b", "synthesizer")
    ]
    assert not agenda.outline_open
    assert [t.id for t in agenda.turns.values() if t.answers] == ["one/synthesizer.1", "two/synthesizer.1"]
    assert agenda.written() == list(agenda.sections.values())


def test_an_architect_opens_alone() -> None:
    agenda = begun(OPENED)
    opening = agenda.turns["task/architect.1"]
    assert list(agenda.turns) == [opening.id]
    assert agenda.outline_open
    assert agenda.written() == []
    assert agenda.assignment(opening).wants_outline
    assert agenda.assignment(opening).outline == ()


@pytest.mark.parametrize(
    "strategy",
    [
        graph("ab"),  # nobody owes an outline
        graph(("architect", "b"), Edge("b", "architect")),  # who does reads somebody first
        replace(graph(("architect", "b")), synthesizer=None, answer="architect"),  # or has to answer
    ],
)
def test_without_one_who_can_open_all_work_in_one_section(strategy: Strategy) -> None:
    agenda = begun(strategy)
    assert not agenda.outline_open
    assert list(agenda.sections) == ["task"]
    assert {t.agent.name for t in agenda.turns.values()} == {spec.name for spec in strategy.specs}
    assert not any(agenda.assignment(t).wants_outline for t in agenda.turns.values())


def test_where_one_section_is_allowed_nobody_opens() -> None:
    assert not begun(OPENED, limits=LimitsConfig(max_sections=1)).outline_open


def test_an_outline_divides_the_work_of_the_others_once() -> None:
    agenda = begun(OPENED)
    opening = agenda.turns["task/architect.1"]
    for title in ("One", "Two", "One"):
        agenda.outlines(opening, OutlineTitle(title))
    divided = [agenda.close_outline(opening), agenda.close_outline(opening)]
    agenda.outlines(opening, OutlineTitle("Three"))  # too late
    assert divided == [True, False]
    assert [s.info.title for s in agenda.written()] == ["One", "Two"]
    assert [t.id for t in agenda.sections["one"].turns] == ["one/c.1", "one/b.1"]
    reader = agenda.turns["one/b.1"]
    assert [r.source for r in agenda.readings(reader)] == [opening]
    assert agenda.assignment(reader).outline == ("One", "Two")
    assert agenda.assignment(reader).section == "One"


def test_only_the_one_who_opens_outlines() -> None:
    agenda = begun(OPENED)
    other = turn_of(planned(OPENED), "b")
    agenda.outlines(other, OutlineTitle("One"))
    assert not agenda.close_outline(other)
    assert agenda.outline_open


def test_what_a_turn_reads_and_has_not_seen() -> None:
    agenda = begun(graph("abc", Edge("a", "c", "live"), Edge("b", "c", "live")))
    a, b, c = (agenda.turns[f"task/{n}.1"] for n in "abc")
    write(a, "One. Two.")
    write(b, "Three.")
    assert agenda.unseen(c) == ["task/a.1#1", "task/a.1#2", "task/b.1#1"]
    c.expose(["task/a.1#1"], {})
    assert agenda.unseen(c) == ["task/a.1#2", "task/b.1#1"]
    assert agenda.unseen(a) == []


def test_fragments_are_read_by_name() -> None:
    agenda = begun(graph("ab"))
    a, b = (agenda.turns[f"task/{n}.1"] for n in "ab")
    write(a, "One. Two.")
    write(b, "Three.")
    assert agenda.texts(["task/a.1#2", "task/b.1#1", "task/a.1#1"]) == ["Two.", "Three.", "One. "]
    assert agenda.texts([]) == []


def test_everything_that_can_be_read_has_a_name() -> None:
    agenda = begun(graph("ab"))
    note = turn_of(planned(graph("x")), "x", text="A note.", section="elsewhere")
    agenda.give(note)
    assert set(agenda.sources) == {"task/a.1", "task/b.1", "task/synthesizer.1", "elsewhere/x.1"}
    assert "elsewhere/x.1" not in agenda.turns
    assert all(agenda.readings(turn)[0].source is note for turn in agenda.turns.values())
    assert agenda.unseen(agenda.turns["task/a.1"]) == ["elsewhere/x.1#1"]


def test_a_round_of_the_review_is_carried_out() -> None:
    agenda = begun(REVIEWED)
    section = agenda.sections["task"]
    reviewer, refiner = section.of("reviewer")[0], section.of("refiner")[0]
    loop_open = [section.loop_open]

    refiner.phase = Phase.DONE
    agenda.ended(refiner)
    (second,) = section.of("reviewer")[1:]
    assert second.number == 2
    second.phase, second.verdict = Phase.DONE, Verdict("approve", "approve")
    agenda.ended(second)
    assert [*loop_open, section.loop_open] == [True, False]
    assert len(section.of("refiner")) == 1
    assert reviewer.phase is Phase.WAITING


def test_an_approval_skips_the_refinement_which_is_then_not_planned() -> None:
    agenda = begun(REVIEWED)
    reviewer = agenda.sections["task"].of("reviewer")[0]
    reviewer.phase, reviewer.verdict = Phase.DONE, Verdict("approve", "approve")
    agenda.ended(reviewer)
    assert [t.agent.name for t in agenda.planned()] == ["coder", "reviewer", "documenter"]


def test_a_settled_section_is_unanswered_until_it_was_said() -> None:
    agenda = begun(replace(graph("ab"), synthesizer=None, answer="b"), "One", "Two")
    unanswered = [agenda.unanswered()]
    for turn in agenda.sections["one"].turns:
        turn.phase = Phase.DONE
    unanswered.append(agenda.unanswered())
    agenda.sections["one"].said = True
    unanswered.append(agenda.unanswered())
    assert unanswered == [[], [agenda.sections["one"]], []]
    assert [s.done for s in agenda.sections.values()] == [True, False]


def test_a_section_with_a_synthesizer_is_answered_by_it() -> None:
    agenda = begun(graph("ab"))
    for turn in agenda.sections["task"].turns:
        turn.phase = Phase.DONE
    assert agenda.unanswered() == []
    assert agenda.running() == []
