"""Who reads what, now: over the edges of the graph, and what is given to all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from .graph import EdgeKind, Strategy
from .review import Review
from .sections import Section
from .source import Source
from .turn import AgentTurn, Phase


class Reading(msgspec.Struct, frozen=True):
    """What a turn reads: over an edge of that kind, or `given`, which every turn reads. `settled` means nothing more
    is to come from there."""

    source: Source
    kind: EdgeKind | Literal["given"]
    settled: bool


class Readers:
    """Answers who reads whom, now: edges, the architect's opening, and the turns of a loop.

    A turn that was skipped, or failed without text, is passed through: its readers read what it read.
    """

    def __init__(self, strategy: Strategy, review: Review) -> None:
        self._strategy = strategy
        self._review = review
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
        pinned = self._review.read_over(section, turn, source)
        if pinned is not None:
            yield Reading(pinned, kind, pinned.settled)
            return
        turns = section.of(source)
        if not turns and self.opening is not None and self.opening.agent.name == source:
            turns = [self.opening]
        useful = [t for t in turns if not _void(t)]
        if useful:
            last = useful[-1]
            yield Reading(last, kind, last.settled and not self._review.may_go_on(section, source))
            return
        for edge in self._strategy.sources(source):
            if not self._review.is_reviewer(edge.source):
                yield from self._over(section, turn, edge.source, kind, visited)


def _void(turn: AgentTurn) -> bool:
    return turn.phase is Phase.SKIPPED or (turn.failed and not turn.provenance.fragments)
