"""What concerns the run as a whole: its introduction, its progress, reactions, and the one event it ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .. import events as ev
from ..fold import answer
from .agenda import Agenda
from .budget import Budget
from .emitter import Emitter
from .plan import Plan
from .sections import Section
from .speaker import Place
from .turn import Turn

if TYPE_CHECKING:
    from ..providers.model import Model


class Announcer:
    """Makes the events of a run that are not a single turn's text."""

    def __init__(self, plan: Plan, emitter: Emitter, agenda: Agenda, budget: Budget) -> None:
        self._plan = plan
        self._emitter = emitter
        self._agenda = agenda
        self._budget = budget
        self._ledger: list[ev.LedgerEntry] = []

    def introduce(self) -> None:
        """Emit `task_started` and what the user should know beforehand."""
        self._emitter.emit(
            ev.TaskStartedEvent(
                **self._emitter.stamp(),
                task=self._plan.task,
                context=dict(self._plan.context),
                strategy=self._plan.strategy.name,
                agents=tuple(a.info() for a in self._plan.agents.values()),
                simulated=self._plan.simulated,
            )
        )
        for notice in self._plan.notices:
            self._emitter.say(notice, "warning")

    def progress(self) -> None:
        """Emit `task_progress`."""
        chunks = self._agenda.planned()
        total = len(self._plan.strategy.agents) if self._agenda.outline_open else len(chunks)
        self._emitter.emit(
            ev.TaskProgressEvent(
                **self._emitter.stamp(),
                sections=tuple(s.info for s in self._agenda.sections.values()),
                total_chunks=total,
                completed_chunks=sum(t.settled for t in chunks),
                estimated_time_s=self._plan.estimate_time(),
                estimated_cost_usd=self._plan.estimate_cost(max(1, len(self._agenda.written()))),
                cost_usd=self._budget.cost_usd,
                cache=ev.CacheInfo(state="off"),
            )
        )

    def reacts(self, turn: Turn, because: tuple[str, ...], action: ev.ReactionAction) -> None:
        """Emit `agent_reaction` and enter it into the ledger."""
        agent, tier = turn.agent.name, turn.model.tier
        self._ledger.append(
            ev.LedgerEntry(chunk_id=turn.chunk_id, agent=agent, because=because, action=action, tier=tier)
        )
        self._emitter.emit(
            ev.AgentReactionEvent(
                **self._emitter.stamp(),
                chunk_id=turn.chunk_id,
                agent=agent,
                because=because,
                action=action,
                tier=tier,
            )
        )

    def place(self, turn: Turn) -> Place:
        """Return where the chunk of `turn`, which begins now, stands."""
        sections = self._agenda.sections
        turns = self._agenda.planned()
        current = sum(t.started is not None for t in turns)
        return Place(
            current=current,
            total=len(turns),
            section_index=list(sections).index(turn.section) + 1,
            section_total=len(sections),
        )

    def completed(self, used: Mapping[str, Model]) -> None:
        """Emit `task_completed`; `used` are the models that were asked."""
        state = self._emitter.state
        self._emitter.emit(
            ev.TaskCompletedEvent(
                **self._emitter.stamp(),
                content=answer(state),
                sections=state.sections,
                points=(),
                ledger=tuple(self._ledger),
                confidence=None,
                usage=self._budget.usage,
                cost_usd=self._budget.cost_usd,
                models_used=tuple(used),
                elapsed_s=round(self._emitter.elapsed, 6),
                degraded=tuple(t.loss for t in self._agenda.turns.values() if t.loss is not None),
                simulated=any(model.simulated for model in used.values()),
            )
        )

    def failed(self, code: str, message: str) -> None:
        """Emit `task_error`."""
        self._emitter.emit(
            ev.TaskErrorEvent(
                **self._emitter.stamp(),
                code=code,
                message=message,
                partial=self._partial(),
                usage=self._budget.usage,
                cost_usd=self._budget.cost_usd,
            )
        )

    def cancelled(self, reason: str) -> None:
        """Emit `task_cancelled`."""
        self._emitter.emit(
            ev.TaskCancelledEvent(
                **self._emitter.stamp(),
                reason=reason,
                partial=self._partial(),
                usage=self._budget.usage,
                cost_usd=self._budget.cost_usd,
            )
        )

    def _partial(self) -> str:
        """Return what the answer had become: each section's synthesis, else the furthest text of an agent."""
        return "\n\n".join(filter(None, map(self._standing, self._agenda.sections.values())))

    def _standing(self, section: Section) -> str:
        synthesis = self._emitter.state.syntheses.get(section.info.id)
        last = section.last_text()
        return (synthesis.text if synthesis else "") or ("" if last is None else last.text.text)
