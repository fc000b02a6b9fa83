"""A strategy as a graph: agents joined by edges, checked before anything runs.

An edge makes its target read its source: `after` the source has finished, or `live`, from the source's first
fragment on. A cycle cannot start, so it is refused; the one repetition there is, reviewer and refiner taking
turns, is a `Loop` beside the edges.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import Literal

import msgspec

from ..errors import GraphError

EdgeKind = Literal["after", "live"]
SynthesisTiming = Literal["live", "section", "end"]


class AgentSpec(msgspec.Struct, frozen=True):
    """An agent of a strategy. `prompt` and `model` override what its role and the configuration say."""

    name: str
    role: str
    prompt: str | None = None
    model: str | None = None


class Edge(msgspec.Struct, frozen=True):
    """`target` reads `source`."""

    source: str
    target: str
    kind: EdgeKind = "after"


class Loop(msgspec.Struct, frozen=True):
    """`reviewer` and `refiner` take turns until the verdict is "approve", at most `max_rounds` refinements."""

    reviewer: str
    refiner: str
    max_rounds: int = 2


class Strategy(msgspec.Struct, frozen=True):
    """A named graph. The synthesizer reads every agent and is not listed among them.

    `synthesis`: `live` starts it on a quorum of heads, `section` when a section's agents have finished, `end`
    when all have. `answer` is who answers: the synthesizer, or, without one, the agent of that name, whose text the
    answer then is. `deliverables` are chains of agents who make something: where nobody answers, the latest text of
    each chain does. Left out, there is one chain, of all agents. Raises `GraphError` when the graph cannot run.
    """

    name: str
    agents: tuple[AgentSpec, ...]
    edges: tuple[Edge, ...] = ()
    synthesizer: AgentSpec | None = AgentSpec(name="synthesizer", role="synthesizer")
    loop: Loop | None = None
    synthesis: SynthesisTiming = "live"
    answer: str | None = None
    deliverables: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        _check_names(self)
        _check_edges(self)
        _check_loop(self)
        _check_answer(self)
        _check_deliverables(self)

    @property
    def specs(self) -> tuple[AgentSpec, ...]:
        """All agents, the synthesizer last."""
        return self.agents if self.synthesizer is None else (*self.agents, self.synthesizer)

    @property
    def answerer(self) -> str:
        """The name of who answers."""
        return self.answer or self.specs[-1].name

    @property
    def chains(self) -> tuple[tuple[str, ...], ...]:
        """The deliverables, by agents' names."""
        return (self.in_order(),) if self.deliverables is None else self.deliverables

    def delivers(self, agent: str) -> bool:
        """Whether that agent's text is a deliverable."""
        return any(agent in links for links in self.chains)

    def chain_of(self, agent: str) -> tuple[str, ...]:
        """Return the chain in which that agent's work is handed on; its own alone where no deliverables are named."""
        return next((links for links in self.deliverables or () if agent in links), (agent,))

    @property
    def offered(self) -> tuple[str, ...]:
        """The agents whose work an answer can take over, by the name of the first of each chain."""
        if self.synthesizer is None:
            return ()
        return (
            tuple(a.name for a in self.agents)
            if self.deliverables is None
            else tuple(c[0] for c in self.chains)
        )

    @property
    def contributors(self) -> tuple[str, ...]:
        """The agents whose text can become the answer: all, where a synthesizer reads them."""
        if self.synthesizer is not None:
            return self.in_order()
        return tuple(dict.fromkeys([self.answerer, *chain.from_iterable(self.chains)]))

    def sources(self, agent: str) -> tuple[Edge, ...]:
        """Return the edges that `agent` reads over."""
        if self.synthesizer is not None and agent == self.synthesizer.name:
            kind: EdgeKind = "live" if self.synthesis == "live" else "after"
            return tuple(Edge(a.name, agent, kind) for a in self.agents)
        return tuple(e for e in self.edges if e.target == agent)

    def in_order(self) -> tuple[str, ...]:
        """Return the agents' names, sources before those who read them."""
        graph: dict[str, list[str]] = {a.name: [] for a in self.agents}
        for edge in self.edges:
            graph[edge.target].append(edge.source)
        return tuple(TopologicalSorter(graph).static_order())


def _check_names(strategy: Strategy) -> None:
    where = f"strategy {strategy.name!r}"
    if not strategy.agents:
        raise GraphError(f"{where} has no agents; give it at least one.")
    names = [a.name for a in strategy.specs]
    for name in names:
        if not name or not all(c.isalnum() or c in "-_" for c in name):
            raise GraphError(
                f"{where}: agent name {name!r} is not usable; use letters, digits, '-' and '_' only."
            )
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise GraphError(f"{where} names the agent {twice[0]!r} twice; names must be unique.")


def _check_edges(strategy: Strategy) -> None:
    known = [a.name for a in strategy.agents]
    seen: set[tuple[str, str]] = set()
    for edge in strategy.edges:
        for end in (edge.source, edge.target):
            if end not in known:
                raise GraphError(
                    f"strategy {strategy.name!r}: the edge {edge.source!r} -> {edge.target!r} names the unknown "
                    f"agent {end!r}; known: {', '.join(known)}."
                )
        if (edge.source, edge.target) in seen:
            raise GraphError(
                f"strategy {strategy.name!r} has two edges {edge.source!r} -> {edge.target!r}; keep one."
            )
        seen.add((edge.source, edge.target))
    try:
        strategy.in_order()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise GraphError(
            f"strategy {strategy.name!r} is cyclic: {circle}. No agent of a circle can start; remove an edge "
            "(for reviewer and refiner taking turns, use a loop)."
        ) from None


def _check_loop(strategy: Strategy) -> None:
    loop = strategy.loop
    if loop is None:
        return
    where = f"strategy {strategy.name!r}: the loop of {loop.reviewer!r} and {loop.refiner!r}"
    edges = {(e.source, e.target): e.kind for e in strategy.edges}
    if loop.max_rounds < 1:
        raise GraphError(f"{where} needs max_rounds of at least 1, not {loop.max_rounds}.")
    if edges.get((loop.reviewer, loop.refiner)) != "after":
        raise GraphError(
            f"{where} needs an edge {loop.reviewer!r} -> {loop.refiner!r} of kind 'after': "
            "a refiner starts when the verdict is there."
        )
    if not any(e.source != loop.reviewer for e in strategy.sources(loop.refiner)):
        raise GraphError(f"{where} needs an edge from the reviewed agent to {loop.refiner!r}.")


def _check_answer(strategy: Strategy) -> None:
    where, known = f"strategy {strategy.name!r}", [a.name for a in strategy.agents]
    if strategy.synthesizer is None and strategy.answer not in known:
        given = "is missing" if strategy.answer is None else f"is {strategy.answer!r}"
        raise GraphError(
            f"{where} has no synthesizer, and its answer {given}; name the agent who answers: {', '.join(known)}."
        )
    if strategy.synthesizer is not None and strategy.answer not in (None, strategy.synthesizer.name):
        raise GraphError(
            f"{where}: {strategy.answer!r} cannot answer beside the synthesizer {strategy.synthesizer.name!r}; "
            "keep one of the two."
        )


def _check_deliverables(strategy: Strategy) -> None:
    if strategy.deliverables is None:
        return
    where, known = f"strategy {strategy.name!r}: deliverables", [a.name for a in strategy.agents]
    names = list(chain.from_iterable(strategy.deliverables))
    if not all(strategy.deliverables) or not names:
        raise GraphError(f"{where} are empty, or a chain of them is; name agents, or leave them out.")
    for name in names:
        if name not in known:
            raise GraphError(f"{where} name the unknown agent {name!r}; known: {', '.join(known)}.")
        if names.count(name) > 1:
            raise GraphError(f"{where} name {name!r} twice; an agent stands in one chain.")
