"""Streams of turns: opened, tried again, given to the next model, and paid for."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from facilitair import AgentSpec, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.config import LimitsConfig
from facilitair.engine.budget import tokens_in
from facilitair.engine.prompts import Asking, Assignment
from facilitair.engine.seam import Passage
from facilitair.engine.streams import Ending, Streams
from facilitair.engine.turn import AgentTurn, Attempt, Phase
from facilitair.simulator.brain import Brain
from facilitair.simulator.script import ScriptTransport
from facilitair.stream import EventStream
from facilitair_rust import Content, Reasoning

from .counting import counted, most_open
from .harness import GOOD, TEXT, apart, chain, faulty, plain, planned, play, says, sentences
from .parts import turn_of, write


def test_at_most_max_streams_run_at_once() -> None:
    scripts = plain("a", "b", "c", "synthesizer")
    open_now = most = 0

    def look(_: object, event: ev.AnyEvent) -> None:
        nonlocal open_now, most
        open_now += isinstance(event, ev.ChunkStartedEvent) - isinstance(event, ev.ChunkCompletedEvent)
        most = max(most, open_now)

    config = Config(limits=LimitsConfig(max_streams=1))
    play(scripts, strategy=chain("a", "b", "c", kind="after"), sections=["X", "Y"], config=config, look=look)
    assert most == 1


@pytest.mark.parametrize("fault", ["+429", "+429x2", "+500", "+refusedx1"])
def test_a_passing_failure_is_tried_again_and_said(fault: str) -> None:
    played = faulty(fault)
    assert played.text("a") == TEXT
    assert "trying again in" in played.said()
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.degraded == ()


def test_retry_after_is_honoured() -> None:
    played = faulty("+429x1")
    assert played.completed("a").ttft_s == pytest.approx(1.4)


def test_the_next_model_of_the_role_takes_over() -> None:
    played = play(
        {"bad": says("never"), "good": says(TEXT), "synthesizer": GOOD["synthesizer"]},
        strategy=Strategy(name="one", agents=(AgentSpec("a", "coder"),)),
        models={"coder": ["simulator/bad+500x9", "simulator/good"], "synthesizer": "simulator/synthesizer"},
    )
    assert played.text("a") == TEXT
    assert "going on with simulator/good" in played.said()
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert "simulator/good" in played.last.models_used


@pytest.mark.parametrize("fault", ["+refusedx2", "+429x2", "+500x2"])
def test_what_a_provider_refuses_to_serve_costs_nothing(fault: str) -> None:
    played, smooth = (
        play({"a": says(TEXT), **GOOD}, strategy=replace(apart(a=f"a{f}"), synthesis="section"))
        for f in (fault, "")
    )
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert len(played.transport.requests) == len(smooth.transport.requests) + 2
    assert played.state.usage == smooth.state.usage
    assert played.completed("a").usage == smooth.completed("a").usage


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("retried", ["", "+429x1", "+refusedx1", "+cutx1=0"])
def test_no_more_streams_are_open_than_may_be(most: int, retried: str) -> None:
    scripts = {n: says(sentences(n, 20)) for n in ("a", "b", "c", "synthesizer")}
    models = {"a": f"a{retried}", "b": "b", "c": "c"}
    edges = (Edge("a", "b", "live"), Edge("b", "c", "live"))
    config = Config(limits=LimitsConfig(max_streams=most))
    for strategy in (apart(**models), replace(apart(**models), edges=edges)):
        with counted():
            played = play(scripts, strategy=strategy, config=config)
        assert isinstance(played.last, ev.TaskCompletedEvent)
        assert most_open(played) == most
        assert all(played.text(name) == sentences(name, 20) for name in models)


# --- the streams alone ---------------------------------------------------------------------------------------------


class Wired:
    """The streams of agents a and b, on scripts that break as the options say."""

    def __init__(
        self, a: str = "a", b: str = "b", *, fallback: str | None = None, limits: LimitsConfig | None = None
    ) -> None:
        plan = planned(apart(a=a, b=b), Config(limits=limits or LimitsConfig()))
        if fallback is not None:
            other = planned(apart(a=fallback)).agents["a"].models
            agent = replace(plan.agents["a"], models=plan.agents["a"].models + other)
            plan = replace(plan, agents={**plan.agents, "a": agent})
        self.plan = plan
        self.clock = VirtualClock()
        self.events = EventStream()
        self.events.begin(self.clock, lambda: None)
        self.transport = ScriptTransport(Brain({n: says(TEXT) for n in ("a", "b", "good")}), self.clock)
        self.channel = self.transport.channel()
        self.a, self.b = turn_of(plan, "a"), turn_of(plan, "b")
        sources = {turn.id: turn for turn in (self.a, self.b)}
        self.streams = Streams(plan, self.channel, self.clock, self.events, sources)
        self.got = {"a": "", "b": ""}

    def open(self, turn: AgentTurn) -> str | None:
        work = Assignment(turn.agent, "Task", (), wants_outline=False)
        return self.streams.open(turn, work)

    async def until_end(self) -> list[tuple[AgentTurn, Attempt, Passage, Ending]]:
        """Take in what comes until streams end, and return how they do."""
        ended: list[tuple[AgentTurn, Attempt, Passage, Ending]] = []
        while not ended and not self.streams.idle:
            for delta in await self.channel.recv(1e6):
                match delta:
                    case Content():
                        if received := self.streams.received(delta):
                            turn, passage = received
                            self.got[turn.agent.name] += passage.text
                    case Reasoning():
                        self.streams.reasons(delta)
                    case _:
                        if end := self.streams.end(delta):
                            ended.append(end)
        return ended

    def said(self) -> str:
        return "\n".join(e.message for e in self.events.drain() if isinstance(e, ev.SystemMessageEvent))


def run(wired: Wired) -> tuple[AgentTurn, Attempt, Passage, Ending]:
    """Open the stream of a and follow it to its end."""
    assert wired.open(wired.a) is None
    (end,) = asyncio.run(wired.until_end())
    return end


def test_a_stream_gives_its_text_its_end_and_what_it_used() -> None:
    wired = Wired()
    turn, _, held, ending = run(wired)
    assert (turn, held, ending) == (wired.a, Passage(), Ending.ENDED)
    assert wired.got["a"] == TEXT
    assert wired.a.calls.attempt is None
    assert (wired.a.pulse.started, wired.a.pulse.ttft_s) == (0.0, 0.4)
    assert wired.a.spent.usage is not None
    assert not wired.a.spent.usage.estimated
    assert list(wired.streams.models_used) == ["simulator/a"]
    assert wired.streams.idle


@pytest.mark.parametrize("fault", ["+500x9", "+429x9", "+refusedx9"])
def test_a_failure_is_tried_again_so_often_and_then_stands(fault: str) -> None:
    wired = Wired(f"a{fault}", limits=LimitsConfig(retries=2))
    waits = []
    for _ in range(2):
        *_, ending = run(wired)
        assert ending is Ending.RETRY
        assert wired.a.phase is Phase.RETRYING
        assert wired.a.calls.retry_at is not None
        waits.append(wired.a.calls.retry_at - wired.clock.now())
        wired.clock.advance_to(wired.a.calls.retry_at)
    assert 0.4 <= waits[0] <= 1.0
    assert 0.8 <= waits[1] <= 1.2
    *_, ending = run(wired)
    assert ending is Ending.FAILED
    assert wired.a.failure is not None
    assert wired.a.failure.startswith("simulator/a")
    assert wired.a.finish_reason == "error"
    assert wired.said().count("trying again in") == 2


def test_words_make_the_count_of_tries_begin_anew() -> None:
    wired = Wired("a+500x1")
    run(wired)
    tries = [wired.a.calls.tries]
    wired.clock.advance_to(wired.a.calls.retry_at or 0.0)
    run(wired)
    assert [*tries, wired.a.calls.tries] == [1, 0]


def test_what_breaks_after_its_first_words_is_continued_once() -> None:
    wired = Wired("a+cut=0.5", fallback="good")
    assert [run(wired)[3] for _ in range(2)] == [Ending.BROKEN, Ending.FAILED]
    assert 0 < len(wired.got["a"]) < 2 * len(TEXT)
    assert wired.a.calls.model_index == 0
    assert wired.said().count("going on from what is whole of its text") == 1


def test_a_continuation_that_is_refused_goes_on_without_the_news() -> None:
    wired = Wired("a+500x9", limits=LimitsConfig(retries=0))
    write(wired.a, "Written. ")
    write(wired.b, "News.")
    wired.a.expose(list(wired.b.provenance.fragments), {})
    assert run(wired)[3] is Ending.RETRY
    assert wired.a.provenance.exposures == []
    assert "going on without the news" in wired.said()
    assert run(wired)[3] is Ending.FAILED


def test_a_provider_that_asks_for_too_long_a_pause_is_left_at_once() -> None:
    wired = Wired("a+429x9=40", fallback="good")
    *_, ending = run(wired)
    assert ending is Ending.RETRY
    assert wired.a.model.id == "simulator/good"
    assert (wired.a.calls.retry_at, wired.a.calls.tries) == (wired.clock.now(), 0)
    assert run(wired)[3] is Ending.ENDED
    assert wired.got["a"] == TEXT


def test_what_comes_after_a_text_was_taken_back_is_counted_and_not_shown() -> None:
    async def stopped(*, discard: bool) -> int | None:
        wired = Wired()
        wired.open(wired.a)
        (delta,) = await wired.channel.recv(1e6)
        assert isinstance(delta, Content)
        assert wired.streams.received(delta) == (wired.a, Passage(delta.text))
        wired.streams.stop(wired.a, discard=discard)
        assert wired.a.phase is Phase.STOPPING
        late = [wired.streams.received(delta) for _ in range(5)]
        assert late == [None if discard else (wired.a, Passage(delta.text))] * 5
        ((turn, _, held, ending),) = await wired.until_end()
        assert (turn, held, ending) == (wired.a, Passage(), Ending.CONTINUE)
        assert wired.a.spent.usage is not None
        return wired.a.spent.usage.output_tokens

    counted = asyncio.run(stopped(discard=True))
    assert counted == asyncio.run(stopped(discard=False)) == tokens_in(6 * len("This"))


def test_an_abandoned_stream_is_settled_by_what_was_counted_and_says_no_more() -> None:
    async def abandoned() -> Wired:
        wired = Wired()
        wired.open(wired.a)
        wired.open(wired.b)
        for delta in await wired.channel.recv(1e6):
            assert isinstance(delta, Content)
            wired.streams.received(delta)
        wired.streams.abandon(wired.a)
        ((turn, *_, ending),) = await wired.until_end()
        assert (turn, ending) == (wired.b, Ending.ENDED)
        return wired

    wired = asyncio.run(abandoned())
    usage = wired.a.spent.usage
    assert usage is not None
    assert usage.estimated
    assert usage.output_tokens
    assert wired.got == {"a": "", "b": wired.got["b"]}
    assert len(wired.got["b"]) > len(TEXT) // 2
    wired.streams.abandon(wired.a)  # twice is no harm
    assert wired.a.spent.usage == usage


def test_only_so_many_are_open_at_once() -> None:
    wired = Wired(limits=LimitsConfig(max_streams=2))
    full = [wired.streams.full]
    wired.open(wired.a)
    full.append(wired.streams.full)
    wired.open(wired.b)
    assert [*full, wired.streams.full] == [False, False, True]
    assert not wired.streams.idle


def test_what_the_budget_refuses_is_not_opened() -> None:
    wired = Wired(limits=LimitsConfig(max_tokens=100))
    refusal = wired.open(wired.a)
    assert refusal is not None
    assert refusal.endswith("0 of 100 are used")
    assert wired.streams.idle
    assert not wired.transport.requests
    assert (wired.a.phase, wired.a.calls.attempt, wired.a.pulse.started) == (Phase.WAITING, None, None)


def test_one_that_is_postponed_is_due_at_once() -> None:
    wired = Wired("a+500x9")
    run(wired)
    assert not wired.a.calls.due(wired.clock.now())
    wired.streams.postpone(wired.a)
    assert wired.a.phase is Phase.RETRYING
    assert wired.a.calls.due(wired.clock.now())


def test_a_last_request_that_fails_costs_what_it_asked_for_alone() -> None:
    wired = Wired("a+500x9", limits=LimitsConfig(retries=0))
    write(wired.a, "Written. ")
    wired.a.attention.last, wired.a.asking = True, Asking.LAST
    *_, ending = run(wired)
    assert ending is Ending.ENDED
    assert (wired.a.failure, wired.a.finish_reason) == (None, "stop")
    wired.a.phase = Phase.DONE
    assert wired.a.loss is not None
    assert wired.a.loss.startswith("a on task: did not read to the end: simulator/a+500x9: ")
