"""The sections of a run: what they are called, their turns, and when they are done.

Without sections from the user, the first turn of the architect opens the run in the section "task"; the outline it
begins with names the others. Each section then has a turn of every agent but the architect, whose opening all of
them read. One outline line, or none, leaves one section.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

import msgspec

from ..events import SectionInfo
from .graph import Strategy
from .turn import AgentTurn

OPENING = SectionInfo(id="task", title="Task")


class Section(msgspec.Struct):
    """One section: its turns in the order they were planned, its answer, and its reviewing loop.

    The answer is written by the turn `synthesis`, or an agent's text is `said` to be it. A section that is only an
    opening gets none.
    """

    info: SectionInfo
    turns: list[AgentTurn] = msgspec.field(default_factory=list)
    gets_answer: bool = False
    synthesis: AgentTurn | None = None
    said: bool = False
    loop_open: bool = False

    def of(self, agent: str) -> list[AgentTurn]:
        """Return the turns of one agent, first turn first."""
        return [t for t in self.turns if t.agent.name == agent]

    @property
    def settled(self) -> bool:
        """Whether all turns before the answer have ended, and no more rounds come."""
        return not self.loop_open and all(t.settled for t in self.turns)

    @property
    def done(self) -> bool:
        """Whether its answer stands, if it gets one."""
        answered = self.said if self.synthesis is None else self.synthesis.settled
        return self.settled and (answered or not self.gets_answer)

    def latest(self, agents: Container[str]) -> AgentTurn | None:
        """Return the turn, of those of `agents`, that was planned last and has text."""
        return next((t for t in reversed(self.turns) if t.agent.name in agents and len(t.draft)), None)

    def open(self, agents: Container[str], loop: Container[str]) -> bool:
        """Whether one of `agents`, of whom those in `loop` review and refine, may still write."""
        turns = [t for t in self.turns if t.agent.name in agents]
        in_loop = self.loop_open and any(t.agent.name in loop for t in turns)
        return in_loop or not all(t.settled for t in turns)

    def standing(self, strategy: Strategy) -> list[AgentTurn]:
        """Return whose texts are the answer where no synthesis is: the answering agent's, else the latest of each
        chain of deliverables."""
        own = self.latest((strategy.answerer,))
        if own is not None:
            return [own]
        return [latest for chain in strategy.chains if (latest := self.latest(chain)) is not None]


def joined(turns: Iterable[AgentTurn]) -> str:
    """Return the texts of `turns`, one after the other."""
    return "\n\n".join(turn.text for turn in turns)


_NOT_WORD = r"[\W_]+"


def section_infos(titles: tuple[str, ...]) -> tuple[SectionInfo, ...]:
    """Return sections with unique ids made from their titles."""
    infos: list[SectionInfo] = []
    taken = {OPENING.id}
    for title in titles:
        base = re.sub(_NOT_WORD, "-", title.lower()).strip("-")[:40] or "section"
        slug, number = base, 2
        while slug in taken:
            slug, number = f"{base}-{number}", number + 1
        taken.add(slug)
        infos.append(SectionInfo(id=slug, title=title))
    return tuple(infos)
