"""Limits and stops: the run ends in one terminal event that carries what there is."""

from __future__ import annotations

import asyncio

import pytest

from facilitair import Client, Collaboration, Config, DeadlineExceededError, RunCancelledError, UsageError
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.config import PriceConfig
from facilitair.simulator.brain import Brain
from facilitair.simulator.script import ScriptTransport

from .harness import apart, chain, play, says, sentences

SCRIPTS = {n: says(sentences(n, 40)) for n in ("a", "b", "synthesizer")}
PRICED = Config(
    pricing={
        f"simulator/{n}": PriceConfig(input_per_mtok=1000.0, output_per_mtok=1000.0)
        for n in ("a", "b", "synthesizer")
    }
)


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
        ("x", {"max_cost": -1}, "max_cost"),
        ("x", {"timeout": float("nan")}, "timeout"),
        ("x", {"colour": "red"}, "unknown option 'colour'"),
    ],
)
def test_wrong_arguments_are_named_at_once(task: str, options: dict[str, object], says_: str) -> None:
    client = Client(Config(), env={})
    with pytest.raises(UsageError, match=says_):
        client.collaborate(task, **options)  # type: ignore[arg-type]


def test_a_context_must_be_json() -> None:
    client = Client(Config(), env={})
    for context in ({"x": object()}, ["x"], "x"):
        with pytest.raises(UsageError, match="context"):
            client.collaborate("task", context)  # type: ignore[arg-type]
