"""The accounts of a run: what is reserved, counted and settled, and where a limit stops it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from facilitair import AgentSpec, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import PriceConfig
from facilitair.engine.budget import (
    EXPECTED_OUTPUT_TOKENS,
    LEAST_OUTPUT_TOKENS,
    Budget,
    add_usage,
    tokens_in,
)
from facilitair.engine.graph import SynthesisTiming
from facilitair.providers.model import Model
from facilitair.simulator.brain import Brain
from facilitair.simulator.wire import Refusal, Reply
from facilitair_rust import Usage

from . import harness
from .harness import Played, apart, chain, plain, play, says, sentences
from .parts import model

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


@pytest.mark.parametrize("synthesis", ["live", "section"])
def test_the_cost_limit_holds_while_text_comes(synthesis: SynthesisTiming) -> None:
    strategy = chain("a", "b", synthesis=synthesis)
    for most in (1.2, 1.6, 2.4, 4.0):
        last = play(SCRIPTS, strategy=strategy, max_cost=most, config=PRICED).last
        assert isinstance(last, ev.TaskErrorEvent | ev.TaskCompletedEvent)
        assert last.cost_usd is not None
        assert 0 < last.cost_usd <= most * 1.05


def test_who_cannot_be_paid_for_is_left_out_where_there_is_an_answer() -> None:
    played = play(SCRIPTS, strategy=chain("a", "b", synthesis="section"), max_cost=1.6, config=PRICED)
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.content == played.text("a")
    losses = [loss.partition(":")[0] for loss in last.degraded]
    assert losses == ["b on task", "synthesizer on task"]
    assert all("could not start: the next turn may cost $" in loss for loss in last.degraded)


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


# --- the accounts alone --------------------------------------------------------------------------------------------

DEAR = model(10.0, 50.0, "dear")
CHEAP = model(1.0, 2.0, "cheap")
UNKNOWN = model(None, name="unknown")


def cost_of(priced: Model, usage: ev.Usage) -> float:
    cost = priced.cost(usage)
    assert cost is not None
    return cost


class Accounts(RuleBasedStateMachine):
    """Streams of one run that open, write and end in any order, beside a second book of what they used."""

    @initialize(max_cost=st.none() | st.floats(0.001, 0.2), max_tokens=st.none() | st.integers(1, 20_000))
    def start(self, max_cost: float | None, max_tokens: int | None) -> None:
        self.budget = Budget(max_cost, max_tokens)
        self.max_cost, self.max_tokens = max_cost, max_tokens
        self.running: dict[int, tuple[Model, int, int]] = {}  # the model, its prompt, and what it wrote
        self.ended: list[tuple[int, int, float]] = []
        self.streams = 0

    @rule(priced=st.sampled_from([DEAR, CHEAP]), prompt=st.integers(0, 40_000))
    def opens(self, priced: Model, prompt: int) -> None:
        answer = ev.Usage(input_tokens=tokens_in(prompt), output_tokens=EXPECTED_OUTPUT_TOKENS)
        least = tokens_in(prompt) + LEAST_OUTPUT_TOKENS
        fits = self.max_cost is None or self.money() + cost_of(priced, answer) <= self.max_cost
        fits = fits and (self.max_tokens is None or sum(self.tokens()) + least <= self.max_tokens)
        if self.budget.refusal(priced, prompt) is not None:
            assert not fits or self.running  # for these, money is reserved
            return
        assert fits
        self.streams += 1
        self.budget.open(self.streams, priced, prompt)
        self.running[self.streams] = (priced, tokens_in(prompt), 0)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), characters=st.integers(0, 4000))
    def writes(self, data: st.DataObject, characters: int) -> None:
        stream = data.draw(st.sampled_from(sorted(self.running)))
        priced, prompt, written = self.running[stream]
        self.budget.received(stream, characters)
        self.running[stream] = (priced, prompt, written + characters)

    @rule(characters=st.integers(0, 4000))
    def writes_after_its_end(self, characters: int) -> None:
        self.budget.received(self.streams + 1000, characters)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), reported=st.booleans())
    def ends(self, data: st.DataObject, reported: bool) -> None:
        stream = data.draw(st.sampled_from(sorted(self.running)))
        _, prompt, written = self.running.pop(stream)
        used = (prompt + 7, tokens_in(written) + 3) if reported else (prompt, tokens_in(written))
        report = Usage(input_tokens=used[0], output_tokens=used[1]) if reported else None

        settled = self.budget.settle(stream, report)

        assert (settled.usage.input_tokens, settled.usage.output_tokens) == used
        assert settled.usage.estimated is not reported
        assert settled.cost_usd is not None
        self.ended.append((*used, settled.cost_usd))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def is_refused_by_its_provider(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(sorted(self.running)))
        self.budget.refund(stream)
        del self.running[stream]

    def tokens(self) -> tuple[int, int]:
        """What was used, in and out, by the second book."""
        read = sum(u[0] for u in self.ended) + sum(p for _, p, _ in self.running.values())
        wrote = sum(u[1] for u in self.ended) + sum(tokens_in(w) for _, _, w in self.running.values())
        return read, wrote

    def money(self) -> float:
        """What was spent, by the second book."""
        opened = (
            cost_of(m, ev.Usage(input_tokens=p, output_tokens=tokens_in(w)))
            for m, p, w in self.running.values()
        )
        return sum(c for _, _, c in self.ended) + sum(opened)

    @invariant()
    def both_books_agree(self) -> None:
        usage, cost = self.budget.usage, self.budget.cost_usd
        assert (usage.input_tokens, usage.output_tokens) == self.tokens()
        assert min(self.tokens()) >= 0
        assert cost == pytest.approx(self.money())
        assert cost is not None
        assert cost >= 0

    @invariant()
    def a_limit_is_exceeded_when_it_is_reached(self) -> None:
        reached = self.max_tokens is not None and sum(self.tokens()) >= self.max_tokens
        cost = self.budget.cost_usd
        reached = reached or (self.max_cost is not None and cost is not None and cost >= self.max_cost)
        assert (self.budget.exceeded() is not None) == reached

    @invariant()
    def what_is_affordable_stays_below_the_limits(self) -> None:
        prompt = 400
        most = self.budget.affordable(DEAR, prompt)
        if self.max_cost is None and self.max_tokens is None:
            assert most is None
            return
        assert most is not None
        assert most >= LEAST_OUTPUT_TOKENS
        if most > LEAST_OUTPUT_TOKENS:
            more = ev.Usage(input_tokens=tokens_in(prompt), output_tokens=most)
            if self.max_cost is not None:
                assert self.money() + cost_of(DEAR, more) <= self.max_cost * (1 + 1e-9)
            if self.max_tokens is not None:
                assert sum(self.tokens()) + tokens_in(prompt) + most <= self.max_tokens


Accounts.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestAccounts = Accounts.TestCase


def test_a_stream_reserves_what_it_may_still_write() -> None:
    answer = cost_of(DEAR, ev.Usage(input_tokens=0, output_tokens=EXPECTED_OUTPUT_TOKENS))
    budget = Budget(answer * 1.5, None)
    assert budget.refusal(DEAR, 0) is None
    budget.open(1, DEAR, 0)
    assert budget.cost_usd == 0.0
    refusal = budget.refusal(DEAR, 0)
    assert refusal is not None
    assert refusal.startswith(
        f"the next turn may cost ${answer:.4f}, ${answer:.4f} of ${answer * 1.5:.4f} is"
    )
    budget.settle(1, Usage(input_tokens=0, output_tokens=10))
    assert budget.refusal(DEAR, 0) is None


def test_a_price_that_nobody_knows_makes_the_cost_unknown_for_good() -> None:
    budget = Budget(1.0, None)
    budget.open(1, UNKNOWN, 400)
    budget.open(2, CHEAP, 400)
    assert budget.cost_usd is None
    assert budget.settle(1, None).cost_usd is None
    assert budget.settle(2, None).cost_usd is not None
    assert budget.cost_usd is None
    assert budget.exceeded() is None
    assert budget.usage.input_tokens == 200


def test_what_the_provider_says_it_cost_comes_before_the_price() -> None:
    budget = Budget(None, None)
    budget.open(1, UNKNOWN, 400)
    assert budget.settle(1, Usage(input_tokens=1, output_tokens=1, cost_usd=0.25)).cost_usd == 0.25
    assert budget.cost_usd == 0.25


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (Usage(), ev.Usage(input_tokens=100, output_tokens=25, estimated=True)),
        (Usage(output_tokens=7), ev.Usage(input_tokens=100, output_tokens=7, estimated=True)),
        (Usage(input_tokens=90), ev.Usage(input_tokens=90, output_tokens=25, estimated=True)),
        (
            Usage(input_tokens=90, output_tokens=7, cached_input_tokens=64, reasoning_tokens=2),
            ev.Usage(input_tokens=90, output_tokens=7, cached_input_tokens=64, reasoning_tokens=2),
        ),
    ],
)
def test_what_a_report_lacks_is_counted_and_marked(report: Usage, expected: ev.Usage) -> None:
    budget = Budget(None, None)
    budget.open(1, CHEAP, 400)
    budget.received(1, 100)
    assert budget.settle(1, report).usage == expected


def test_a_figure_that_one_side_never_reported_is_what_the_other_says() -> None:
    some, none = ev.Usage(input_tokens=1, cached_input_tokens=5), ev.Usage(input_tokens=2, estimated=True)
    assert add_usage(some, none) == ev.Usage(input_tokens=3, cached_input_tokens=5, estimated=True)
    assert add_usage(none, some) == add_usage(some, none)


def test_a_started_token_counts() -> None:
    assert [tokens_in(n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
