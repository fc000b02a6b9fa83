"""Plays a collaboration on scripts and a virtual clock, and checks what every run must hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar, Unpack

import msgspec

from facilitair import Client, Collaboration, Config
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.engine.drive import drive
from facilitair.engine.graph import AgentSpec, Edge, EdgeKind, Strategy, SynthesisTiming
from facilitair.engine.plan import Plan
from facilitair.fold import answer, apply
from facilitair.options import RunOptions
from facilitair.planning import check_request, make_plan
from facilitair.providers.catalog import Catalog
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.prompt import Prompt
from facilitair.simulator.script import ScriptTransport
from facilitair.stream import EventStream

E = TypeVar("E", bound=ev.Event)
Look = Callable[[Collaboration, ev.AnyEvent], None]


@dataclass(frozen=True)
class Played:
    """A run that has ended: its events, its folded state, and the transport that served it."""

    events: list[ev.AnyEvent]
    state: ev.RunState
    transport: ScriptTransport

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def last(self) -> ev.AnyEvent:
        """The terminal event."""
        return self.events[-1]

    def text(self, agent: str, section: str = "task", turn: int = 1) -> str:
        """Return a chunk's folded text."""
        return self.state.chunks[f"{section}/{agent}.{turn}"].text

    def prompts(self, model: str) -> list[str]:
        """Return what each request to `model` asks, the model's own text left out."""
        bodies = [msgspec.json.decode(request.body) for request in self.transport.requests]
        return [
            "\n".join(m["content"] for m in body["messages"] if m["role"] != "assistant")
            for body in bodies
            if body["model"].removesuffix("+resume") == model
        ]

    def completed(self, agent: str) -> ev.ChunkCompletedEvent:
        """Return how the first chunk of an agent was completed first."""
        return next(e for e in self.of(ev.ChunkCompletedEvent) if e.agent == agent)

    def said(self) -> str:
        """Return all system messages."""
        return "\n".join(self.state.messages)


SYNTHESIZER = AgentSpec("synthesizer", "synthesizer", model="simulator/synthesizer")


def apart(**models: str) -> Strategy:
    """Return a strategy of agents that read nobody, each with a script and its faults."""
    agents = tuple(AgentSpec(name, "coder", model=f"simulator/{model}") for name, model in models.items())
    return Strategy(name="apart", agents=agents, synthesizer=SYNTHESIZER)


def chain(
    *agents: str, kind: EdgeKind = "live", synthesis: SynthesisTiming = "live", role: str = "coder"
) -> Strategy:
    """Return a strategy in which each agent reads the one before."""
    pairs = pairwise(agents)
    return Strategy(
        name="chain",
        agents=tuple(AgentSpec(a, role, model=f"simulator/{a}") for a in agents),
        edges=tuple(Edge(a, b, kind) for a, b in pairs),
        synthesizer=SYNTHESIZER,
        synthesis=synthesis,
    )


def says(text: str | Callable[[Prompt], str], *, ttft_s: float = 0.4, tokens_per_s: float = 80.0) -> Script:
    """Return a script that says `text`."""
    return Script(text=text, ttft_s=ttft_s, tokens_per_s=tokens_per_s)


def sentences(name: str, count: int) -> str:
    """Return a text of `count` fragments, each of them a block."""
    return "\n\n".join(f"This is sentence number {i} of {name} with some words." for i in range(1, count + 1))


def play(
    scripts: Mapping[str, Script],
    *,
    task: str = "Build a thing",
    config: Config | None = None,
    look: Look | None = None,
    **options: Unpack[RunOptions],
) -> Played:
    """Run a collaboration to its end on scripts, check it, and return it. `look` sees each event as it comes."""
    transport = ScriptTransport(Brain(scripts), VirtualClock())

    async def run() -> list[ev.AnyEvent]:
        events: list[ev.AnyEvent] = []
        async with Client(config or Config(), env={}, transport=transport) as client:
            collaboration = client.collaborate(task, **options)
            async with aclosing(collaboration.__aiter__()) as stream:
                async for event in stream:
                    events.append(event)
                    if look is not None:
                        look(collaboration, event)
        return events

    events = asyncio.run(run())
    return Played(events, check(events), transport)


def planned(strategy: Strategy, config: Config | None = None) -> Plan:
    """Return the plan of a run on scripts."""
    config = config or Config()
    request = check_request(config, "Build a thing", None, {"strategy": strategy})
    return make_plan(request, Catalog(config=config, env={}).with_simulator("http://127.0.0.1"))


def play_plan(
    plan: Plan, scripts: Mapping[str, Script], look: Callable[[ev.AnyEvent], None] | None = None
) -> Played:
    """Run a plan to its end on scripts, as `play` does."""
    transport = ScriptTransport(Brain(scripts), VirtualClock())

    async def run() -> list[ev.AnyEvent]:
        channel = transport.channel()
        events: list[ev.AnyEvent] = []
        async for batch in drive(plan, channel, transport.clock, EventStream()):
            for event in batch:
                events.append(event)
                if look is not None:
                    look(event)
        return events

    events = asyncio.run(run())
    return Played(events, check(events), transport)


def check(events: Sequence[ev.AnyEvent]) -> ev.RunState:
    """Assert what holds for the events of every run, and return the state they fold to."""
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    assert [e.ts for e in events] == sorted(e.ts for e in events)
    assert [isinstance(e, ev.TERMINAL) for e in events] == [False] * (len(events) - 1) + [True]
    state = ev.RunState()
    for event in events:
        before = state.chunks[event.chunk_id].text if isinstance(event, ev.FragmentsRetractedEvent) else ""
        state = apply(state, ev.decode(ev.encode(event)))
        match event:
            case ev.ChunkCompletedEvent():
                assert state.chunks[event.chunk_id].text == event.content
            case ev.SynthesisCompletedEvent():
                assert state.syntheses[event.section].text == event.content
            case ev.FragmentEvent():
                assert 0 <= event.start < event.end <= len(state.chunks[event.chunk_id].text)
            case ev.FragmentsRetractedEvent():
                assert event.keep <= len(before)
            case ev.TaskCompletedEvent():
                assert answer(state) == event.content
                assert all(c.status == "completed" for c in state.chunks.values())
                assert state.completed_chunks == len(state.chunks)
            case _:
                pass
    return state


ROLES = ("architect", "coder", "reviewer", "refiner", "documenter", "synthesizer")


def pipeline_models() -> dict[str, str]:
    return {role: f"simulator/{role}" for role in ROLES}


def plain(*names: str, count: int = 4) -> dict[str, Script]:
    return {name: says(sentences(name, count)) for name in names}


def reviewer(*verdicts: str) -> Script:
    """Return a reviewer that gives one verdict a round."""

    def text(prompt: Prompt) -> str:
        seen = sum("refiner." in peer.first for peer in prompt.peers)
        line = f"\n@@{prompt.nonce} verdict {verdicts[min(seen, len(verdicts) - 1)]}\n"
        return sentences("reviewer", 2) + line

    return says(text)


TEXT = sentences("a", 12)
GOOD = {n: says(sentences(n, 3)) for n in ("b", "c", "synthesizer")}


def faulty(fault: str) -> Played:
    """Run three agents that read nobody, of which the first, which says `TEXT`, has a fault."""
    return play({"a": says(TEXT), **GOOD}, strategy=apart(a=f"a{fault}", b="b", c="c"))
