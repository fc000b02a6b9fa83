from __future__ import annotations

import pytest

from facilitair import AgentSpec, Edge, GraphError, Loop, Strategy, UsageError
from facilitair.config import Config
from facilitair.engine.strategies import BUILT_IN, resolve_strategy


def graph(*edges: tuple[str, str], names: str = "abc", loop: Loop | None = None) -> Strategy:
    agents = tuple(AgentSpec(n, "coder") for n in names)
    return Strategy(name="own", agents=agents, edges=tuple(Edge(a, b) for a, b in edges), loop=loop)


def test_a_circle_is_named() -> None:
    with pytest.raises(GraphError, match=r"'own' is cyclic: .*a.* -> .*b.* remove an edge"):
        graph(("a", "b"), ("b", "c"), ("c", "a"))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: graph(("a", "a")), "cyclic"),
        (lambda: graph(("a", "x")), "unknown agent 'x'; known: a, b, c"),
        (lambda: graph(("a", "b"), ("a", "b")), "two edges"),
        (lambda: graph(names="aa"), "twice"),
        (lambda: graph(names=""), "no agents"),
        (lambda: Strategy(name="own", agents=(AgentSpec("a/b", "coder"),)), "not usable"),
        (lambda: Strategy(name="own", agents=(AgentSpec("synthesizer", "coder"),)), "'synthesizer' twice"),
        (lambda: graph(("a", "b"), loop=Loop("b", "c")), "needs an edge 'b' -> 'c'"),
        (lambda: graph(("a", "b"), ("b", "c"), loop=Loop("b", "c")), "from the reviewed agent"),
        (lambda: graph(("a", "b"), ("a", "c"), ("b", "c"), loop=Loop("b", "c", 0)), "at least 1"),
    ],
)
def test_what_cannot_run_is_refused(build: object, says: str) -> None:
    assert callable(build)
    with pytest.raises(GraphError, match=says):
        build()


def test_sources_come_before_their_readers() -> None:
    for strategy in BUILT_IN.values():
        order = strategy.in_order()
        assert all(order.index(e.source) < order.index(e.target) for e in strategy.edges)
        assert len(strategy.sources("synthesizer")) == len(strategy.agents)


def test_an_unknown_strategy_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown strategy 'nope'; known: balanced, pipeline"):
        resolve_strategy("nope", Config())
