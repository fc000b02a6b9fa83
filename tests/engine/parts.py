"""Parts of a run made by hand, for tests of one module."""

from __future__ import annotations

from collections.abc import Sequence

from facilitair import AgentSpec, Edge, Strategy
from facilitair.clock import VirtualClock
from facilitair.engine.control import VERBS
from facilitair.engine.graph import Loop, SynthesisTiming
from facilitair.engine.plan import Plan
from facilitair.engine.turn import AgentTurn, Phase
from facilitair.stream import EventStream
from facilitair_rust import Boundary, ChunkText

from .harness import SYNTHESIZER

ROLES = {"architect": "architect", "reviewer": "reviewer", "refiner": "refiner"}


def graph(
    names: str | Sequence[str],
    *edges: Edge,
    loop: Loop | None = None,
    synthesis: SynthesisTiming = "live",
) -> Strategy:
    """Return a strategy of agents on scripts of their names; an agent that is called as a role has it."""
    agents = tuple(AgentSpec(n, ROLES.get(n, "coder"), model=f"simulator/{n}") for n in names)
    return Strategy("own", agents, edges, synthesizer=SYNTHESIZER, loop=loop, synthesis=synthesis)


REVIEWED = graph(
    ("coder", "reviewer", "refiner", "documenter"),
    Edge("coder", "reviewer"),
    Edge("coder", "refiner"),
    Edge("reviewer", "refiner"),
    Edge("refiner", "documenter"),
    loop=Loop("reviewer", "refiner", max_rounds=2),
)


def turn_of(
    plan: Plan,
    agent: str,
    number: int = 1,
    text: str = "",
    phase: Phase = Phase.WAITING,
    section: str = "task",
) -> AgentTurn:
    """Return a turn that stands there and has written `text`."""
    turn = AgentTurn(section, plan.agents[agent], number, ChunkText(plan.nonce, VERBS))
    write(turn, text)
    turn.phase = phase
    return turn


def write(turn: AgentTurn, text: str) -> None:
    """Let a turn have written `text`, all of it in fragments."""
    for segment in (*turn.draft.feed(text), *turn.draft.flush()):
        if isinstance(segment, Boundary):
            turn.provenance.add(segment.number, segment.start, segment.end)


def stream() -> EventStream:
    """Return the events of a run that begins now, on a clock that stands still."""
    events = EventStream()
    events.begin(VirtualClock(), lambda: None)
    return events
