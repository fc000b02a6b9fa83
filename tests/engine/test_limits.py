"""Limits and stops: the run ends in one terminal event that carries what there is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from facilitair import (
    AgentSpec,
    Client,
    Collaboration,
    Config,
    DeadlineExceededError,
    Edge,
    RunCancelledError,
    Strategy,
    UsageError,
)
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.config import LimitsConfig, PriceConfig
from facilitair.simulator.brain import Brain
from facilitair.simulator.prompt import Prompt
from facilitair.simulator.script import ScriptChannel, ScriptTransport
from facilitair.simulator.wire import Refusal, Reply
from facilitair.transport import Delta, HttpRequest
from facilitair_rust import Closed, Failed, Finished

from . import harness
from .harness import Played, apart, chain, play, says, sentences

SCRIPTS = {n: says(sentences(n, 40)) for n in ("a", "b", "synthesizer")}
PRICED = Config(
    pricing={
        f"simulator/{n}": PriceConfig(input_per_mtok=1000.0, output_per_mtok=1000.0)
        for n in ("a", "b", "synthesizer")
    }
)


class CountingChannel(ScriptChannel):
    """Counts the streams that are open at once; one that was asked to close is not."""

    def __init__(self, transport: CountingTransport) -> None:
        super().__init__(transport.brain, transport.clock, transport.requests)
        self._transport = transport
        self._live: set[int] = set()

    def open(self, request: HttpRequest) -> int:
        number = super().open(request)
        self._live.add(number)
        self._transport.most_open = max(self._transport.most_open, len(self._live))
        return number

    def close_stream(self, stream: int) -> None:
        self._live.discard(stream)
        super().close_stream(stream)

    async def recv(self, until: float | None) -> list[Delta]:
        batch = await super().recv(until)
        self._live.difference_update(d.stream for d in batch if isinstance(d, (Finished, Failed, Closed)))
        return batch


class CountingTransport(ScriptTransport):
    """A transport that knows how many streams a run had open at once."""

    def __init__(self, brain: Brain, clock: VirtualClock) -> None:
        super().__init__(brain, clock)
        self.brain = brain
        self._virtual = clock
        self.most_open = 0

    @property
    def clock(self) -> VirtualClock:
        return self._virtual

    def channel(self) -> CountingChannel:
        return CountingChannel(self)


@contextmanager
def counted() -> Iterator[None]:
    """Let `play` count the streams that are open at once; `most_open` reads the figure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "ScriptTransport", CountingTransport)
        yield


def most_open(played: Played) -> int:
    """Return how many streams a run that was played under `counted` had open at once."""
    assert isinstance(played.transport, CountingTransport)
    return played.transport.most_open


def test_the_time_limit_ends_the_run_with_its_partial_text() -> None:
    played = play(SCRIPTS, strategy=chain("a", "b"), timeout=3.0)
    last = played.last
    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "deadline_exceeded"
    assert last.ts == pytest.approx(3.0)
    assert last.partial
    assert last.usage.output_tokens
    assert last.usage.estimated


def test_the_token_limit_ends_the_run() -> None:
    played = play(SCRIPTS, strategy=chain("a", "b"), max_tokens=1200)
    last = played.last
    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "budget_exceeded"
    assert "tokens" in last.message
    used = (last.usage.input_tokens or 0) + (last.usage.output_tokens or 0)
    assert used <= 1200 * 1.1


def test_money_is_reserved_before_a_stream_opens() -> None:
    played = play(SCRIPTS, strategy=chain("a", "b"), max_cost=0.5, config=PRICED)
    last = played.last
    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "budget_exceeded"
    assert len(played.transport.requests) == 0
    assert "architect" not in last.message
    assert last.message.startswith("a could not start: the next turn may cost $")


def test_the_cost_limit_holds_while_text_comes() -> None:
    played = play(SCRIPTS, strategy=chain("a", "b"), max_cost=1.6, config=PRICED)
    last = played.last
    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "budget_exceeded"
    assert last.cost_usd is not None
    assert 0 < last.cost_usd <= 1.6 * 1.05
    assert len(played.transport.requests) >= 1


def test_a_cost_limit_over_an_unknown_price_is_refused() -> None:
    config = Config(
        models={"coder": "openai/unheard-of-model", "synthesizer": "simulator/synthesizer"},
    )

    async def run() -> None:
        transport = ScriptTransport(Brain(SCRIPTS), VirtualClock())
        async with Client(config, env={"OPENAI_API_KEY": "sk-test"}, transport=transport) as client:
            await client.run("task", strategy="pipeline", max_cost=1.0)

    with pytest.raises(UsageError, match=r"price of openai/unheard-of-model is unknown"):
        asyncio.run(run())


def test_an_unknown_price_makes_the_cost_unknown() -> None:
    config = Config(pricing={"simulator/a": PriceConfig(input_per_mtok=1.0, output_per_mtok=1.0)})
    played = play(SCRIPTS, strategy=apart(a="a", b="b"), config=config)
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.cost_usd is not None
    assert last.cost_usd > 0


def test_cancelling_keeps_the_partial_text() -> None:
    def look(run: Collaboration, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.FragmentEvent):
            run.cancel("enough")

    played = play(SCRIPTS, strategy=chain("a", "b"), look=look)
    last = played.last
    assert isinstance(last, ev.TaskCancelledEvent)
    assert last.reason == "enough"
    assert last.partial.startswith("This is sentence number 1")
    assert last.usage.output_tokens


def test_cancelling_before_the_first_token_works() -> None:
    played = play(SCRIPTS, strategy=chain("a"), look=lambda run, _: run.cancel("at once"))
    assert isinstance(played.last, ev.TaskCancelledEvent)
    assert played.last.partial == ""


def test_errors_of_run_carry_the_partial_result() -> None:
    async def run() -> None:
        transport = ScriptTransport(Brain(SCRIPTS), VirtualClock())
        async with Client(Config(), env={}, transport=transport) as client:
            await client.run("task", strategy=chain("a", "b"), timeout=2.0)

    with pytest.raises(DeadlineExceededError) as caught:
        asyncio.run(run())
    assert caught.value.result.content
    assert caught.value.result.usage.output_tokens


def test_a_cancelled_run_raises_with_its_result() -> None:
    async def run() -> None:
        transport = ScriptTransport(Brain(SCRIPTS), VirtualClock())
        async with Client(Config(), env={}, transport=transport) as client:
            collaboration = client.collaborate("task", strategy=chain("a"))
            collaboration.cancel("no longer needed")
            await collaboration.result()

    with pytest.raises(RunCancelledError, match="no longer needed"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("task", "options", "says_"),
    [
        ("  ", {}, "task is empty"),
        ("a\0b", {}, "NUL"),
        ("x" * (1 << 21), {}, "at most 1,048,576"),
        ("x", {"strategy": "nope"}, "unknown strategy 'nope'; known: balanced, pipeline"),
        (
            "x",
            {"models": {"cook": "simulator/cook"}},
            "role 'cook' is not known; use one of architect, coder",
        ),
        ("x", {"preset": "luxury"}, "'luxury' is not known"),
        ("x", {"sections": []}, "at least one title"),
        ("x", {"sections": 7}, "give a list of titles"),
        ("x", {"sections": ["One", 1]}, "give a list of titles"),
        ("x", {"sections": [None]}, "give a list of titles"),
        ("x", {"sections": ["One", "\ud800"]}, "lone surrogate"),
        ("x", {"sections": ["One", " One "]}, "'One' is given twice"),
        ("x", {"sections": ["T" * 201]}, "201 characters"),
        ("x", {"sections": [str(i) for i in range(65)]}, "65 are too many"),
        ("half a \ud83e crab", {}, "lone surrogate"),
        (None, {}, "must be text, not NoneType"),
        (b"bytes", {}, "must be text, not bytes"),
        ("x", {"max_cost": -1}, "max_cost"),
        ("x", {"timeout": float("nan")}, "timeout"),
        ("x", {"colour": "red"}, "unknown option 'colour'"),
    ],
)
def test_wrong_arguments_are_named_at_once(task: Any, options: dict[str, object], says_: str) -> None:
    client = Client(Config(), env={})
    with pytest.raises(UsageError, match=says_):
        client.collaborate(task, **options)  # type: ignore[arg-type]


def test_a_context_must_be_json() -> None:
    client = Client(Config(), env={})
    for context in ({"x": object()}, ["x"], "x"):
        with pytest.raises(UsageError, match="context"):
            client.collaborate("task", context)  # type: ignore[arg-type]


def test_an_architect_that_cannot_be_paid_twice_costs_one_agent_not_the_answer() -> None:
    strategy = Strategy(
        name="dear",
        agents=(
            AgentSpec("arch", "architect", model="simulator/arch+cutx1=0"),
            AgentSpec("b", "coder", model="simulator/b"),
        ),
        edges=(Edge("arch", "b", "live"),),
        synthesizer=harness.SYNTHESIZER,
    )
    price = PriceConfig(input_per_mtok=1000.0, output_per_mtok=1.0)
    config = Config(pricing={"simulator/arch+cutx1=0": price})
    scripts = {"arch": says("An opening. More."), "b": says("The code."), "synthesizer": says("The answer.")}
    played = play(scripts, strategy=strategy, config=config, max_cost=0.6)
    assert "arch ends early" in played.said()
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.content == "The answer."
    assert played.text("b") == "The code."
    assert any(loss.startswith("arch on task") for loss in last.degraded)


FIVE = ("a", "b", "c", "d", "e")


def modest(*, max_cost: float | None = None, max_tokens: int | None = None) -> Played:
    """Play five agents that read nobody, at the price of a large model."""
    price = PriceConfig(input_per_mtok=1.0, output_per_mtok=10.0)
    config = Config(pricing={f"simulator/{name}": price for name in (*FIVE, "synthesizer")})
    scripts = {name: says(sentences(name, 10)) for name in (*FIVE, "synthesizer")}
    strategy = apart(**{name: name for name in FIVE})
    return play(scripts, strategy=strategy, config=config, max_cost=max_cost, max_tokens=max_tokens)


@pytest.mark.parametrize("times", [2, 3, 4, 5, 6])
def test_a_cost_limit_well_above_the_cost_lets_the_run_finish(times: int) -> None:
    needed = modest().state.cost_usd
    assert needed is not None
    played = modest(max_cost=needed * times)
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.cost_usd is not None
    assert last.cost_usd <= needed * times
    assert last.content == sentences("synthesizer", 10)
    assert all(played.text(name) == sentences(name, 10) for name in FIVE)


@pytest.mark.parametrize(("max_cost", "max_tokens"), [(0.05, None), (None, 8000)])
def test_under_a_limit_each_request_is_bounded_by_what_is_left(
    max_cost: float | None, max_tokens: int | None
) -> None:
    played = modest(max_cost=max_cost, max_tokens=max_tokens)
    bounds = [msgspec.json.decode(r.body)["max_tokens"] for r in played.transport.requests]
    assert len(bounds) >= 6
    assert all(0 < bound < 8000 for bound in bounds)
    assert bounds[-1] < bounds[0]


def test_without_a_limit_no_request_is_bounded() -> None:
    assert not any(b"max_tokens" in r.body for r in modest().transport.requests)


class Deaf(Brain):
    """A provider that writes more than it was allowed to."""

    def reply_to(self, body: bytes) -> Reply | Refusal:
        request = msgspec.json.decode(body)
        request.pop("max_tokens", None)
        return self.reply(request)


def test_a_finished_answer_stands_though_its_last_report_crosses_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(harness, "Brain", Deaf)
    # One letter in two is a token of the report, and one character in four of our count.
    scripts = {"a": says("The text."), "synthesizer": says(" ".join("abcdefgh" * 40) + ".")}
    strategy = chain("a", synthesis="section")
    usage = play(scripts, strategy=strategy).state.usage
    assert usage is not None
    needed = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    for limit in (needed, needed - 1, needed - 60):
        played = play(scripts, strategy=strategy, max_tokens=limit)
        assert isinstance(played.last, ev.TaskCompletedEvent)
        assert played.last.content.endswith("g h.")


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


def test_the_partial_answer_is_what_was_shown() -> None:
    # The first section's synthesis is cut and an agent's text shown in its place; the run stops in the second.
    def text(prompt: Prompt) -> str:
        return f"About {prompt.section}. " + sentences("a", 60 if prompt.section == "Two" else 2)

    def look(run: Collaboration, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.SynthesisCompletedEvent):
            run.cancel("enough")

    synthesizer = replace(harness.SYNTHESIZER, model="simulator/synthesizer+cutx1=0.2")
    strategy = replace(apart(a="a"), synthesizer=synthesizer, synthesis="section")
    scripts = {"a": says(text), "synthesizer": says(sentences("synthesizer", 10))}
    played = play(scripts, strategy=strategy, sections=["One", "Two"], look=look)
    last = played.last
    assert isinstance(last, ev.TaskCancelledEvent)
    shown = played.state.syntheses["one"].text
    assert shown == played.text("a", "one")
    assert last.partial == f"{shown}\n\n{played.text('a', 'two')}"


def test_a_run_cancelled_before_it_begins_asks_nobody() -> None:
    transport = ScriptTransport(Brain(SCRIPTS), VirtualClock())

    async def run() -> list[ev.AnyEvent]:
        async with Client(Config(), env={}, transport=transport) as client:
            collaboration = client.collaborate("task", strategy=chain("a", "b"))
            collaboration.cancel("never mind")
            return [event async for event in collaboration]

    events = asyncio.run(run())
    assert isinstance(events[-1], ev.TaskCancelledEvent)
    assert events[-1].reason == "never mind"
    assert not transport.requests
    harness.check(events)


@pytest.mark.parametrize("models", [7, {7: "simulator/coder"}])
def test_models_that_are_none_are_named_at_once(models: Any) -> None:
    with pytest.raises(UsageError, match="models"):
        Client(Config(), env={}).collaborate("task", models=models)
