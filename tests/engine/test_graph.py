"""Graphs: what cannot run is refused when it is made, and what one says about itself."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from facilitair import AgentSpec, Edge, GraphError, Loop, Strategy
from facilitair.engine.graph import EdgeKind, SynthesisTiming
from facilitair.engine.strategies import BUILT_IN


def graph(*edges: tuple[str, str], names: str = "abc", loop: Loop | None = None) -> Strategy:
    agents = tuple(AgentSpec(n, "coder") for n in names)
    return Strategy(name="own", agents=agents, edges=tuple(Edge(a, b) for a, b in edges), loop=loop)


def answered(answer: str | None, *deliverables: tuple[str, ...]) -> Strategy:
    """Return a graph without a synthesizer."""
    return replace(graph(("a", "b")), synthesizer=None, answer=answer, deliverables=deliverables or None)


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
        (lambda: answered(None), "no synthesizer, and its answer is missing; name .*: a, b, c"),
        (lambda: answered("x"), "no synthesizer, and its answer is 'x'; name .*: a, b, c"),
        (lambda: answered("synthesizer"), "its answer is 'synthesizer'"),
        (lambda: replace(graph(), answer="a"), "'a' cannot answer beside the synthesizer 'synthesizer'"),
        (lambda: answered("a", ("a", "x")), "deliverables name the unknown agent 'x'; known: a, b, c"),
        (lambda: answered("a", ("a", "b"), ("b",)), "deliverables name 'b' twice"),
        (lambda: answered("a", ("a",), ()), "or a chain of them is"),
        (lambda: replace(graph(), deliverables=()), "deliverables are empty"),
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
        if strategy.synthesizer is not None:
            assert len(strategy.sources("synthesizer")) == len(strategy.agents)


def test_a_synthesizer_answers_unless_there_is_none() -> None:
    with_one, without = graph(("a", "b")), answered("b")
    assert (with_one.answerer, without.answerer) == ("synthesizer", "b")
    assert replace(with_one, answer="synthesizer").answerer == "synthesizer"
    assert [spec.name for spec in with_one.specs] == ["a", "b", "c", "synthesizer"]
    assert [spec.name for spec in without.specs] == ["a", "b", "c"]
    assert {e.source for e in with_one.sources("synthesizer")} == {"a", "b", "c"}
    assert without.sources("synthesizer") == ()


@pytest.mark.parametrize(("timing", "kind"), [("live", "live"), ("section", "after"), ("end", "after")])
def test_a_synthesizer_reads_live_only_where_it_begins_early(timing: SynthesisTiming, kind: EdgeKind) -> None:
    strategy = replace(graph(), synthesis=timing)
    assert {e.kind for e in strategy.sources("synthesizer")} == {kind}


def test_the_deliverables_are_one_chain_of_all_unless_they_are_named() -> None:
    assert graph(("c", "a")).chains == (graph(("c", "a")).in_order(),)
    assert graph(("c", "a")).chains[0].index("c") < graph(("c", "a")).chains[0].index("a")
    assert answered("b", ("c",), ("a",)).chains == (("c",), ("a",))


def test_the_default_follows_the_agents_when_they_are_replaced() -> None:
    changed = replace(graph(("a", "b")), agents=graph(names="xy").agents, edges=())
    assert changed.chains == (("x", "y"),)


def test_whose_text_can_become_the_answer() -> None:
    assert set(graph().contributors) == {"a", "b", "c"}
    assert set(replace(graph(), deliverables=(("a",),)).contributors) == {"a", "b", "c"}
    assert answered("b", ("a",)).contributors == ("b", "a")
