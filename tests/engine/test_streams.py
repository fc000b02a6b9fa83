"""Streams of turns: opened, tried again, given to the next model, and paid for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from facilitair import AgentSpec, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig

from .counting import counted, most_open
from .harness import GOOD, TEXT, apart, chain, faulty, plain, play, says, sentences


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
