"""The review loop: whose turn comes, what a round reads, and when it is over."""

from __future__ import annotations

import pytest

from facilitair import AgentSpec, Collaboration, Config, Edge, Loop, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.engine.control import Verdict
from facilitair.engine.review import Review, Step
from facilitair.engine.sections import OPENING, Section
from facilitair.engine.turn import AgentTurn, Phase
from facilitair.simulator.prompt import Prompt

from .harness import (
    SYNTHESIZER,
    Look,
    Played,
    apart,
    pipeline_models,
    plain,
    planned,
    play,
    reviewer,
    says,
    sentences,
)
from .parts import REVIEWED, turn_of

PLAN = planned(REVIEWED)
REVIEW = Review(PLAN.strategy)  # at most two rounds
APPROVED, REVISE, UNCLEAR = (Verdict(d, d) for d in ("approve", "revise", "other"))


def in_review(*agents: str) -> Section:
    """Return a section with the first turns of its agents, whose loop is open, and further turns of `agents`."""
    section = Section(OPENING, loop_open=True)
    for name in ("coder", "reviewer", "refiner", "documenter", *agents):
        section.turns.append(turn_of(PLAN, name, len(section.of(name)) + 1))
    return section


def ended(
    section: Section,
    agent: str,
    number: int = 1,
    *,
    verdict: Verdict | None = None,
    failure: str | None = None,
) -> tuple[AgentTurn, Step]:
    """End a turn, and return it and what follows."""
    turn = section.of(agent)[number - 1]
    turn.phase, turn.verdict, turn.failure = Phase.DONE, verdict, failure
    return turn, REVIEW.after(section, turn)


def test_an_approval_ends_the_loop_and_skips_the_refinement_that_waits() -> None:
    section = in_review()
    assert ended(section, "reviewer", verdict=APPROVED)[1] == Step(
        ends=True, skips=(section.of("refiner")[0],)
    )


def test_a_review_that_failed_ends_the_loop() -> None:
    section = in_review()
    assert ended(section, "reviewer", verdict=REVISE, failure="gone")[1].ends


def test_a_revision_lets_the_refiner_that_waits_begin() -> None:
    section = in_review()
    step = ended(section, "reviewer", verdict=REVISE)[1]
    assert (step.comes, step.ends, step.remark) == (None, False, None)


def test_the_rounds_go_on_until_their_number_is_reached() -> None:
    section = in_review()
    assert ended(section, "refiner")[1] == Step(comes=("reviewer", 2))
    section.turns.append(turn_of(PLAN, "reviewer", 2))
    assert ended(section, "reviewer", 2, verdict=REVISE)[1].comes == ("refiner", 2)
    section.turns.append(turn_of(PLAN, "refiner", 2))
    last = ended(section, "refiner", 2)[1]
    assert (last.comes, last.ends) == (None, True)
    assert last.remark == "the review of 'task' ended after 2 rounds unapproved"


def test_a_refinement_that_failed_ends_the_loop_without_a_word() -> None:
    assert ended(in_review(), "refiner", failure="gone")[1] == Step(ends=True)


@pytest.mark.parametrize("verdict", [None, UNCLEAR])
def test_a_review_without_a_verdict_is_taken_as_revise(verdict: Verdict | None) -> None:
    section = in_review("reviewer")
    step = ended(section, "reviewer", 2, verdict=verdict)[1]
    assert (step.comes, step.ends) == (("refiner", 2), False)
    assert (step.remark, step.level) == ("reviewer gave no verdict; taken as revise", "warning")


def test_a_turn_that_ends_a_second_time_calls_nobody_twice() -> None:
    section = in_review("reviewer", "refiner")
    assert ended(section, "refiner")[1] == Step()
    assert ended(section, "reviewer", 2, verdict=REVISE)[1].comes is None


@pytest.mark.parametrize("agent", ["coder", "documenter"])
def test_who_is_not_of_the_loop_changes_nothing_in_it(agent: str) -> None:
    assert ended(in_review(), agent)[1] == Step()


def test_after_its_end_nothing_follows() -> None:
    section = in_review()
    section.loop_open = False
    assert ended(section, "reviewer", verdict=REVISE)[1] == Step()
    assert ended(section, "refiner")[1] == Step()


def test_a_round_reads_its_own_review_and_the_refinement_before_it() -> None:
    section = in_review("reviewer", "refiner")

    def read(agent: str, number: int, source: str) -> str | None:
        turn = REVIEW.read_over(section, section.of(agent)[number - 1], source)
        return None if turn is None else turn.id

    assert read("reviewer", 1, "coder") is None  # the edge decides
    assert read("refiner", 1, "coder") is None
    assert read("refiner", 1, "reviewer") == "task/reviewer.1"
    assert read("reviewer", 2, "coder") == "task/refiner.1"
    assert read("refiner", 2, "coder") == "task/refiner.1"
    assert read("refiner", 2, "reviewer") == "task/reviewer.2"
    assert read("documenter", 1, "refiner") is None


def test_only_an_open_loop_may_go_on_and_only_for_its_two() -> None:
    section = in_review()
    may = {name for name in PLAN.agents if REVIEW.may_go_on(section, name)}
    assert may == {"reviewer", "refiner"}
    assert may == {name for name in PLAN.agents if REVIEW.includes(name)}
    assert {name for name in PLAN.agents if REVIEW.is_reviewer(name)} == {"reviewer"}
    section.loop_open = False
    assert not any(REVIEW.may_go_on(section, name) for name in PLAN.agents)


def test_without_a_loop_nothing_follows() -> None:
    plan = planned(apart(coder="coder"))
    review, turn = Review(plan.strategy), turn_of(plan, "coder", phase=Phase.DONE)
    section = Section(OPENING, [turn], loop_open=True)
    assert not review.exists
    assert REVIEW.exists
    assert review.after(section, turn) == Step()
    assert review.read_over(section, turn, "coder") is None
    assert not review.may_go_on(section, "coder")


def test_approval_in_the_first_round_skips_the_refiner() -> None:
    scripts = plain("architect", "coder", "refiner", "documenter", "synthesizer")
    scripts["reviewer"] = reviewer("approve all is well")
    played = play(scripts, strategy="pipeline", models=pipeline_models())
    assert sorted(c.partition("/")[2] for c in played.state.chunks) == [
        "architect.1", "coder.1", "documenter.1", "reviewer.1",
    ]  # fmt: skip
    assert "@@" not in played.text("reviewer")
    fragments = played.state.chunks["task/documenter.1"].fragments
    derived = {shown.partition("#")[0] for f in fragments for shown in f.derived_from}
    assert derived == {"task/coder.1"}  # the skipped refiner is passed through


def test_a_revision_is_reviewed_again_until_it_is_approved() -> None:
    scripts = plain("architect", "coder", "refiner", "documenter", "synthesizer")
    scripts["reviewer"] = reviewer("revise too short", "approve")
    played = play(scripts, strategy="pipeline", models=pipeline_models())
    order = [e.chunk_id.partition("/")[2] for e in played.of(ev.ChunkStartedEvent)]
    assert order == ["architect.1", "coder.1", "reviewer.1", "refiner.1", "reviewer.2", "documenter.1"]


def test_the_loop_ends_after_its_rounds() -> None:
    scripts = plain("architect", "coder", "refiner", "documenter", "synthesizer")
    scripts["reviewer"] = reviewer("revise")
    played = play(scripts, strategy="pipeline", models=pipeline_models())
    assert sum(e.agent == "refiner" for e in played.of(ev.ChunkStartedEvent)) == 2
    assert "ended after 2 rounds unapproved" in played.said()
    assert isinstance(played.last, ev.TaskCompletedEvent)


def test_a_missing_verdict_is_taken_as_revise() -> None:
    scripts = plain("architect", "coder", "reviewer", "refiner", "documenter", "synthesizer")
    played = play(scripts, strategy="pipeline", models=pipeline_models())
    assert "gave no verdict; taken as revise" in played.said()
    assert "task/refiner.2" in played.state.chunks


def review(
    verdict: str,
    *,
    quorum: float = 0.5,
    broken: str = "",
    look: Look | None = None,
    text: str = "I have read it.\n@@{nonce} {verdict}\n",
    last: str | None = None,
) -> Played:
    """Play one that writes, one that reviews with `verdict`, and one that refines; the first two may be `broken`. The
    reviewer answers a last request with `last`, else with its verdict."""

    def reviews(prompt: Prompt) -> str:
        if prompt.is_last and last is not None:
            return f"@@{prompt.nonce} {last}"
        return text.format(nonce=prompt.nonce, verdict=verdict)

    strategy = Strategy(
        name="review",
        agents=(
            AgentSpec("c", "coder", model=f"simulator/c{broken}"),
            AgentSpec("r", "reviewer", model=f"simulator/r{broken}"),
            AgentSpec("f", "refiner", model="simulator/f"),
        ),
        edges=(Edge("c", "r"), Edge("c", "f"), Edge("r", "f", "after")),
        synthesizer=SYNTHESIZER,
        loop=Loop("r", "f"),
    )
    scripts = plain("c", "f", "synthesizer")
    scripts["r"] = says(reviews)
    config = Config(limits=LimitsConfig(quorum=quorum))
    return play(scripts, strategy=strategy, config=config, look=look)


def test_an_approval_in_other_words_ends_the_review() -> None:
    played = review("verdict **Approved**, all is well")
    assert sorted(played.state.chunks) == ["task/c.1", "task/r.1"]
    assert "no verdict" not in played.said()


def test_a_revision_in_other_words_begins_a_round() -> None:
    played = review("verdict Revision needed: too short")
    assert "task/f.1" in played.state.chunks
    assert "no verdict" not in played.said()


def test_what_is_no_approval_is_not_taken_for_one() -> None:
    played = review("verdict not approve")
    assert "task/f.1" in played.state.chunks
    assert "no verdict" in played.said()


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_review_that_is_only_a_verdict_counts_and_its_reason_is_read(end: str) -> None:
    played = review("verdict revise the lock is never released", text="@@{nonce} {verdict}" + end)
    assert played.text("r") == "**Verdict:** revise the lock is never released\n\n"
    assert "**Verdict:** revise the lock is never released" in played.prompts("f")[0]
    assert "the lock is never released" in played.prompts("synthesizer")[-1]
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.degraded == ()


def test_a_verdict_is_a_paragraph_of_its_own() -> None:
    played = review("verdict revise it leaks", text="I have read it.\n@@{nonce} {verdict}\nAnd more.")
    assert played.text("r") == "I have read it.\n\n**Verdict:** revise it leaks\n\nAnd more."


def test_a_verdict_on_text_that_was_taken_back_does_not_count() -> None:
    last = "verdict revise it must change"
    text = "It is fine.\n@@{nonce} {verdict}\n@@{nonce} retract #1 no\nIt must change."
    played = review("verdict approve", text=text, last=last)
    assert played.text("r") == "It must change.\n\n**Verdict:** revise it must change\n\n"
    assert "task/f.1" in played.state.chunks


def test_a_verdict_that_is_taken_back_itself_does_not_count() -> None:
    text = "It is fine.\n@@{nonce} {verdict}\n@@{nonce} retract #2 no\nAnd yet."
    played = review("verdict approve", text=text, last="done")
    assert played.text("r") == "It is fine.\n\nAnd yet."
    assert "gave no verdict; taken as revise" in played.said()


def test_an_empty_verdict_leaves_no_paragraph() -> None:
    played = review("verdict", text="It is fine.\n@@{nonce} {verdict}\n")
    assert played.text("r") == "It is fine.\n"
    assert "gave no verdict; taken as revise" in played.said()


def test_a_reviewer_that_owes_an_outline_reviews_and_plans_nothing() -> None:
    strategy = Strategy(
        name="review",
        agents=(
            AgentSpec("r", "architect", model="simulator/r"),
            AgentSpec("c", "coder", model="simulator/c"),
            AgentSpec("f", "refiner", model="simulator/f"),
        ),
        edges=(Edge("c", "f"), Edge("r", "f", "after")),
        synthesizer=SYNTHESIZER,
        loop=Loop("r", "f"),
    )
    scripts = plain("c", "f", "synthesizer")
    scripts["r"] = says(lambda p: f"@@{p.nonce} section One\n@@{p.nonce} section Two\nI have read it.")
    played = play(scripts, strategy=strategy)
    assert [s.id for s in played.state.sections] == ["task"]
    assert "task/f.2" in played.state.chunks
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.content == sentences("synthesizer", 4)


def test_a_loop_that_leaves_nothing_to_read_ends_the_run() -> None:
    def look(run: Collaboration, event: ev.AnyEvent) -> None:
        if event.ts > 1000:
            run.cancel("it hangs")

    played = review("verdict approve", quorum=0.01, broken="+refused", look=look)
    last = played.last
    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "agents_failed"
    assert last.partial == ""
