"""The strategies that ship: `balanced`, `pipeline` and `single`, and how a configured one becomes a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..errors import GraphError, UsageError
from .graph import AgentSpec, Edge, Loop, Strategy

if TYPE_CHECKING:
    from ..config import Config, StrategyConfig

DEFAULT_STRATEGY = "balanced"


def _agents(*roles: str) -> tuple[AgentSpec, ...]:
    return tuple(AgentSpec(name=role, role=role) for role in roles)


_WORK = (("coder", "refiner"), ("documenter",))


def _pipeline() -> Strategy:
    return Strategy(
        name="pipeline",
        agents=_agents("architect", "coder", "reviewer", "refiner", "documenter"),
        edges=(
            Edge("architect", "coder"),
            Edge("architect", "reviewer"),
            Edge("coder", "reviewer"),
            Edge("coder", "refiner"),
            Edge("reviewer", "refiner"),
            Edge("refiner", "documenter"),
        ),
        loop=Loop(reviewer="reviewer", refiner="refiner"),
        synthesis="section",
        deliverables=_WORK,
    )


def _balanced() -> Strategy:
    return Strategy(
        name="balanced",
        agents=_agents("architect", "coder", "reviewer", "refiner", "documenter"),
        edges=(
            Edge("architect", "coder", "live"),
            Edge("coder", "reviewer", "live"),
            Edge("coder", "refiner"),
            Edge("reviewer", "refiner"),
            # The documenter reads what there is, and waits for no verdict.
            Edge("coder", "documenter", "live"),
        ),
        loop=Loop(reviewer="reviewer", refiner="refiner"),
        synthesis="live",
        deliverables=_WORK,
    )


def _single() -> Strategy:
    """One model alone: what a debate has to be better than."""
    return Strategy(name="single", agents=_agents("answerer"), synthesizer=None, answer="answerer")


BUILT_IN: Mapping[str, Strategy] = {s.name: s for s in (_balanced(), _pipeline(), _single())}


def resolve_strategy(wanted: str | Strategy | None, config: Config) -> Strategy:
    """Return the strategy to run: the one asked for, else the configured default, else `balanced`.

    Raises `UsageError` for an unknown name and `GraphError` for a configured graph that cannot run.
    """
    if isinstance(wanted, Strategy):
        return wanted
    name = wanted or config.default_strategy or DEFAULT_STRATEGY
    if name in config.strategy:
        return _configured(name, config.strategy[name], config.limits.max_rounds)
    if name in BUILT_IN:
        return _with_rounds(BUILT_IN[name], config.limits.max_rounds)
    from ..config.explaining import unknown  # only where something is wrong

    raise UsageError(unknown("strategy", name, {*BUILT_IN, *config.strategy}))


def _with_rounds(strategy: Strategy, rounds: int) -> Strategy:
    if strategy.loop is None:
        return strategy
    return replace(strategy, loop=replace(strategy.loop, max_rounds=rounds))


def _configured(name: str, table: StrategyConfig, rounds: int) -> Strategy:
    specs = {
        a.name: AgentSpec(name=a.name, role=a.role, prompt=a.prompt, model=a.model) for a in table.agents
    }
    if len(specs) < len(table.agents):
        raise GraphError(f"strategy {name!r} names an agent twice; names must be unique.")
    # An agent of its own is added to answer, unless the table says who does.
    synthesizer = AgentSpec(name="synthesizer", role="synthesizer") if table.answer is None else None
    if table.synthesizer is not None:
        if table.synthesizer not in specs:
            raise GraphError(
                f"strategy {name!r}: synthesizer {table.synthesizer!r} is none of its agents: {', '.join(specs)}."
            )
        synthesizer = specs.pop(table.synthesizer)
    loop = table.loop
    return Strategy(
        name=name,
        agents=tuple(specs.values()),
        edges=tuple(Edge(e.from_, e.to, e.kind) for e in table.edges),
        synthesizer=synthesizer,
        synthesis=table.synthesis,
        answer=table.answer,
        deliverables=table.deliverables,
        loop=None
        if loop is None
        else Loop(loop.reviewer, loop.refiner, rounds if loop.max_rounds is None else loop.max_rounds),
    )
