"""The agenda of a run: which sections and turns there are, and what each turn reads.

It grows while the run goes on, by the architect's outline and by the rounds of the review loop.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from facilitair_rust import ChunkText

from .. import events as ev
from ..stream import EventStream
from .control import VERBS, OutlineTitle
from .plan import Plan, PlannedAgent
from .prompts import Assignment
from .provenance import source_of
from .readers import Readers, Reading
from .review import Review
from .sections import OPENING, Section, section_infos
from .source import Source
from .turn import AgentTurn, Phase


class _Outline(msgspec.Struct, frozen=True):
    """The architect's outline while it is still being written."""

    author: AgentTurn
    titles: list[str]


class Agenda:
    """Holds the sections and turns of a run. `turns` are by id, in the order they were planned; `sources`, by id, are
    all that can be read: the turns, and what was given."""

    def __init__(self, plan: Plan, events: EventStream) -> None:
        self._plan = plan
        self._events = events
        self._review = Review(plan.strategy)
        self._readers = Readers(plan.strategy, self._review)
        self._outline: _Outline | None = None
        self.turns: dict[str, AgentTurn] = {}
        self.sources: dict[str, Source] = {}
        self.sections: dict[str, Section] = {}
        for source in plan.given:
            self.give(source)

    def begin(self) -> None:
        """Make the first sections: the user's, or the one that the architect opens, or one for all."""
        planner = self._planner()
        if self._plan.sections is not None:
            for info in section_infos(self._plan.sections):
                self._add_section(info, self._plan.strategy.in_order())
        elif planner is None or self._plan.limits.max_sections == 1:
            self._add_section(OPENING, self._plan.strategy.in_order())
        else:
            section = self.sections[OPENING.id] = Section(OPENING)
            self._readers.opening = self._add_turn(section, planner, 1)
            self._outline = _Outline(self._readers.opening, [])

    # --- who reads whom --------------------------------------------------------------------------------------------

    def readings(self, turn: AgentTurn) -> list[Reading]:
        """Return what `turn` reads, as it stands now."""
        return self._readers.readings(self.sections[turn.section], turn)

    def unseen(self, turn: AgentTurn) -> list[str]:
        """Return the ids of the fragments that `turn` reads and has not been shown."""
        return [f for r in self.readings(turn) for f in turn.provenance.unseen(r.source.provenance)]

    def texts(self, fragments: Iterable[str]) -> list[str]:
        """Return the texts of fragments that stand."""
        found: list[str] = []
        whole: dict[str, str] = {}
        for name in fragments:
            source = self.sources[source_of(name)]
            text = whole.setdefault(source.id, source.text)
            fragment = source.provenance.fragments[name]
            found.append(text[fragment.start : fragment.end])
        return found

    def works(self, section: str, agent: str) -> list[AgentTurn] | None:
        """Return the turns of the chain that hands on that agent's work in a section, the latest first; `None` while
        more of it may come."""
        links = self._plan.strategy.chain_of(agent)
        if self.sections[section].open(links, self._review.members):
            return None
        return [t for t in reversed(self.sections[section].turns) if t.agent.name in links and len(t.draft)]

    def give(self, source: Source) -> None:
        """Let every turn read `source` from now on."""
        self.sources[source.id] = source
        self._readers.given.append(source)

    def running(self) -> list[AgentTurn]:
        """Return the turns somebody is waiting for."""
        return [t for t in self.turns.values() if t.running]

    def planned(self) -> list[AgentTurn]:
        """Return the chunks known so far, without those that turned out not to be needed."""
        return [t for s in self.sections.values() for t in s.turns if t.phase is not Phase.SKIPPED]

    def assignment(self, turn: AgentTurn) -> Assignment:
        """Return what `turn` is about."""
        return Assignment(
            agent=turn.agent,
            section=self.sections[turn.section].info.title,
            outline=tuple(s.info.title for s in self.written()),
            wants_outline=self._outline is not None and turn is self._outline.author,
            includes=self._plan.strategy.offered if turn.answers else (),
            heading=self.heading(turn.section) if turn.answers else "",
        )

    # --- sections --------------------------------------------------------------------------------------------------

    @property
    def outline_open(self) -> bool:
        """Whether the sections are still being found."""
        return self._outline is not None

    def heading(self, section: str) -> str:
        """Return the heading above a section's answer, with the blank line behind it; empty where there is one
        section."""
        if len(self.written()) < 2:
            return ""
        return f"## {self.sections[section].info.title}\n\n"

    def written(self) -> list[Section]:
        """Return the sections that get an answer."""
        return [s for s in self.sections.values() if s.gets_answer]

    def unanswered(self) -> list[Section]:
        """Return the sections whose answer an agent's text is, and now can be said to be."""
        return [s for s in self.written() if s.synthesis is None and s.settled and not s.said]

    def outlines(self, turn: AgentTurn, line: OutlineTitle) -> None:
        """Take a title that `turn` puts into its outline; from anybody else it says nothing."""
        if self._outline is None or turn is not self._outline.author:
            return
        titles, most = self._outline.titles, self._plan.limits.max_sections
        if line.title in titles:
            return
        if len(titles) < most:
            titles.append(line.title)
        else:
            self._events.tell(
                f"the part {line.title!r} is left out: limits.max_sections is {most}", "warning"
            )

    def close_outline(self, turn: AgentTurn) -> bool:
        """Divide the work as the outline says, now that the text of its author, `turn`, has begun or ended; return
        whether this has just happened."""
        outline = self._outline
        if outline is None or turn is not outline.author:
            return False
        self._outline = None
        others = tuple(n for n in self._plan.strategy.in_order() if n != turn.agent.name)
        if len(outline.titles) < 2:
            if not outline.titles:
                self._events.tell(f"{turn.agent.name} gave no outline; the work stays in one section")
            self._readers.opening = None
            self._fill_section(self.sections[OPENING.id], others)
        else:
            for info in section_infos(tuple(outline.titles)):
                self._add_section(info, others)
        return True

    def _planner(self) -> PlannedAgent | None:
        """Return the agent that can open with an outline: it owes one, reads nobody, and has no turn to take in each
        section, as those of the loop and who answers."""
        for name in self._plan.strategy.in_order():
            agent, reads = self._plan.agents[name], self._plan.strategy.sources(name)
            bound = self._review.includes(name) or name == self._plan.strategy.answerer
            if agent.role.duty == "outline" and not reads and not bound:
                return agent
        return None

    def _add_section(self, info: ev.SectionInfo, agents: tuple[str, ...]) -> None:
        self.sections[info.id] = section = Section(info)
        self._fill_section(section, agents)

    def _fill_section(self, section: Section, agents: tuple[str, ...]) -> None:
        for name in agents:
            self._add_turn(section, self._plan.agents[name], 1)
        section.loop_open = self._review.exists
        section.gets_answer = True
        if self._plan.strategy.synthesizer is not None:
            synthesizer = self._plan.agents[self._plan.strategy.synthesizer.name]
            section.synthesis = self._new_turn(section, synthesizer, 1, answers=True)

    def _add_turn(self, section: Section, agent: PlannedAgent, number: int) -> AgentTurn:
        turn = self._new_turn(section, agent, number)
        section.turns.append(turn)
        return turn

    def _new_turn(
        self, section: Section, agent: PlannedAgent, number: int, *, answers: bool = False
    ) -> AgentTurn:
        turn = AgentTurn(section.info.id, agent, number, ChunkText(self._plan.nonce, VERBS), answers)
        self.turns[turn.id] = self.sources[turn.id] = turn
        return turn

    # --- the review loop -------------------------------------------------------------------------------------------

    def ended(self, turn: AgentTurn) -> None:
        """Let reviewer and refiner take turns, now that `turn` has ended."""
        section = self.sections[turn.section]
        step = self._review.after(section, turn)
        if step.remark is not None:
            self._events.tell(step.remark, step.level)
        if step.comes is not None:
            name, number = step.comes
            self._add_turn(section, self._plan.agents[name], number)
        if step.ends:
            section.loop_open = False
            for waiting in step.skips:
                waiting.phase = Phase.SKIPPED
