"""The conductor: deltas, commands and time go in, events come out, streams are opened and stopped in between.

`Run` is a state machine that never waits; `drive` is where waiting happens. It decides which turn begins, is
interrupted, goes on and ends. What there is to do stands in `agenda`, what is said in `speaker` and `announcer`.
"""

from __future__ import annotations

import math

from facilitair_rust import Content, Control, Reasoning

from .. import events as ev
from ..clock import Clock
from ..errors import RunErrorCode
from ..stream import Cancel, Command, EventStream, Figures, Say
from ..transport import Channel, Delta
from .agenda import Agenda
from .announcer import Announcer
from .control import Object, OutlineTitle, Retract, Verdict, read_control
from .influence import Situation
from .plan import Plan
from .readers import Reading
from .rulings import Ruling, take_back
from .sections import Section, joined
from .speaker import ChunkSpeaker, SynthesisSpeaker, TurnSpeaker
from .streams import Ending, Streams
from .turn import AgentTurn, Phase
from .watch import Watch
from .writing import Writer


class Run:
    """One collaboration. `start` once, then `feed`, `obey` and `tick` until `finished`."""

    def __init__(self, plan: Plan, channel: Channel, clock: Clock, events: EventStream) -> None:
        self._plan = plan
        self._clock = clock
        self._events = events
        self._agenda = Agenda(plan, self._events)
        self._streams = Streams(plan, channel, clock, self._events, self._agenda.sources)
        self._announcer = Announcer(plan, self._events, self._agenda, self._streams.budget)
        self._watch = Watch(self._events, clock, plan.limits.timeout)
        self._chunks = ChunkSpeaker(self._events, self._announcer.place)
        self._syntheses = SynthesisSpeaker(self._events)
        self._moved = True  # whether something happened that can start, continue or end a turn
        self._running: list[AgentTurn] = []
        self._due: float | None = None
        self._fragments_awaited = True
        self._failure: tuple[RunErrorCode, str] | None = None  # code and message, told when the step is over

    @property
    def finished(self) -> bool:
        """Whether the run has said its end."""
        return self._events.ended

    def start(self) -> None:
        """Introduce the run and open the first streams, unless it was told to end before."""
        if self.finished:
            return
        self._announcer.introduce()
        self._agenda.begin()
        self._announcer.progress()
        self._advance()

    def feed(self, batch: list[Delta]) -> None:
        """Take in what the providers sent."""
        if self.finished:
            return
        for delta in batch:
            match delta:
                case Content():
                    self._content(delta)
                case Reasoning():
                    self._streams.reasons(delta)
                case _:
                    if ended := self._streams.end(delta):
                        self._ended(*ended)
        self._advance()

    def tick(self) -> None:
        """Do what time demands."""
        if self.finished:
            return
        if self._watch.expired:
            self._fail("deadline_exceeded", f"the time limit of {self._plan.limits.timeout:g} s is over")
        else:
            self._watch.tick(self._running)
        self._moved = True
        self._advance()

    def deadline(self) -> float:
        """Return when `tick` is due, or before: words that come put it off, and are not worth another look each."""
        if self._due is None:
            self._due = self._watch.deadline(self._running)
        return self._due

    def obey(self, commands: list[Command]) -> None:
        """Do what the run is told; after its end there is nothing to be done."""
        for command in commands:
            if self.finished:
                return
            match command:
                case Cancel():
                    self._announcer.cancelled(command.reason, self._figures())
                case Say():
                    self._events.tell(command.message, command.level)

    def break_off(self, message: str) -> None:
        """End the run because of a mistake in this program."""
        self._announcer.failed("internal", message, self._figures())

    def _figures(self) -> dict[str, Figures]:
        """Stop what is open, and return what it used until now."""
        figures: dict[str, Figures] = {}
        for turn in self._agenda.turns.values():
            if turn.running:
                self._streams.abandon(turn)
            figures[turn.id] = turn.figures  # also one that a retraction left waiting: its chunk is open
        return figures

    def _fail(self, code: RunErrorCode, message: str) -> None:
        """Let the run end when the present step is over, so that nothing is said after its end; the first reason
        stands."""
        self._failure = self._failure or (code, message)

    def _speaker(self, turn: AgentTurn) -> TurnSpeaker:
        return self._syntheses if turn.answers else self._chunks

    def _writer(self, turn: AgentTurn) -> Writer:
        return Writer(turn, self._speaker(turn), self._control)

    # --- deciding what runs ----------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Start, continue and end whatever can be, until nothing moves."""
        moved = self._moved
        while self._moved and self._failure is None:
            self._moved = False
            self._step()
        if moved:
            self._due = None
            self._running = self._agenda.running()
            self._fragments_awaited = any(map(self._awaits_fragments, self._agenda.turns.values()))
            if self._failure is None and all(s.done for s in self._agenda.sections.values()):
                self._announcer.completed(self._streams.models_used)
                return
            if not self._running:
                self._fail("internal", "no agent can go on, and the answer is not there; please report this")
        reason = self._streams.budget.exceeded()
        if reason is not None:
            self._fail("budget_exceeded", f"the budget is used up: {reason}")
        if self._failure is not None:
            self._announcer.failed(*self._failure, self._figures())

    def _step(self) -> None:
        for turn in list(self._agenda.turns.values()):
            if self._failure is not None:
                return
            match turn.phase:
                case Phase.WAITING if self._ready(turn):
                    self._begin(turn)
                case Phase.RETRYING if turn.calls.due(self._clock.now()):
                    self._reopen(turn)
                case Phase.HOLDING:
                    self._settle(turn)
                case _:
                    pass
        if self._failure is None:
            for section in self._agenda.unanswered():
                self._answer(section)

    def _ready(self, turn: AgentTurn) -> bool:
        if self._streams.full:
            return False
        if turn.answers:
            return self._synthesis_ready(turn)
        return self._grounded(turn)

    def _grounded(self, turn: AgentTurn) -> bool:
        """Whether everything that `turn` reads offers it something to begin on."""
        return all(self._readable(turn, r) for r in self._agenda.readings(turn))

    def _readable(self, turn: AgentTurn, reading: Reading) -> bool:
        # A model that cannot be shown more once it writes must read the whole.
        live = reading.kind != "after" and turn.model.tier != "none"
        return reading.settled or (live and bool(reading.source.provenance.fragments))

    def _synthesis_ready(self, turn: AgentTurn) -> bool:
        timing, sections = self._plan.strategy.synthesis, self._agenda.sections
        if timing == "live" and turn.model.tier != "none" and not sections[turn.section].settled:
            readings = [r for r in self._agenda.readings(turn) if r.kind != "given"]
            heads = sum(self._readable(turn, r) for r in readings)
            return heads >= math.ceil(self._plan.limits.quorum * len(readings)) > 0
        awaited = sections.values() if timing == "end" else (sections[turn.section],)
        return not self._agenda.outline_open and all(s.settled for s in awaited)

    def _awaits_fragments(self, turn: AgentTurn) -> bool:
        """Whether a further fragment of somebody may let `turn` begin."""
        ends_only = turn.answers and self._plan.strategy.synthesis != "live"
        return turn.phase is Phase.WAITING and not ends_only

    def _begin(self, turn: AgentTurn) -> None:
        if not self._streams.serve(turn):
            self._speaker(turn).started(turn)
            self._end_turn(turn)
            return
        refusal = self._show_and_open(turn, "considers")
        if refusal is not None and self._streams.idle:  # else what is open may leave enough
            self._fail("budget_exceeded", f"{turn.agent.name} could not start: {refusal}")

    def _reopen(self, turn: AgentTurn) -> None:
        """Open a stream again after a failure or a retraction."""
        if not len(turn.draft) and not self._grounded(turn):
            turn.phase = Phase.WAITING  # a retraction left it nothing to begin on
            return
        if self._streams.full:
            self._streams.postpone(turn)
            return
        if not self._streams.serve(turn):
            self._finish_text(turn)
            return
        refusal = self._streams.open(turn, self._agenda.assignment(turn))
        if refusal is not None:
            self._close_short(turn, refusal)

    def _continue(self, turn: AgentTurn) -> None:
        """Go on after a stop, with what is new."""
        if not len(turn.draft) and not self._grounded(turn):
            turn.phase = Phase.WAITING
            return
        refusal = self._show_and_open(turn, "continues")
        if refusal is not None:
            self._close_short(turn, refusal)

    def _settle(self, turn: AgentTurn) -> None:
        """End a turn whose own text has ended, once what it reads has; show it the rest first."""
        reads_on = not turn.cut_short and turn.model.tier != "none"
        waits = reads_on or turn.answers
        if waits and not all(r.settled for r in self._agenda.readings(turn)):
            return
        if reads_on and not turn.attention.closed_out and self._agenda.unseen(turn):
            if self._streams.full:
                return
            turn.attention.closed_out = True
            refusal = self._show_and_open(turn, "continues")
            if refusal is None:
                return
            self._events.tell(f"{turn.agent.name} did not read to the end: {refusal}", "warning")
        self._end_turn(turn)

    def _show_and_open(self, turn: AgentTurn, action: ev.ReactionAction) -> str | None:
        """Show `turn` what it has not seen and open its stream; return why the budget refuses, if it does."""
        unseen, begins = self._agenda.unseen(turn), turn.pulse.started is None
        turn.expose(unseen)
        refusal = self._streams.open(turn, self._agenda.assignment(turn))
        if refusal is not None:
            if unseen:
                turn.provenance.hide_last()
            return refusal
        if begins:
            self._speaker(turn).started(turn)
        if unseen:
            self._announcer.reacts(turn, tuple(unseen), action)
        return None

    # --- what the providers sent -----------------------------------------------------------------------------------

    def _content(self, delta: Content) -> None:
        received = self._streams.received(delta)
        if received is not None and self._write(*received):
            # A fragment lets somebody begin, and nothing else: who writes or holds waits for ends.
            self._moved = self._moved or self._fragments_awaited
            self._consider_interrupting(received[0])

    def _write(self, turn: AgentTurn, text: str) -> bool:
        """Add `text` to the turn; return whether that closed a fragment."""
        if not text:
            return False
        closed = self._writer(turn).write(text)
        if self._agenda.outline_open and _has_begun(turn.text):
            self._close_outline(turn)
        return closed

    def _close_outline(self, turn: AgentTurn) -> None:
        if self._agenda.close_outline(turn):
            self._moved = True
            self._announcer.progress()

    def _ended(self, turn: AgentTurn, held: str, ending: Ending) -> None:
        self._moved = True
        self._write(turn, held)
        match ending:
            case Ending.CONTINUE:
                self._continue(turn)
            case Ending.ENDED | Ending.FAILED:
                if ending is Ending.FAILED and (advice := self._streams.refused) is not None:
                    self._fail("key_refused", advice)
                self._finish_text(turn)
            case Ending.RETRY:
                pass

    def _finish_text(self, turn: AgentTurn) -> None:
        self._writer(turn).finish()
        if turn.failure is None and not len(turn.draft) and self._wrote_nothing(turn) is Ending.RETRY:
            return
        self._close_outline(turn)
        turn.phase = Phase.HOLDING

    def _wrote_nothing(self, turn: AgentTurn) -> Ending:
        if not turn.directed:
            return self._streams.answered_nothing(turn)
        turn.fail(f"{turn.model.id} wrote control lines and no text")  # they have taken effect
        return Ending.FAILED

    def _consider_interrupting(self, turn: AgentTurn) -> None:
        if turn.phase is not Phase.STREAMING or turn.attention.closed_out or turn.model.tier == "none":
            return
        readings = self._agenda.readings(turn)
        situation = Situation(
            interrupts=turn.attention.interrupts,
            pending=sum(turn.provenance.count_unseen(r.source.provenance) for r in readings),
            complete=all(r.settled for r in readings),
            own_since=turn.attention.own_since,
        )
        if not self._plan.policy.interrupts(situation):
            return
        if self._streams.refusal(turn, self._agenda.assignment(turn)) is None:
            turn.attention.interrupts += 1
            self._streams.stop(turn, discard=False)

    # --- control lines and retraction ------------------------------------------------------------------------------

    def _control(self, turn: AgentTurn, control: Control) -> str:
        turn.directed = True
        match read_control(control.verb, control.rest):
            case OutlineTitle() as line:
                self._agenda.outlines(turn, line)
            case Verdict(words=words) as line if turn.agent.role.duty == "verdict":
                turn.decide(line)
                self._events.tell(f"{turn.agent.name}'s verdict on {turn.section}: {words}")
                # Its reason is what the refiner and the synthesizer need.
                return f"**Verdict:** {words}" if words else ""
            case Retract(fragment, reason):
                self._withdraw(turn, fragment, reason or "withdrawn")
            case Object(fragment):
                self._object(turn, fragment)
            case _:
                pass  # a line out of its place says nothing
        return ""

    def _object(self, turn: AgentTurn, name: str) -> None:
        match turn.provenance.shown_as(name):
            case (fragment,):
                self._announcer.reacts(turn, (fragment,), "objects")
            case several:
                why = f"it was shown {len(several)} of that number" if several else "which it was not shown"
                self._events.tell(f"{turn.agent.name} objects to {name}, {why}; nothing follows from it")

    def _withdraw(self, turn: AgentTurn, fragment: str, reason: str) -> None:
        chunks = {t.id: t.provenance for t in self._agenda.turns.values()}
        ruling = take_back(chunks, turn.id, fragment, reason)
        if ruling is not None:
            self._carry_out(ruling)
            self._announcer.reacts(turn, (ruling.root,), "revises")

    def _carry_out(self, ruling: Ruling) -> None:
        for cut, why in ruling.cuts:
            turn = self._agenda.turns[cut.chunk_id]
            self._speaker(turn).cut(turn, cut, why)
            turn.cut(cut.keep, ruling.tainted)
            if why.cause != "withdrawn":  # who takes back its own words is already writing better ones
                self._roll_back(turn, ruling.root)

    def _roll_back(self, turn: AgentTurn, root: str) -> None:
        """Let a turn go on from its clean prefix, or close it there when it has been rolled back too often."""
        turn.rollbacks += 1
        self._moved = True
        self._agenda.sections[turn.section].said = False  # if it was, it is said again with what stands then
        if turn.rollbacks > self._plan.limits.max_rollbacks:
            self._close_short(turn, "what it built on was retracted too often")
            return
        if turn.calls.attempt is not None:
            self._streams.stop(turn, discard=True)
        elif turn.phase in (Phase.HOLDING, Phase.DONE):
            self._streams.postpone(turn)
        self._announcer.reacts(turn, (root,), "revises")

    def _close_short(self, turn: AgentTurn, why: str) -> None:
        """End a turn at its clean text because no more can be spent on it."""
        self._streams.abandon(turn)
        if not len(turn.draft):
            turn.failure = why
        turn.finish_reason = "budget"
        self._events.tell(f"{turn.agent.name} ends early on {turn.section}: {why}", "warning")
        if turn.answers:
            turn.phase, self._moved = Phase.HOLDING, True  # what takes its place is still being written
        else:
            self._end_turn(turn)

    # --- how turns end ---------------------------------------------------------------------------------------------

    def _end_turn(self, turn: AgentTurn) -> None:
        turn.phase = Phase.DONE
        self._moved = True
        self._close_outline(turn)
        if turn.loss is not None:
            self._events.tell(turn.loss, "warning" if turn.failure is None else "error")
        if turn.answers:
            self._end_synthesis(turn)
            return
        self._chunks.completed(turn)
        self._agenda.ended(turn)
        self._announcer.progress()
        self._check_quorum(self._agenda.sections[turn.section], turn)

    def _end_synthesis(self, turn: AgentTurn) -> None:
        section = self._agenda.sections[turn.section]
        substitutes = section.standing(self._plan.strategy) if turn.cut_short else []
        if not substitutes:
            self._syntheses.completed(turn)
            return
        self._tell_substitutes(turn.section, substitutes, "a synthesis")
        self._syntheses.gave(turn.section, joined(substitutes), turn.finish_reason)

    def _answer(self, section: Section) -> None:
        """Say whose text the answer is, in a section that nobody writes one for."""
        section.said = self._moved = True
        name, turns = self._plan.strategy.answerer, section.standing(self._plan.strategy)
        last = section.of(name)[-1]
        own = [t for t in turns if t.agent.name == name]
        if not own and last.failed:  # one that was never needed is no loss
            self._tell_substitutes(section.info.id, turns, f"the text of {name}")
        self._syntheses.gave(section.info.id, joined(turns), (own or [last])[0].finish_reason)

    def _tell_substitutes(self, section: str, turns: list[AgentTurn], missing: str) -> None:
        names = ", ".join(t.agent.name for t in turns)
        self._events.tell(f"{section} shows the text of {names} in place of {missing}", "error")

    def _check_quorum(self, section: Section, turn: AgentTurn) -> None:
        if not section.gets_answer:
            return  # the architect's opening alone decides nothing
        agents = {t.agent.name for t in section.turns if t.phase is not Phase.SKIPPED}
        lost = {t.agent.name for t in section.turns if t.failed}
        needed = math.ceil(self._plan.limits.quorum * len(agents))
        empty = section.settled and section.latest(agents) is None
        if empty or len(agents) - len(lost) < needed:
            keys = all(self._streams.lost_its_key(t) for t in section.turns if t.failed)
            self._fail(
                "key_refused" if keys else "agents_failed",
                f"{len(lost)} of {len(agents)} agents failed on {turn.section!r}, {needed} must be left; "
                f"the last: {turn.failure}",
            )
        elif section.settled and section.latest(self._plan.strategy.contributors) is None:
            names = ", ".join(self._plan.strategy.contributors)
            self._fail("agents_failed", f"{names} left no text on {turn.section!r} that could be the answer")


def _has_begun(text: str) -> bool:
    """Whether an opening has more than the headings that models like to put above an outline."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.split("\n"))
