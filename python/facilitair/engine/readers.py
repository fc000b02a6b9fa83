"""Who reads what, now: over the edges of the graph, and what is given to all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .graph import EdgeKind, Strategy
from .sections import Section
from .source import Source
from .turn import AgentTurn, Phase


@dataclass(frozen=True, slots=True)
class Reading:
    """What a turn reads: over an edge of that kind, or `given`, which every turn reads. `settled` means nothing more
    is to come from there."""

    source: Source
    kind: EdgeKind | Literal["given"]
    settled: bool


class Readers:
    """Answers who reads whom, now: edges, the architect's opening, and the turns of a loop.

    A turn that was skipped, or failed without text, is passed through: its readers read what it read.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self.given: list[Source] = []
        self.opening: AgentTurn | None = None

    def readings(self, section: Section, turn: AgentTurn) -> list[Reading]:
        """Return what `turn` reads, as it stands now."""
        found: dict[str, Reading] = {}
        visited: set[str] = set()
        for edge in self._strategy.sources(turn.agent.name):
            for reading in self._over(section, turn, edge.source, edge.kind, visited):
                found.setdefault(reading.source.id, reading)
        return [*(Reading(s, "given", s.settled) for s in self.given), *found.values()]

    def _over(
        self, section: Section, turn: AgentTurn, source: str, kind: EdgeKind, visited: set[str]
    ) -> Iterator[Reading]:
        if source in visited:
            return
        visited.add(source)
        pinned = self._pinned(section, turn, source)
        if pinned is not None:
            yield Reading(pinned, kind, pinned.settled)
            return
        turns = section.of(source)
        if not turns and self.opening is not None and self.opening.agent.name == source:
            turns = [self.opening]
        useful = [t for t in turns if not _void(t)]
        if useful:
            last = useful[-1]
            yield Reading(last, kind, last.settled and not (section.loop_open and self._loops(source)))
            return
        for edge in self._strategy.sources(source):
            if self._strategy.loop is None or edge.source != self._strategy.loop.reviewer:
                yield from self._over(section, turn, edge.source, kind, visited)

    def _pinned(self, section: Section, turn: AgentTurn, source: str) -> AgentTurn | None:
        """Return the turn that a turn of the loop reads over an edge, when the round decides it."""
        loop = self._strategy.loop
        if loop is None:
            return None
        before = turn.number - 1
        if turn.agent.name == loop.refiner and source == loop.reviewer:
            return section.of(loop.reviewer)[before]
        if turn.agent.name in (loop.reviewer, loop.refiner) and before and source == self._strategy.reviewed:
            return section.of(loop.refiner)[before - 1]
        return None

    def _loops(self, agent: str) -> bool:
        loop = self._strategy.loop
        return loop is not None and agent in (loop.reviewer, loop.refiner)


def _void(turn: AgentTurn) -> bool:
    return turn.phase is Phase.SKIPPED or (turn.failed and not turn.provenance.fragments)
