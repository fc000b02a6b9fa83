"""Arguments that cannot be kept, and stops: the run ends in one terminal event that carries what there is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from facilitair import (
    Client,
    Collaboration,
    Config,
    DeadlineExceededError,
    RunCancelledError,
    UsageError,
)
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.simulator.brain import Brain
from facilitair.simulator.prompt import Prompt
from facilitair.simulator.script import ScriptTransport

from . import harness
from .harness import apart, chain, plain, play, says, sentences

SCRIPTS = plain("a", "b", "synthesizer", count=40)


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
        ("x", {"strategy": "nope"}, "strategy 'nope' is not known; use one of balanced, pipeline"),
        (
            "x",
            {"models": {"cook": "simulator/cook"}},
            "role 'cook' is not known; use one of answerer, architect",
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


def test_the_partial_answer_is_what_was_shown() -> None:
    # The first section's synthesis is cut and an agent's text shown in its place; the run stops in the second.
    def text(prompt: Prompt) -> str:
        return f"About {prompt.section}. " + sentences("a", 60 if prompt.section == "Two" else 2)

    def look(run: Collaboration, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.SynthesisCompletedEvent):
            run.cancel("enough")

    synthesizer = replace(harness.SYNTHESIZER, model="simulator/synthesizer+cutx2=0.2")
    strategy = replace(apart(a="a"), synthesizer=synthesizer, synthesis="section")
    scripts = {"a": says(text), "synthesizer": says(sentences("synthesizer", 10))}
    played = play(scripts, strategy=strategy, sections=["One", "Two"], look=look)
    last = played.last
    assert isinstance(last, ev.TaskCancelledEvent)
    shown = played.state.syntheses["one"].text
    assert shown == f"## One\n\n{played.text('a', 'one')}"
    assert last.partial == f"{shown}\n\n## Two\n\n{played.text('a', 'two')}"


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
