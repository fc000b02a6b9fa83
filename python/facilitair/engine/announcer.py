"""What concerns the run as a whole: its introduction, its progress, reactions, and the one event it ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, get_args

from msgspec.structs import replace

from .. import events as ev
from ..artifacts import artifacts_in
from ..errors import RunErrorCode
from ..fold import answer
from ..stream import EventStream, Figures
from .agenda import Agenda
from .budget import Budget
from .plan import TURN_S, Plan
from .sections import Section, joined
from .speaker import Place
from .turn import AgentTurn

if TYPE_CHECKING:
    from ..providers.model import Model


_FINISH_REASONS: Final[Mapping[RunErrorCode, str]] = {
    "budget_exceeded": "budget",
    "deadline_exceeded": "deadline",
}


class Announcer:
    """Makes the events of a run that are not a single turn's text."""

    def __init__(self, plan: Plan, events: EventStream, agenda: Agenda, budget: Budget) -> None:
        self._plan = plan
        self._events = events
        self._agenda = agenda
        self._budget = budget
        self._ledger: list[ev.LedgerEntry] = []

    def introduce(self) -> None:
        """Emit `task_started` and what the user should know beforehand."""
        self._events.say(
            ev.TaskStartedEvent(
                task=self._plan.task,
                context=dict(self._plan.context),
                strategy=self._plan.strategy.name,
                agents=tuple(a.info() for a in self._plan.agents.values()),
                simulated=self._plan.simulated,
                commands=get_args(ev.CommandName),
            )
        )
        for notice in self._plan.notices:
            self._events.tell(notice, "warning")

    def progress(self) -> None:
        """Emit `task_progress`."""
        chunks = self._agenda.planned()
        total = len(self._plan.strategy.agents) if self._agenda.outline_open else len(chunks)
        self._events.say(
            ev.TaskProgressEvent(
                sections=tuple(s.info for s in self._agenda.sections.values()),
                total_chunks=total,
                completed_chunks=sum(t.settled for t in chunks),
                estimated_time_s=self._estimate_time(),
                estimated_cost_usd=self._plan.estimate_cost(max(1, len(self._agenda.written()))),
                cost_usd=self._budget.cost_usd,
                cache=ev.CacheInfo(state="off"),
            )
        )

    def _estimate_time(self) -> float:
        """Return the seconds of the whole run: the plan's, as much quicker or slower as turns have been until now."""
        done = [c.duration_s for c in self._events.state.chunks.values() if c.duration_s is not None]
        pace = sum(done) / len(done) / TURN_S if done else 1.0
        return round(max(self._events.elapsed, self._plan.estimate_time() * pace), 1)

    def reacts(self, turn: AgentTurn, because: tuple[str, ...], action: ev.ReactionAction) -> None:
        """Emit `agent_reaction` and enter it into the ledger."""
        agent, tier = turn.agent.name, turn.model.tier
        self._ledger.append(
            ev.LedgerEntry(chunk_id=turn.id, agent=agent, because=because, action=action, tier=tier)
        )
        self._events.say(
            ev.AgentReactionEvent(
                chunk_id=turn.id,
                agent=agent,
                because=because,
                action=action,
                tier=tier,
            )
        )

    def place(self, turn: AgentTurn) -> Place:
        """Return where the chunk of `turn`, which begins now, stands."""
        sections = self._agenda.sections
        turns = self._agenda.planned()
        current = sum(t.pulse.started is not None for t in turns)
        return Place(
            current=current,
            total=len(turns),
            section_index=list(sections).index(turn.section) + 1,
            section_total=len(sections),
        )

    def completed(self, used: Mapping[str, Model]) -> None:
        """Emit `task_completed`; `used` are the models that were asked."""
        state, content = self._events.state, answer(self._events.state)
        self._events.end(
            ev.TaskCompletedEvent(
                content=content,
                artifacts=self._artifacts(content),
                sections=state.sections,
                points=(),
                ledger=tuple(self._ledger),
                confidence=None,
                usage=self._budget.usage,
                cost_usd=self._budget.cost_usd,
                models_used=tuple(used),
                elapsed_s=round(self._events.elapsed, 6),
                degraded=tuple(t.loss for t in self._agenda.turns.values() if t.loss is not None),
                simulated=any(model.simulated for model in used.values()),
            )
        )

    def _artifacts(self, content: str) -> tuple[ev.Artifact, ...]:
        """Return the files of the answer, with whose they are."""
        found = artifacts_in(content)
        if not found:
            return ()
        taken: list[tuple[int, int, str]] = []  # from, to, and the chunk that was taken over there
        for section in self._agenda.sections.values():
            synthesis = self._events.state.syntheses.get(section.info.id)
            author = section.synthesis
            if (
                author is None
                or synthesis is None
                or not author.inclusions.taken
                or author.text not in synthesis.text
            ):
                continue  # an agent's text took its place
            at = content.find(author.text)
            taken += [(at + i.start, at + i.end, i.source) for i in author.inclusions.taken]
        return tuple(self._owned(artifact, taken) for artifact in found)

    def _owned(self, artifact: ev.Artifact, taken: list[tuple[int, int, str]]) -> ev.Artifact:
        chunk = next((c for start, end, c in taken if start <= artifact.start and artifact.end <= end), None)
        if chunk is None:
            return artifact
        return replace(artifact, chunk_id=chunk, agent=self._agenda.turns[chunk].agent.name)

    def failed(self, code: RunErrorCode, message: str, figures: Mapping[str, Figures]) -> None:
        """End the run with `task_error`; `figures` are those of the chunks still open."""
        end = ev.TaskErrorEvent(
            code=code,
            message=message,
            partial=self._partial(),
            usage=self._budget.usage,
            cost_usd=self._budget.cost_usd,
        )
        self._events.end(end, _FINISH_REASONS.get(code, "error"), figures)

    def cancelled(self, reason: str, figures: Mapping[str, Figures]) -> None:
        """End the run with `task_cancelled`; `figures` are those of the chunks still open."""
        end = ev.TaskCancelledEvent(
            reason=reason,
            partial=self._partial(),
            usage=self._budget.usage,
            cost_usd=self._budget.cost_usd,
        )
        self._events.end(end, "cancelled", figures)

    def _partial(self) -> str:
        """Return what the answer had become: each section's synthesis, else the agents' texts that stand for it, else
        the latest text."""
        return "\n\n".join(filter(None, map(self._standing, self._agenda.sections.values())))

    def _standing(self, section: Section) -> str:
        synthesis = self._events.state.syntheses.get(section.info.id)
        if synthesis is not None and synthesis.text:
            return synthesis.text
        latest = section.latest(self._plan.strategy.in_order())
        text = joined(section.standing(self._plan.strategy) or ([] if latest is None else [latest]))
        return f"{self._agenda.heading(section.info.id)}{text}" if text else ""
