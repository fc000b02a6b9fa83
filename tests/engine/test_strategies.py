"""The strategies that ship, and how a configured one becomes a graph."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from facilitair import Config, Edge, GraphError, Loop, UsageError
from facilitair.config import LimitsConfig
from facilitair.engine.strategies import BUILT_IN, DEFAULT_STRATEGY, resolve_strategy

DOCS = Path(__file__).parents[2] / "docs"
PAIR = {"agents": [{"name": "w", "role": "coder"}, {"name": "e", "role": "refiner"}]}


def configured(limits: LimitsConfig | None = None, **table: Any) -> Config:
    """Return a configuration with the strategy "own"."""
    return msgspec.convert(
        {"default_strategy": "own", "strategy": {"own": PAIR | table}, "limits": limits or {}}, Config
    )


def test_an_unknown_strategy_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"strategy 'nope' is not known; use one of balanced, own, pipeline"):
        resolve_strategy("nope", configured())


def test_a_call_s_strategy_comes_before_the_configured_default_and_that_before_balanced() -> None:
    config = configured()
    assert resolve_strategy("pipeline", config).name == "pipeline"
    assert resolve_strategy(None, config).name == "own"
    assert resolve_strategy(None, Config()).name == DEFAULT_STRATEGY == "balanced"
    assert resolve_strategy(BUILT_IN["pipeline"], config) is BUILT_IN["pipeline"]


def test_a_configured_strategy_may_have_the_name_of_one_that_ships() -> None:
    config = msgspec.convert({"strategy": {"pipeline": PAIR}}, Config)
    assert [a.name for a in resolve_strategy("pipeline", config).agents] == ["w", "e"]


def test_a_table_becomes_a_graph() -> None:
    table = {
        "agents": [
            {"name": "w", "role": "coder", "prompt": "Write.", "model": "simulator/w"},
            {"name": "r", "role": "reviewer"},
            {"name": "f", "role": "refiner"},
            {"name": "s", "role": "synthesizer"},
        ],
        "edges": [
            {"from": "w", "to": "r", "kind": "live"},
            {"from": "w", "to": "f"},
            {"from": "r", "to": "f"},
        ],
        "loop": {"reviewer": "r", "refiner": "f"},
        "synthesizer": "s",
        "synthesis": "end",
        "deliverables": [["w", "f"], ["r"]],
    }
    strategy = resolve_strategy("own", configured(LimitsConfig(max_rounds=5), **table))
    assert [a.name for a in strategy.agents] == ["w", "r", "f"]
    assert (strategy.agents[0].prompt, strategy.agents[0].model) == ("Write.", "simulator/w")
    assert strategy.edges == (Edge("w", "r", "live"), Edge("w", "f"), Edge("r", "f"))
    assert strategy.loop == Loop("r", "f", 5)
    assert strategy.synthesizer is not None
    assert (strategy.synthesizer.name, strategy.synthesis, strategy.answerer) == ("s", "end", "s")
    assert strategy.chains == (("w", "f"), ("r",))


def test_rounds_of_the_table_come_before_the_limit() -> None:
    for name, rounds in (("pipeline", 4), ("balanced", 4), ("single", None)):
        loop = resolve_strategy(name, Config(limits=LimitsConfig(max_rounds=4))).loop
        assert (loop and loop.max_rounds) == rounds
    table = {
        "edges": [{"from": "w", "to": "f"}, {"from": "r", "to": "f"}],
        "agents": [{"name": n, "role": "coder"} for n in "wrf"],
        "loop": {"reviewer": "r", "refiner": "f", "max_rounds": 1},
    }
    loop = resolve_strategy("own", configured(LimitsConfig(max_rounds=4), **table)).loop
    assert loop == Loop("r", "f", 1)


def test_an_agent_may_answer() -> None:
    strategy = resolve_strategy("own", configured(answer="e", deliverables=[["w"]]))
    assert (strategy.synthesizer, strategy.answerer, strategy.chains) == (None, "e", (("w",),))
    assert [spec.name for spec in strategy.specs] == ["w", "e"]


def test_without_either_a_synthesizer_is_added() -> None:
    strategy = resolve_strategy("own", configured())
    assert [spec.name for spec in strategy.specs] == ["w", "e", "synthesizer"]
    assert strategy.answerer == "synthesizer"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"agents": PAIR["agents"] * 2}, "names an agent twice"),
        ({"synthesizer": "x"}, "synthesizer 'x' is none of its agents: w, e"),
        ({"answer": "x"}, "its answer is 'x'"),
        ({"synthesizer": "w", "answer": "e"}, "'e' cannot answer beside the synthesizer 'w'"),
        ({"deliverables": [["w", "x"]]}, "unknown agent 'x'"),
        ({"deliverables": []}, "deliverables are empty"),
    ],
)
def test_a_table_that_is_no_graph_is_refused(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=problem):
        resolve_strategy("own", configured(**table))


@pytest.mark.parametrize("page", ["configuration.md", "library.md"])
def test_the_strategies_of_the_documentation_are_graphs(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    examples = [e for e in re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S) if "[strategy." in e]
    assert examples
    for example in examples:
        config = msgspec.convert(tomllib.loads(example), Config)
        for name in config.strategy:
            assert resolve_strategy(name, config).name == name
