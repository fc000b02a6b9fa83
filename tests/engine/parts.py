"""Parts of a run made by hand, for tests of one module."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from facilitair import AgentSpec, Edge, Strategy
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.engine.budget import Settled
from facilitair.engine.control import VERBS
from facilitair.engine.graph import Loop, SynthesisTiming
from facilitair.engine.plan import Plan
from facilitair.engine.turn import AgentTurn, Phase
from facilitair.pricing import Price
from facilitair.providers.model import Model
from facilitair.stream import EventStream
from facilitair_rust import Boundary, ChunkText

from .harness import SYNTHESIZER, planned

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


def model(input_per_mtok: float | None = 10.0, output_per_mtok: float = 50.0, name: str = "a") -> Model:
    """Return a model on a script, at that price; without one it costs what nobody knows."""
    found = planned(graph("a")).agents["a"].models[0]
    price = None
    if input_per_mtok is not None:
        price = Price(input_per_mtok=input_per_mtok, output_per_mtok=output_per_mtok, source="configured")
    return replace(found, name=name, free=False, known_price=price)


def settled(input_tokens: int, output_tokens: int, cost_usd: float | None) -> Settled:
    """Return what a stream used."""
    return Settled(ev.Usage(input_tokens=input_tokens, output_tokens=output_tokens), cost_usd)
