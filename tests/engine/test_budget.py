"""The accounts of a run: what is reserved, counted and settled, and where a limit stops it."""

from __future__ import annotations

import msgspec
import pytest

from facilitair import AgentSpec, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import PriceConfig
from facilitair.simulator.brain import Brain
from facilitair.simulator.wire import Refusal, Reply

from . import harness
from .harness import Played, apart, chain, plain, play, says, sentences

SCRIPTS = plain("a", "b", "synthesizer", count=40)
PRICED = Config(
    pricing={
        f"simulator/{n}": PriceConfig(input_per_mtok=1000.0, output_per_mtok=1000.0)
        for n in ("a", "b", "synthesizer")
    }
)


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


def test_an_unknown_price_makes_the_cost_unknown() -> None:
    config = Config(pricing={"simulator/a": PriceConfig(input_per_mtok=1.0, output_per_mtok=1.0)})
    played = play(SCRIPTS, strategy=apart(a="a", b="b"), config=config)
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.cost_usd is not None
    assert last.cost_usd > 0


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
