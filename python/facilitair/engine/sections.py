"""The sections of a run: what they are called, their turns, and when they are done.

Without sections from the user, the first turn of the architect opens the run in the section "task"; the outline it
begins with names the others. Each section then has a turn of every agent but the architect, whose opening all of
them read. One outline line, or none, leaves one section.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..events import SectionInfo
from .turn import AgentTurn

OPENING = SectionInfo(id="task", title="Task")


@dataclass(slots=True)
class Section:
    """One section: its turns in the order they were planned, its synthesis, and its reviewing loop."""

    info: SectionInfo
    turns: list[AgentTurn] = field(default_factory=list)
    synthesis: AgentTurn | None = None
    loop_open: bool = False

    def of(self, agent: str) -> list[AgentTurn]:
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

    def last_text(self) -> AgentTurn | None:
        """Return the turn furthest down the graph that has text."""
        return next((t for t in reversed(self.turns) if len(t.draft)), None)


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
