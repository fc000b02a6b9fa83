"""Each fault of the simulator: what the user sees of it."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from facilitair import AgentSpec, Client, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.config import LimitsConfig
from facilitair.engine.influence import ConcernedPolicy, Situation
from facilitair.simulator.brain import Brain
from facilitair.simulator.prompt import Prompt
from facilitair.simulator.script import ScriptTransport
from facilitair.simulator.wire import Refusal, Reply

from . import harness
from .harness import GOOD, SYNTHESIZER, TEXT, apart, chain, check, faulty, play, says, sentences


@pytest.mark.parametrize("fault", ["+429x99", "+500x99", "+refusedx99"])
def test_a_lasting_failure_costs_one_agent_not_the_run(fault: str) -> None:
    played = faulty(fault)
    assert played.completed("a").finish_reason == "error"
    assert played.completed("a").content == ""
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert len(last.degraded) == 1
    assert last.degraded[0].startswith("a on task: simulator/a")
    assert last.content == sentences("synthesizer", 3)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("+cut", "truncated"),
        ("+error", "provider_error"),
        ("+malformed", "malformed"),
        ("+silent", "stall_timeout"),
        ("+stall", "stall_timeout"),
    ],
)
def test_a_failure_in_mid_stream_keeps_the_text_and_is_told(fault: str, code: str) -> None:
    played = faulty(fault)
    assert 0 < len(played.text("a")) < len(TEXT)
    assert TEXT.startswith(played.text("a"))
    assert played.completed("a").finish_reason == "error"
    assert f"({code})" in played.said()
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert len(played.last.degraded) == 1


def test_an_event_beyond_all_measure_is_refused() -> None:
    played = faulty("+huge")
    assert "(too_large)" in played.said()
    assert played.completed("a").finish_reason == "error"
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert len(played.last.degraded) == 1


def test_a_first_token_that_never_comes_ends_in_a_timeout() -> None:
    played = faulty("+slow=10000")
    assert "(first_content_timeout)" in played.said()
    assert isinstance(played.last, ev.TaskCompletedEvent)


@pytest.mark.parametrize("fault", ["+bytes", "+dupdone", "+nousage"])
def test_an_odd_stream_gives_the_whole_text(fault: str) -> None:
    played = faulty(fault)
    assert played.text("a") == TEXT
    assert isinstance(played.last, ev.TaskCompletedEvent)
    usage = played.completed("a").usage
    assert usage is not None
    assert usage.estimated is (fault == "+nousage")


def test_line_separators_inside_text_stay() -> None:
    played = faulty("+u2028")
    assert "\u2028" in played.text("a")
    assert "\x85" in played.text("a")


def test_the_length_limit_of_a_model_is_reported() -> None:
    played = faulty("+length")
    assert played.completed("a").finish_reason == "length"
    assert "a on task: cut by its model's length limit" in played.said()
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.degraded == ("a on task: cut by its model's length limit",)


def test_a_failed_synthesis_is_replaced_and_said_to_be() -> None:
    strategy = apart(a="a")
    broken = replace(SYNTHESIZER, model="simulator/synthesizer+500x9")
    strategy = replace(strategy, synthesizer=broken)
    played = play({"a": says(TEXT), "synthesizer": says("never")}, strategy=strategy)
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.content == TEXT
    assert any("synthesizer" in d for d in last.degraded)


def test_an_empty_answer_is_a_failure() -> None:
    played = play({"a": says(""), **GOOD}, strategy=apart(a="a", b="b"))
    assert "answered with nothing" in played.said()
    assert isinstance(played.last, ev.TaskCompletedEvent)


def test_a_run_without_a_quorum_fails_with_what_there_is() -> None:
    played = play({"a": says(TEXT), **GOOD}, strategy=apart(a="a", b="b+500x99", c="c+500x99"))
    last = played.last
    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "agents_failed"
    assert "2 of 3 agents failed" in last.message
    assert last.partial


class CutsAllButTheFirst(Brain):
    """Cuts every answer of the synthesizer but the first in mid-text."""

    asked = 0

    def reply_to(self, body: bytes) -> Reply | Refusal:
        name = b'"model":"synthesizer"'
        self.asked += name in body
        if self.asked > 1:
            body = body.replace(name, b'"model":"synthesizer+cut=0.5"')
        return super().reply_to(body)


def test_a_synthesis_stands_when_its_last_addition_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "Brain", CutsAllButTheFirst)

    def synthesis(prompt: Prompt) -> str:
        more = "it is long enough, and more than that, and does not end " * 4
        addition = f" And an addition, which is long enough to be told from the beginning. But {more}"
        return f"{prompt.own.rstrip()}{addition if prompt.own else ''}" or "The answer. All of it."

    config = Config(limits=LimitsConfig(max_interrupts=0))
    played = play(
        {"a": says(sentences("a", 40)), "synthesizer": says(synthesis)}, strategy=apart(a="a"), config=config
    )
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.content.startswith("The answer. All of it.\n\nAnd an")
    assert "But" not in last.content
    assert len(last.degraded) == 1
    assert "synthesizer on task" in last.degraded[0]


def test_many_agents_that_fail_among_many_that_read_them_are_no_burden() -> None:
    # Each failed agent is read through by all behind it: walking every path would take 2^half steps.
    half = 20
    names = [f"a{i}" for i in range(2 * half)]
    strategy = Strategy(
        name="dense",
        agents=tuple(
            AgentSpec(name, "coder", model="simulator/x+refused" if i < half else "simulator/y")
            for i, name in enumerate(names)
        ),
        edges=tuple(Edge(a, b, "live") for i, a in enumerate(names) for b in names[i + 1 :]),
        synthesizer=SYNTHESIZER,
    )
    scripts = {"x": says("never"), "y": says("Hello."), "synthesizer": says("Done.")}
    limits = LimitsConfig(retries=0, max_streams=100)
    played = play(scripts, strategy=strategy, config=Config(limits=limits))
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert len(played.last.degraded) == half


class RefusesReal(Brain):
    """A provider that is out of reach, beside the simulator."""

    def reply_to(self, body: bytes) -> Reply | Refusal:
        return super().reply_to(body.replace(b'"model":"gpt-4o"', b'"model":"coder+refused"'))


def test_a_run_whose_models_were_replaced_by_the_simulator_says_so_at_its_end() -> None:
    config = Config(
        models={
            "coder": ("openai/gpt-4o", "simulator/coder"),
            "synthesizer": ("openai/gpt-4o", "simulator/synthesizer"),
        }
    )

    async def run() -> list[ev.AnyEvent]:
        brain = RefusesReal({"coder": says("Code here."), "synthesizer": says("Answer here.")})
        transport = ScriptTransport(brain, VirtualClock())
        strategy = Strategy(name="one", agents=(AgentSpec("a", "coder"),))
        async with Client(config, env={"OPENAI_API_KEY": "sk-test"}, transport=transport) as client:
            return [event async for event in client.collaborate("task", strategy=strategy)]

    events = asyncio.run(run())
    first, last = events[0], events[-1]
    assert isinstance(first, ev.TaskStartedEvent)
    assert not first.simulated
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.content == "Answer here."
    assert last.simulated
    assert check(events).simulated


def test_a_mistake_of_ours_ends_the_events_and_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: ConcernedPolicy, __: Situation) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(ConcernedPolicy, "allows", broken)
    events: list[ev.AnyEvent] = []
    with pytest.raises(ZeroDivisionError):
        play(
            {n: says(sentences(n, 20)) for n in ("a", "b", "synthesizer")},
            strategy=chain("a", "b"),
            look=lambda _, event: events.append(event),
        )
    check(events)
    last = events[-1]
    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "internal"
    assert "ZeroDivisionError" in last.message
    assert last.partial.startswith("This is sentence number 1")
    assert last.usage.output_tokens
