"""What is said of a run as a whole."""

from __future__ import annotations

from itertools import chain

import pytest
from msgspec.structs import replace

from facilitair import Config, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.engine.agenda import Agenda
from facilitair.engine.announcer import Announcer
from facilitair.engine.budget import Budget
from facilitair.engine.plan import Plan
from facilitair.engine.turn import Phase
from facilitair.errors import RunErrorCode
from facilitair.stream import EventStream, Figures

from .harness import planned
from .parts import graph, model, stream, write


class Stage:
    """A run that has begun and in which nothing happens by itself."""

    def __init__(self, strategy: Strategy, *sections: str, plan: Plan | None = None) -> None:
        self.plan = replace(plan or planned(strategy), sections=sections or None)
        self.events: EventStream = stream()
        self.agenda = Agenda(self.plan, self.events)
        self.budget = Budget(None, None)
        self.announcer = Announcer(self.plan, self.events, self.agenda, self.budget)
        self.agenda.begin()

    def said(self) -> ev.AnyEvent:
        """The one thing that was said now."""
        (event,) = self.events.drain()
        return event


def test_a_run_is_introduced_with_its_agents_and_what_should_be_known() -> None:
    plan = replace(planned(graph("ab")), notices=("No key was found.",), context={"language": "go"})
    stage = Stage(plan.strategy, plan=plan)
    stage.announcer.introduce()
    started, notice = stage.events.drain()
    assert isinstance(started, ev.TaskStartedEvent)
    assert [a.name for a in started.agents] == ["a", "b", "synthesizer"]
    assert (started.strategy, started.task, started.context) == ("own", "Build a thing", {"language": "go"})
    assert started.simulated
    assert "cancel" in started.commands
    assert isinstance(notice, ev.SystemMessageEvent)
    assert (notice.message, notice.level) == ("No key was found.", "warning")


def test_progress_counts_what_is_known_and_not_what_was_never_needed() -> None:
    stage = Stage(graph("abc"), "One", "Two")
    first, second, third, *_ = chain.from_iterable(s.turns for s in stage.agenda.sections.values())
    first.phase, second.phase, third.phase = Phase.DONE, Phase.SKIPPED, Phase.STREAMING
    stage.announcer.progress()
    progress = stage.said()
    assert isinstance(progress, ev.TaskProgressEvent)
    assert (progress.completed_chunks, progress.total_chunks) == (1, 5)
    assert [s.title for s in progress.sections] == ["One", "Two"]
    assert progress.estimated_time_s == stage.plan.estimate_time()


def test_while_the_sections_are_being_found_every_agent_counts() -> None:
    stage = Stage(graph(("architect", "b", "c")))
    assert stage.agenda.outline_open
    stage.announcer.progress()
    progress = stage.said()
    assert isinstance(progress, ev.TaskProgressEvent)
    assert (progress.completed_chunks, progress.total_chunks) == (0, 3)


def test_a_chunk_s_place_counts_those_that_have_begun() -> None:
    stage = Stage(graph("ab"), "One", "Two")
    turns = [t for s in stage.agenda.sections.values() for t in s.turns]
    for turn in turns[:3]:
        turn.pulse.opened(1.0)
    place = stage.announcer.place(turns[2])
    assert (place.current, place.total, place.section_index, place.section_total) == (3, 4, 2, 2)


def test_what_an_agent_does_with_what_it_was_shown_is_in_the_ledger() -> None:
    stage = Stage(graph("ab"))
    turn = stage.agenda.turns["task/b.1"]
    stage.announcer.reacts(turn, ("task/a.1#1",), "considers")
    reaction = stage.said()
    assert isinstance(reaction, ev.AgentReactionEvent)
    assert (reaction.agent, reaction.because, reaction.action) == ("b", ("task/a.1#1",), "considers")
    stage.announcer.completed({})
    end = stage.said()
    assert isinstance(end, ev.TaskCompletedEvent)
    assert [(entry.chunk_id, entry.action) for entry in end.ledger] == [("task/b.1", "considers")]


def test_the_end_names_the_answer_the_losses_and_who_was_asked() -> None:
    stage = Stage(graph("ab"), "One", "Two")
    stage.announcer.progress()
    stage.agenda.turns["two/a.1"].fail("gone")
    for section, text in (("two", "Second."), ("one", "First.")):
        stage.events.say(ev.SynthesisStreamEvent(section=section, tokens=text))
        stage.events.close_synthesis(section, "stop")
    stage.budget.open(1, model(10.0, 50.0), 400)
    stage.events.drain()

    real = replace(model(10.0, 50.0), simulated=False)
    stage.announcer.completed({"openai/x": real})
    end = stage.said()
    assert isinstance(end, ev.TaskCompletedEvent)
    assert (end.content, end.degraded) == ("First.\n\nSecond.", ("a on two: gone",))
    assert (end.models_used, end.simulated) == (("openai/x",), False)
    assert end.usage.input_tokens == 100
    assert end.cost_usd == pytest.approx(0.001)


def test_what_was_shown_is_the_partial_answer_else_what_the_agents_have() -> None:
    stage = Stage(replace(graph("ab"), deliverables=(("b",), ("a",))), "One", "Two")
    for turn in stage.agenda.turns.values():
        write(turn, f"{turn.id}.")
    stage.events.say(ev.SynthesisStreamEvent(section="one", tokens="Half an answer"))
    stage.events.drain()
    stage.announcer.cancelled("enough", {})
    closed, end = stage.events.drain()
    assert isinstance(closed, ev.SynthesisCompletedEvent)
    assert closed.finish_reason == "cancelled"
    assert isinstance(end, ev.TaskCancelledEvent)
    assert end.partial == "Half an answer\n\n## Two\n\ntwo/b.1.\n\ntwo/a.1."


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("budget_exceeded", "budget"),
        ("deadline_exceeded", "deadline"),
        ("agents_failed", "error"),
        ("internal", "error"),
    ],
)
def test_open_chunks_are_closed_for_the_reason_of_the_end(code: RunErrorCode, reason: str) -> None:
    stage = Stage(graph("a"))
    begun = ev.ChunkStartedEvent(
        chunk_id="task/a.1", section="task", agent="a", role="coder", model="a", description="",
        current=1, total=1, section_index=1, section_total=1,
    )  # fmt: skip
    stage.events.say(begun)
    stage.events.drain()
    used = ev.Usage(input_tokens=3, output_tokens=1)
    stage.announcer.failed(code, "it is over", {"task/a.1": Figures(used, 0.5)})
    _, completed, end = stage.events.drain()
    assert isinstance(completed, ev.ChunkCompletedEvent)
    assert (completed.finish_reason, completed.usage, completed.cost_usd) == (reason, used, 0.5)
    assert isinstance(end, ev.TaskErrorEvent)
    assert (end.code, end.message) == (code, "it is over")


def test_an_estimate_counts_the_sections_that_get_an_answer() -> None:
    plan = planned(graph(("architect", "b")), Config(limits=LimitsConfig(max_sections=3)))
    priced = replace(
        plan, agents={n: replace(a, models=(model(10.0, 50.0),)) for n, a in plan.agents.items()}
    )
    one, two = Stage(priced.strategy, plan=priced), Stage(priced.strategy, "One", "Two", plan=priced)
    costs = []
    for stage in (one, two):
        stage.announcer.progress()
        progress = stage.said()
        assert isinstance(progress, ev.TaskProgressEvent)
        assert progress.estimated_cost_usd is not None
        costs.append(progress.estimated_cost_usd)
    assert costs[1] == pytest.approx(2 * costs[0])
