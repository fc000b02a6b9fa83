"""A run as decided before it starts: whose models, and what it may take."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from facilitair import Edge
from facilitair.engine.graph import EdgeKind
from facilitair.engine.plan import Plan
from facilitair.providers.model import Model

from .harness import planned
from .parts import graph, model


def with_models(plan: Plan, **models: Model) -> Plan:
    """Return the plan in which these agents have these models."""
    changed = {name: replace(plan.agents[name], models=(model,)) for name, model in models.items()}
    return replace(plan, agents={**plan.agents, **changed})


def test_every_agent_is_in_the_plan_the_synthesizer_last_if_there_is_one() -> None:
    plan = planned(graph("ba"))
    assert list(plan.agents) == ["b", "a", "synthesizer"]
    without = planned(replace(graph("ba"), synthesizer=None, answer="a"))
    assert list(without.agents) == ["b", "a"]
    info = plan.agents["b"].info()
    assert (info.name, info.role, info.model, info.provider) == ("b", "coder", "b", "simulator")


def test_an_unknown_price_makes_the_estimate_unknown() -> None:
    plan = planned(graph("ab"))
    assert plan.estimate_cost(1) == 0.0
    assert with_models(plan, a=model(None)).estimate_cost(1) is None


def test_an_estimate_grows_with_sections_task_and_agents() -> None:
    plan = with_models(planned(graph("ab")), a=model(10.0, 50.0))
    one = plan.estimate_cost(1)
    assert one is not None
    assert one > 0
    assert plan.estimate_cost(3) == pytest.approx(3 * one)
    longer = replace(plan, task="x" * 40_000).estimate_cost(1)
    assert longer == pytest.approx(one + (40_000 - len(plan.task)) / 4 * 10 / 1e6, rel=0.01)
    both = with_models(plan, b=model(10.0, 50.0)).estimate_cost(1)
    assert both == pytest.approx(2 * one)


@pytest.mark.parametrize("agents", [2, 5])
def test_live_edges_overlap_all_but_the_first_words(agents: int) -> None:
    def estimate(kind: EdgeKind) -> float:
        names = "abcde"[:agents]
        edges = (Edge(a, b, kind) for a, b in pairwise(names))
        return planned(graph(names, *edges, synthesis="section")).estimate_time()

    alone = planned(graph("a", synthesis="section")).estimate_time()
    assert estimate("after") - alone == pytest.approx((agents - 1) * alone / 2, abs=0.2)
    assert alone < estimate("live") < alone + 2 * agents
    assert estimate("live") < estimate("after")


def test_without_a_synthesizer_nobody_is_waited_for() -> None:
    strategy = graph("ab", Edge("a", "b"), synthesis="section")
    without = replace(strategy, synthesizer=None, answer="b")
    one = planned(graph("a", synthesis="section")).estimate_time() / 2
    assert planned(strategy).estimate_time() == pytest.approx(3 * one, abs=0.2)
    assert planned(without).estimate_time() == pytest.approx(2 * one, abs=0.2)


def test_a_run_is_simulated_by_its_first_models_and_may_need_the_simulator_for_others() -> None:
    real = replace(model(), simulated=False)
    plan = with_models(planned(graph("a")), a=real, synthesizer=real)
    assert (plan.simulated, plan.needs_simulator) == (False, False)
    fallback = replace(plan.agents["a"], models=(real, model()))
    plan = replace(plan, agents={**plan.agents, "a": fallback})
    assert (plan.simulated, plan.needs_simulator) == (False, True)
    assert planned(graph("a")).simulated


def test_prices_are_looked_up_only_where_they_are_unknown() -> None:
    plan = planned(graph("a"))
    assert not plan.needs_prices  # what is simulated is free
    assert not with_models(plan, a=model(10.0)).needs_prices
    assert with_models(plan, a=model(None)).needs_prices
