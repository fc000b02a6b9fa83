"""The review loop: reviewer and refiner take turns on a section until the verdict approves, or the rounds are over.

These are answers about turns as they stand. `agenda` makes the turn that comes next, and ends the loop.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ..events import Level
from .graph import Loop, Strategy
from .sections import Section
from .turn import AgentTurn, Phase


class Step(msgspec.Struct, frozen=True):
    """What follows the end of a turn: the turn of an agent with that number, or the loop's end, which skips refinements
    that have not begun, or nothing. `remark` is to be said."""

    comes: tuple[str, int] | None = None
    ends: bool = False
    skips: tuple[AgentTurn, ...] = ()
    remark: str | None = None
    level: Level = "info"


_NOTHING: Final = Step()


class Review:
    """The review loop of a strategy, or none; then nothing ever follows, and no edge is special."""

    def __init__(self, strategy: Strategy) -> None:
        self._loop = strategy.loop
        self._reviewed = None if strategy.loop is None else _reviewed(strategy, strategy.loop)

    @property
    def exists(self) -> bool:
        """Whether there is a loop."""
        return self._loop is not None

    @property
    def members(self) -> tuple[str, ...]:
        """Who reviews, and who refines."""
        return () if self._loop is None else (self._loop.reviewer, self._loop.refiner)

    def includes(self, agent: str) -> bool:
        """Whether `agent` reviews or refines."""
        return agent in self.members

    def is_reviewer(self, agent: str) -> bool:
        """Whether `agent` reviews."""
        return self._loop is not None and agent == self._loop.reviewer

    def may_go_on(self, section: Section, agent: str) -> bool:
        """Whether `agent` may have another turn on `section` in this loop."""
        return section.loop_open and self.includes(agent)

    def read_over(self, section: Section, turn: AgentTurn, source: str) -> AgentTurn | None:
        """Return the turn of `source` that a turn of the loop reads because of its round; `None` when the round does
        not decide that.

        A refiner reads the review of its own round. From the second round on, both read the refinement of the round
        before, and no more what was reviewed first.
        """
        loop = self._loop
        if loop is None:
            return None
        before = turn.number - 1
        if turn.agent.name == loop.refiner and source == loop.reviewer:
            return section.of(loop.reviewer)[before]
        if self.includes(turn.agent.name) and before and source == self._reviewed:
            return section.of(loop.refiner)[before - 1]
        return None

    def after(self, section: Section, turn: AgentTurn) -> Step:
        """Return what follows, now that `turn` has ended."""
        loop = self._loop
        if loop is None or not section.loop_open:
            return _NOTHING
        if turn.agent.name == loop.reviewer:
            return _after_review(loop, section, turn)
        if turn.agent.name == loop.refiner:
            return _after_refinement(loop, section, turn)
        return _NOTHING


def _reviewed(strategy: Strategy, loop: Loop) -> str | None:
    """Return whose work the loop is about: of those the refiner reads, the furthest down the graph."""
    read = {e.source for e in strategy.sources(loop.refiner)} - {loop.reviewer}
    return next((name for name in reversed(strategy.in_order()) if name in read), None)


def _after_review(loop: Loop, section: Section, turn: AgentTurn) -> Step:
    decision = "other" if turn.verdict is None else turn.verdict.decision
    if turn.failed or decision == "approve":
        return _end(loop, section)
    remark = None if decision == "revise" else f"{turn.agent.name} gave no verdict; taken as revise"
    refined = len(section.of(loop.refiner)) >= turn.number
    comes = None if refined else (loop.refiner, turn.number)
    return Step(comes=comes, remark=remark, level="warning")


def _after_refinement(loop: Loop, section: Section, turn: AgentTurn) -> Step:
    if turn.failure is not None:
        return _end(loop, section)
    if turn.number >= loop.max_rounds:
        return _end(
            loop, section, f"the review of {turn.section!r} ended after {turn.number} rounds unapproved"
        )
    # A refinement that ends once more, after a retraction, has had its review.
    reviewed = len(section.of(loop.reviewer)) > turn.number
    return _NOTHING if reviewed else Step(comes=(loop.reviewer, turn.number + 1))


def _end(loop: Loop, section: Section, remark: str | None = None) -> Step:
    waiting = (t for t in section.of(loop.refiner) if t.phase is Phase.WAITING)
    return Step(ends=True, skips=tuple(waiting), remark=remark)
