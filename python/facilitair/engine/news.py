"""What is new to a turn: what it is shown next, how the sources of that stand, and whether it is worth telling."""

from __future__ import annotations

import msgspec

from .agenda import Agenda
from .influence import Situation
from .plan import Plan
from .prompts import within_cap
from .provenance import Glimpse, State, source_of
from .readers import Reading
from .turn import AgentTurn


class Excerpts(msgspec.Struct, frozen=True):
    """The fragments that a turn is to be shown, and how their sources stand, by id."""

    fragments: list[str]
    sources: dict[str, Glimpse]


class News:
    """Answers what is new to a turn, as the agenda stands now."""

    def __init__(self, plan: Plan, agenda: Agenda) -> None:
        self._plan = plan
        self._agenda = agenda
        self.unordered: set[str] = set()  # models that do not answer a last request as they are asked to

    def excerpts(self, turn: AgentTurn) -> Excerpts:
        """Return what `turn` has not been shown, as far as a cap allows."""
        found = Excerpts([], {})
        for reading in self._agenda.readings(turn):
            unseen = turn.provenance.unseen(reading.source.provenance)
            if unseen:
                hidden = within_cap(reading.source, unseen)
                found.sources[reading.source.id] = Glimpse(_state(reading), hidden)
                left_out = set(hidden)
                found.fragments.extend(f for f in unseen if f not in left_out)
        return found

    def hidden_work(self, turn: AgentTurn, sources: dict[str, Glimpse]) -> dict[str, int]:
        """Return the code points of deliverables that a cap hides from who reviews or answers, by source."""
        if not turn.answers and turn.agent.role.duty != "verdict":
            return {}
        found: dict[str, int] = {}
        for name, glimpse in sources.items():
            source = self._agenda.turns.get(name)
            if glimpse.hidden and source is not None and self._plan.strategy.delivers(source.agent.name):
                fragments = (source.provenance.fragments[f] for f in glimpse.hidden)
                found[name] = sum(f.end - f.start for f in fragments)
        return found

    def stops(self, turn: AgentTurn) -> bool:
        """Whether `turn`, whose text may end here, is to be stopped for what is new."""
        attention = turn.attention
        if attention.last or turn.model.tier == "none" or not (unseen := self._agenda.unseen(turn)):
            return False
        if self.is_told(unseen):
            return True
        situation = Situation(attention.interrupts, attention.own_since, turn.model.reasoning)
        return self._plan.policy.allows(situation) and self._concerns(turn, unseen)

    def calls_for_a_last_request(self, turn: AgentTurn) -> bool:
        """Whether something new is worth a last request: to who answers all of it is, to others what concerns their
        text, unless their model does not answer such requests."""
        unseen = self._agenda.unseen(turn)
        if turn.answers or not unseen or self.is_told(unseen):
            return bool(unseen)
        return turn.model.id not in self.unordered and self._concerns(turn, unseen)

    def is_told(self, unseen: list[str]) -> bool:
        """Whether something of that was given to all, as what a user says in between: it always concerns them."""
        return any(source_of(fragment) not in self._agenda.turns for fragment in unseen)

    def _concerns(self, turn: AgentTurn, unseen: list[str]) -> bool:
        return self._plan.policy.concerns(
            self._agenda.texts(unseen), self._agenda.texts(turn.provenance.fragments)
        )


def _state(reading: Reading) -> State:
    source = reading.source
    if isinstance(source, AgentTurn) and source.settled and source.cut_short:
        return "broken off"
    return "complete" if reading.settled else "still being written"
