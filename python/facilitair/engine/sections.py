"""The sections of a run and who reads whom in them.

Without sections from the user, the first turn of the architect opens the run in the section "task"; the outline it
begins with names the others. Each section then has a turn of every agent but the architect, whose opening all of
them read. One outline line, or none, leaves one section.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..events import SectionInfo
from .graph import EdgeKind, Strategy
from .turn import Phase, Turn

OPENING = SectionInfo(id="task", title="Task")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a turn reads: another turn, and whether it may start before that one has finished. `settled` means
    nothing more is to come from there."""

    turn: Turn
    kind: EdgeKind
    settled: bool


@dataclass(slots=True)
class Section:
    """One section: its turns in the order they were planned, its synthesis, and its reviewing loop."""

    info: SectionInfo
    turns: list[Turn] = field(default_factory=list)
    synthesis: Turn | None = None
    loop_open: bool = False

    def of(self, agent: str) -> list[Turn]:
        """Return the turns of one agent, first turn first."""
        return [t for t in self.turns if t.agent.name == agent]

    @property
    def settled(self) -> bool:
        """Whether all turns before the synthesis have ended, and no more rounds come."""
        return not self.loop_open and all(t.settled for t in self.turns)

    @property
    def done(self) -> bool:
        """Whether its answer stands, if it gets one."""
        return self.settled and (self.synthesis is None or self.synthesis.settled)

    def last_text(self) -> Turn | None:
        """Return the turn furthest down the graph that has text."""
        return next((t for t in reversed(self.turns) if len(t.text)), None)


class Readers:
    """Answers who reads whom, now: edges, the architect's opening, and the turns of a loop.

    A turn that was skipped, or failed without text, is passed through: its readers read what it read.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self.opening: Turn | None = None

    def readings(self, section: Section, turn: Turn) -> list[Reading]:
        """Return what `turn` reads, as it stands now."""
        found: dict[str, Reading] = {}
        visited: set[str] = set()
        for edge in self._strategy.sources(turn.agent.name):
            for reading in self._over(section, turn, edge.source, edge.kind, visited):
                found.setdefault(reading.turn.chunk_id, reading)
        return list(found.values())

    def _over(
        self, section: Section, turn: Turn, source: str, kind: EdgeKind, visited: set[str]
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

    def _pinned(self, section: Section, turn: Turn, source: str) -> Turn | None:
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


def _void(turn: Turn) -> bool:
    return turn.phase is Phase.SKIPPED or (turn.failed and not turn.provenance.fragments)


_NOT_WORD = re.compile(r"[\W_]+")


def section_infos(titles: tuple[str, ...]) -> tuple[SectionInfo, ...]:
    """Return sections with unique ids made from their titles."""
    infos: list[SectionInfo] = []
    taken = {OPENING.id}
    for title in titles:
        base = _NOT_WORD.sub("-", title.lower()).strip("-")[:40] or "section"
        slug, number = base, 2
        while slug in taken:
            slug, number = f"{base}-{number}", number + 1
        taken.add(slug)
        infos.append(SectionInfo(id=slug, title=title))
    return tuple(infos)
