"""Who reads what, as a section stands."""

from __future__ import annotations

from facilitair import Edge
from facilitair.engine.plan import Plan
from facilitair.engine.readers import Readers
from facilitair.engine.review import Review
from facilitair.engine.sections import OPENING, Section
from facilitair.engine.turn import AgentTurn, Phase

from .harness import planned
from .parts import REVIEWED, graph, turn_of


def readers(plan: Plan) -> Readers:
    return Readers(plan.strategy, Review(plan.strategy))


def read(plan: Plan, section: Section, turn: AgentTurn) -> dict[str, tuple[str, bool]]:
    """Return over which kind of edge `turn` reads what, and whether more is to come from there."""
    return {r.source.id: (r.kind, r.settled) for r in readers(plan).readings(section, turn)}


def test_a_turn_reads_over_its_edges() -> None:
    plan = planned(graph("abc", Edge("a", "c", "live"), Edge("b", "c", "after")))
    a, b, c = (turn_of(plan, n) for n in "abc")
    section = Section(OPENING, [a, b, c])
    assert read(plan, section, c) == {"task/a.1": ("live", False), "task/b.1": ("after", False)}
    assert read(plan, section, a) == {}
    b.phase = Phase.DONE
    assert read(plan, section, c)["task/b.1"] == ("after", True)


def test_who_was_skipped_or_failed_without_text_is_read_through() -> None:
    plan = planned(graph("abcd", Edge("a", "b"), Edge("b", "c", "live"), Edge("c", "d", "live")))
    a, b, c, d = (turn_of(plan, n) for n in "abcd")
    section = Section(OPENING, [a, b, c, d])
    c.phase = Phase.SKIPPED
    assert read(plan, section, d) == {"task/b.1": ("live", False)}
    b.phase, b.failure = Phase.DONE, "gone"
    assert read(plan, section, d) == {"task/a.1": ("live", False)}  # over its own kind of edge


def test_who_failed_with_text_is_still_read() -> None:
    plan = planned(graph("ab", Edge("a", "b", "live")))
    a, b = turn_of(plan, "a", text="A sentence."), turn_of(plan, "b")
    a.phase, a.failure = Phase.DONE, "gone"
    assert read(plan, Section(OPENING, [a, b]), b) == {"task/a.1": ("live", True)}


def test_what_is_reached_on_two_ways_is_read_once() -> None:
    plan = planned(graph("abc", Edge("a", "b"), Edge("a", "c", "live"), Edge("b", "c", "live")))
    a, b, c = (turn_of(plan, n) for n in "abc")
    b.phase = Phase.SKIPPED
    found = readers(plan).readings(Section(OPENING, [a, b, c]), c)
    assert [r.source.id for r in found] == ["task/a.1"]


def test_the_opening_is_read_where_its_author_has_no_turn() -> None:
    plan = planned(graph(("architect", "b"), Edge("architect", "b", "live")))
    opening = turn_of(plan, "architect", phase=Phase.DONE)
    section = Section(OPENING, [turn_of(plan, "b", section="one")])
    them = readers(plan)
    assert them.readings(section, section.turns[0]) == []
    them.opening = opening
    assert [r.source for r in them.readings(section, section.turns[0])] == [opening]


def test_while_rounds_may_come_a_reader_of_the_refiner_waits() -> None:
    plan = planned(REVIEWED)
    section = Section(OPENING, [turn_of(plan, n, phase=Phase.DONE) for n in plan.strategy.in_order()])
    documenter = section.of("documenter")[0]
    section.loop_open = True
    assert read(plan, section, documenter) == {"task/refiner.1": ("after", False)}
    section.loop_open = False
    assert read(plan, section, documenter) == {"task/refiner.1": ("after", True)}


def test_readers_of_a_skipped_refiner_read_what_was_approved_and_not_the_review() -> None:
    plan = planned(REVIEWED)
    section = Section(OPENING, [turn_of(plan, n, phase=Phase.DONE) for n in plan.strategy.in_order()])
    section.of("refiner")[0].phase = Phase.SKIPPED
    assert read(plan, section, section.of("documenter")[0]) == {"task/coder.1": ("after", True)}


def test_the_last_turn_of_an_agent_is_read() -> None:
    plan = planned(REVIEWED)
    section = Section(OPENING, [turn_of(plan, n, phase=Phase.DONE) for n in plan.strategy.in_order()])
    section.turns.append(turn_of(plan, "refiner", 2))
    assert read(plan, section, section.of("documenter")[0]) == {"task/refiner.2": ("after", False)}


def test_the_synthesizer_reads_every_agent() -> None:
    plan = planned(graph("abc", synthesis="section"))
    section = Section(OPENING, [turn_of(plan, n) for n in "abc"])
    synthesis = turn_of(plan, "synthesizer")
    assert read(plan, section, synthesis) == {f"task/{n}.1": ("after", False) for n in "abc"}


def test_a_turn_of_the_second_round_reads_the_first_refinement_whatever_has_become_of_it() -> None:
    plan = planned(REVIEWED)
    section = Section(OPENING, [turn_of(plan, n, phase=Phase.DONE) for n in plan.strategy.in_order()])
    section.loop_open = True
    section.turns += [turn_of(plan, "reviewer", 2), turn_of(plan, "refiner", 2)]
    second_review, second_refinement = section.turns[-2:]
    assert read(plan, section, second_review) == {"task/refiner.1": ("after", True)}
    assert read(plan, section, second_refinement) == {
        "task/refiner.1": ("after", True),
        "task/reviewer.2": ("after", False),
    }
