"""The conductor: deltas, commands and time go in, events come out, streams are opened and stopped in between.

`Run` is a state machine that never waits; `drive` is where waiting happens. It decides which turn begins, is
interrupted, goes on and ends. What there is to do stands in `agenda`, what is said in `speaker` and `announcer`.
"""

from __future__ import annotations

import math

from facilitair_rust import Content, Control, Reasoning

from .. import events as ev
from ..artifacts import fenced_in
from ..clock import Clock
from ..errors import RunErrorCode
from ..finish import is_length
from ..stream import Cancel, Command, EventStream, Figures, Say
from ..transport import Channel, Delta
from .agenda import Agenda
from .announcer import Announcer
from .control import Done, Include, Object, OutlineTitle, Retract, Verdict, read_control, verdict_in
from .includes import text_position, work_taken
from .news import News
from .plan import Plan
from .prompts import Asking
from .readers import Reading
from .rulings import Ruling, take_back
from .seam import LastSeam, LineSeam, Outcome, Passage, gap, without_heading
from .sections import Section, joined
from .speaker import ChunkSpeaker, SynthesisSpeaker, TurnSpeaker
from .streams import Ending, Streams
from .turn import AgentTurn, Attempt, Phase
from .watch import Watch
from .writing import Writer


class Run:
    """One collaboration. `start` once, then `feed`, `obey` and `tick` until `finished`."""

    def __init__(self, plan: Plan, channel: Channel, clock: Clock, events: EventStream) -> None:
        self._plan = plan
        self._clock = clock
        self._events = events
        self._agenda = Agenda(plan, self._events)
        self._news = News(plan, self._agenda)
        self._streams = Streams(plan, channel, clock, self._events, self._agenda.sources)
        self._announcer = Announcer(plan, self._events, self._agenda, self._streams.budget)
        self._watch = Watch(self._events, clock, plan.limits.timeout)
        self._chunks = ChunkSpeaker(self._events, self._announcer.place)
        self._syntheses = SynthesisSpeaker(self._events, self._agenda.heading)
        self._moved = True  # whether something happened that can start, continue or end a turn
        self._running: list[AgentTurn] = []
        self._due: float | None = None
        self._ground_awaited = True
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
        return Writer(turn, self._speaker(turn), self)

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
            self._ground_awaited = any(map(self._awaits_ground, self._agenda.turns.values()))
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
            if turn.inclusions.wanted is not None:
                self._include(turn)
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
        if reading.settled:
            return True
        # A model that cannot be shown more once it writes must read the whole, and so must one that judges it and
        # thinks anew before it goes on.
        reviews = turn.agent.role.duty == "verdict"
        if reading.kind == "after" or turn.patient or turn.model.tier == "none":
            return False
        if reading.kind == "given":
            return bool(reading.source.provenance.fragments)
        return not (reviews and turn.model.reasoning) and reading.source.provenance.offers_ground(
            review=reviews
        )

    def _synthesis_ready(self, turn: AgentTurn) -> bool:
        timing, sections = self._plan.strategy.synthesis, self._agenda.sections
        if timing == "live" and turn.model.tier != "none" and not sections[turn.section].settled:
            readings = [r for r in self._agenda.readings(turn) if r.kind != "given"]
            heads = sum(self._readable(turn, r) for r in readings)
            return heads >= math.ceil(self._plan.limits.quorum * len(readings)) > 0
        awaited = sections.values() if timing == "end" else (sections[turn.section],)
        return not self._agenda.outline_open and all(s.settled for s in awaited)

    def _awaits_ground(self, turn: AgentTurn) -> bool:
        """Whether a further block of somebody may let `turn` begin."""
        ends_only = turn.answers and self._plan.strategy.synthesis != "live"
        return turn.phase is Phase.WAITING and not ends_only

    def _begin(self, turn: AgentTurn) -> None:
        if not self._streams.serve(turn):
            self._speaker(turn).started(turn)
            self._end_turn(turn)
            return
        refusal = self._show_and_open(turn, "considers")
        if refusal is None:
            return
        if turn.pulse.started is not None:
            self._close_short(turn, refusal)
        elif self._streams.idle:  # else what is open may leave enough
            self._leave_out(turn, refusal)

    def _leave_out(self, turn: AgentTurn, refusal: str) -> None:
        """Go on without a turn that cannot be paid for, where there is text that can be the answer; else end it."""
        section = self._agenda.sections[turn.section]
        if not section.standing(self._plan.strategy):
            self._fail("budget_exceeded", f"{turn.agent.name} could not start: {refusal}")
            return
        self._speaker(turn).started(turn)
        turn.failure, turn.finish_reason = f"could not start: {refusal}", "budget"
        self._end_turn(turn)

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
        """End a turn whose own text has ended, once what it reads has; ask it for the last time what that changes."""
        if turn.inclusions.wanted is not None:
            return
        reads_on = not turn.cut_short and turn.model.tier != "none"
        waits = reads_on or turn.answers
        if waits and not all(r.settled for r in self._agenda.readings(turn)):
            return
        if reads_on and not turn.attention.last and self._owes_last(turn):
            if self._streams.full:
                return
            turn.attention.last, turn.asking = True, Asking.LAST
            refusal = self._show_and_open(turn, "continues")
            if refusal is None:
                return
            turn.asking, turn.unread = Asking.TEXT, refusal
        if not self._supplies_code(turn):
            self._end_turn(turn)

    def _owes_last(self, turn: AgentTurn) -> bool:
        """Whether a turn whose text has ended gets a last request: who owes a verdict on what has ended, and others
        where something new is worth it."""
        if turn.agent.role.duty != "verdict":
            return self._news.calls_for_a_last_request(turn)
        seen = not turn.early and not self._agenda.unseen(turn)
        if turn.verdict is None and seen and (found := verdict_in(turn.text)):
            self._decide(turn, found)
        return turn.verdict is None

    def _show_and_open(self, turn: AgentTurn, action: ev.ReactionAction) -> str | None:
        """Show `turn` what it has not seen and open its stream; return why the budget refuses, if it does."""
        begins = turn.pulse.started is None
        if not len(turn.draft):
            turn.early = not all(r.settled for r in self._agenda.readings(turn))
        new = self._news.excerpts(turn)
        turn.expose(new.fragments, new.sources)
        refusal = self._streams.open(turn, self._agenda.assignment(turn))
        if refusal is not None:
            if new.fragments:
                turn.provenance.hide_last()
            return refusal
        for source, count in self._news.hidden_work(turn, new.sources).items():
            turn.hidden[source] = turn.hidden.get(source, 0) + count
        if begins:
            self._speaker(turn).started(turn)
        if new.fragments:
            self._announcer.reacts(turn, tuple(new.fragments), action)
        return None

    # --- what the providers sent -----------------------------------------------------------------------------------

    def _content(self, delta: Content) -> None:
        received = self._streams.received(delta)
        if received is None:
            return
        turn, passage = received
        if self._pass(turn, passage):
            # Ground lets somebody begin, and nothing else: who writes or holds waits for ends.
            self._moved = self._moved or self._ground_awaited
        attempt = turn.calls.attempt
        if attempt is not None and attempt.seam.outcome is Outcome.MISSED and not attempt.discard:
            turn.calls.asked_again = True
            self._streams.stop(turn, discard=True)

    def _pass(self, turn: AgentTurn, passage: Passage) -> bool:
        """Take what a seam gave; return whether a block was closed."""
        closed = False
        for order in passage.orders:
            closed = self._writer(turn).obey(order) or closed
        attempt = turn.calls.attempt
        if passage.rest and attempt is not None and not attempt.discard:
            closed = self._pass(turn, attempt.seam.feed(passage.rest)) or closed
        text = passage.text
        if passage.keep is not None:
            self._cut_back(
                turn, text_position(passage.keep, turn.inclusions.taken), "its author wrote it anew"
            )
            turn.begins_line = None
            text = gap(turn.text, fenced=False) + text
        return (bool(text) and self._write(turn, text)) or closed

    def _write(self, turn: AgentTurn, text: str) -> bool:
        """Add `text` to the turn; return whether that closed a block."""
        closed = self._writer(turn).write(text)
        if self._agenda.outline_open and _has_begun(turn.text):
            self._close_outline(turn)
        return closed

    def _close_outline(self, turn: AgentTurn) -> None:
        if self._agenda.close_outline(turn):
            self._moved = True
            self._announcer.progress()

    def _ended(self, turn: AgentTurn, attempt: Attempt, held: Passage, ending: Ending) -> None:
        self._moved = True
        self._pass(turn, held)
        match ending:
            case Ending.CONTINUE if turn.calls.asked_again:
                self._streams.postpone(turn)
            case Ending.CONTINUE:
                self._continue(turn)
            case Ending.BROKEN:
                self._mend(turn, attempt)
            case Ending.ENDED | Ending.FAILED:
                if ending is Ending.FAILED and (advice := self._streams.refused) is not None:
                    self._fail("key_refused", advice)
                if attempt.content and (turn.failure is not None or turn.unread is not None):
                    self._trim(turn)
                if attempt.seam.outcome is Outcome.UNORDERED and isinstance(attempt.seam, LastSeam):
                    self._end_last(turn, attempt.seam)
                if not self._asks_again(turn, attempt):
                    self._finish_text(turn)
            case Ending.RETRY:
                pass

    def _asks_again(self, turn: AgentTurn, attempt: Attempt) -> bool:
        """Ask once more where a reply did not go on from the text, or said nothing; return whether that was done."""
        outcome, again = attempt.seam.outcome, turn.calls.asked_again
        nothing = outcome in (Outcome.NOTHING, Outcome.MISSED) or (
            outcome is Outcome.OPEN and len(turn.draft) > 0
        )
        if turn.failure is not None or (attempt.last and turn.asking is Asking.LAST) or not nothing:
            turn.calls.asked_again = False
            return False
        turn.calls.asked_again = not again
        if again:
            turn.stopped_short = not attempt.last
            return False
        self._streams.postpone(turn)
        return True

    def _mend(self, turn: AgentTurn, attempt: Attempt) -> None:
        """Let a turn go on whose stream broke: from what is whole of its text."""
        if not attempt.last or attempt.seam.outcome is Outcome.TEXT:
            turn.asking = Asking.TEXT
            self._cut_back(turn, turn.provenance.whole_end(len(turn.draft)), "its stream broke off within it")
        self._streams.postpone(turn)

    def _trim(self, turn: AgentTurn) -> None:
        """Leave of a text that broke off for good what is whole of it, if anything is."""
        if whole := turn.provenance.whole_end(len(turn.draft)):
            failure, unread, reason = turn.failure, turn.unread, turn.finish_reason
            self._cut_back(turn, whole, "its stream broke off within it")
            turn.failure, turn.unread, turn.finish_reason = failure, unread, reason

    def _cut_back(self, turn: AgentTurn, keep: int, reason: str) -> None:
        """Take the text of a turn back to `keep`; what peers built on that is taken back as well."""
        lost = turn.provenance.beyond(keep)
        if lost:
            self._withdraw(turn, lost[0], reason)
        elif keep < len(turn.draft):
            self._speaker(turn).wrote(turn, "", keep)
            turn.cut(keep, frozenset())

    def _include(self, turn: AgentTurn) -> None:
        """Take over what the answer waits for, if it has come to its end, and what was written behind it."""
        wanted = turn.inclusions.wanted
        works = None if wanted is None else self._agenda.works(turn.section, wanted.agent)
        if wanted is None or works is None:
            return
        turn.inclusions.wanted, self._moved = None, True
        taken = work_taken(wanted, works)
        if taken is None:
            turn.inclusions.missing[wanted.words] = len(turn.draft)
            turn.begins_line = LineSeam(turn.text, fenced=False)
            self._events.tell(
                f"{turn.agent.name} includes {wanted.words}, and there is no such work", "error"
            )
        else:
            source, piece = taken
            turn.expose(turn.provenance.unseen(source.provenance), {})
            self._writer(turn).insert(piece, f"@@{self._plan.nonce} include {wanted.words}", source.id)
        behind = "".join(turn.inclusions.backlog)
        turn.inclusions.backlog.clear()
        if behind:
            self._write(turn, behind)
        if turn.phase is Phase.HOLDING:
            self._finish_text(turn)

    def _supplies_code(self, turn: AgentTurn) -> bool:
        """Take over the code that an answer which has ended without any lacks; return whether there is some."""
        if not turn.answers or turn.inclusions.supplied or turn.failed or fenced_in(turn.text):
            return False
        for agent in self._plan.strategy.offered:
            works = self._agenda.works(turn.section, agent) or ()
            if any(fenced_in(work.text) for work in works):
                self._events.tell(f"{turn.agent.name} left out the code of {agent}; it stands at the end")
                turn.inclusions.supplied, turn.inclusions.wanted = True, Include(agent, agent)
                self._include(turn)
                return True
        return False

    def _finish_text(self, turn: AgentTurn) -> None:
        if turn.failure is not None or is_length(turn.finish_reason):
            turn.draft.truncate(len(turn.draft))  # a control line that was cut off says nothing
        if turn.inclusions.wanted is None:
            self._writer(turn).finish()
        if (
            turn.inclusions.wanted is not None
        ):  # what it waits for is text too; the rest of its own comes behind it
            turn.phase, self._moved = Phase.HOLDING, True
            return
        if turn.failure is None and not len(turn.draft) and self._wrote_nothing(turn) is Ending.RETRY:
            return
        self._close_outline(turn)
        turn.phase = Phase.HOLDING
        if turn.asking is Asking.LAST:
            turn.asking = Asking.TEXT

    def _wrote_nothing(self, turn: AgentTurn) -> Ending:
        if not turn.directed:
            return self._streams.answered_nothing(turn)
        turn.fail(f"{turn.model.id} wrote control lines and no text")  # they have taken effect
        return Ending.FAILED

    def stops(self, turn: AgentTurn) -> bool:
        """Stop `turn`, whose text may end here, if there is news that is worth it; return whether that was done."""
        attempt = turn.calls.attempt
        writes = turn.phase is Phase.STREAMING and turn.inclusions.wanted is None
        if attempt is None or attempt.discard or not writes or not self._news.stops(turn):
            return False
        if self._streams.refusal(turn, self._agenda.assignment(turn)) is not None:
            return False
        turn.attention.interrupts += not self._news.is_told(self._agenda.unseen(turn))
        turn.calls.asked_again = False  # its last reply went on
        self._streams.stop(turn, discard=True)
        return True

    # --- control lines and retraction ------------------------------------------------------------------------------

    def control(self, turn: AgentTurn, control: Control) -> str:
        """Act on a control line; return what its readers shall read in its place, if anything."""
        turn.directed = True
        match read_control(control.verb, control.rest):
            case OutlineTitle() as line:
                self._agenda.outlines(turn, line)
            case Verdict() as line if turn.agent.role.duty == "verdict":
                return self._take_verdict(turn, line)
            case Done() if turn.foregone is not None:
                self._decide(turn, turn.foregone)
            case Retract(fragment, reason):
                turn.asking = Asking.TEXT  # what follows is text
                self._withdraw(turn, fragment, reason or "withdrawn")
            case Include() as line if turn.answers:
                turn.inclusions.wanted, self._moved = line, True
            case Object(fragment):
                self._object(turn, fragment)
            case _:
                pass  # a line out of its place says nothing
        return ""

    def _take_verdict(self, turn: AgentTurn, verdict: Verdict) -> str:
        """Take a verdict, if what it is on is there and was seen; return how its readers, who need its reason, read
        it."""
        if all(r.settled for r in self._agenda.readings(turn)) and not self._agenda.unseen(turn):
            self._decide(turn, verdict)
            return f"**Verdict:** {verdict.words}" if verdict.words else ""
        turn.foregone = verdict
        return f"**So far:** {verdict.words}" if verdict.words else ""

    def _decide(self, turn: AgentTurn, verdict: Verdict) -> None:
        turn.decide(verdict)
        self._events.tell(f"{turn.agent.name}'s verdict on {turn.section}: {verdict.words}")

    def _end_last(self, turn: AgentTurn, seam: LastSeam) -> None:
        """Take a reply to a last request that does not say what it is: no text, at most a verdict."""
        verdict = verdict_in(seam.said) if turn.agent.role.duty == "verdict" else None
        if verdict is not None:
            self._writer(turn).say(self._take_verdict(turn, verdict))
            return
        self._news.unordered.add(turn.model.id)
        self._events.tell(
            f"{turn.agent.name} did not say whether the news changes its text on {turn.section}; it stands as it is",
            "warning",
        )

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
        if ruling is None:
            return
        self._carry_out(ruling)
        self._announcer.reacts(turn, (ruling.root,), "revises")
        if turn.draft.open_fence is not None:
            self._streams.stop(turn, discard=True)  # it must be told that it goes on within its code

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
        turn.attention.last, turn.asking = False, Asking.TEXT
        if turn.rollbacks > self._plan.limits.max_rollbacks and not turn.patient:
            turn.patient = True
            self._events.tell(
                f"{turn.agent.name} waits on {turn.section}: too much of what it built on was taken back"
            )
        if turn.patient:
            self._streams.abandon(turn)
            turn.phase = Phase.WAITING
        elif turn.calls.attempt is not None:
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
        self._syntheses.gave(turn.section, self._under_heading(turn.section, substitutes), turn.finish_reason)

    def _answer(self, section: Section) -> None:
        """Say whose text the answer is, in a section that nobody writes one for."""
        section.said = self._moved = True
        name, turns = self._plan.strategy.answerer, section.standing(self._plan.strategy)
        last = section.of(name)[-1]
        own = [t for t in turns if t.agent.name == name]
        if not own and last.failed:  # one that was never needed is no loss
            self._tell_substitutes(section.info.id, turns, f"the text of {name}")
        content = self._under_heading(section.info.id, turns)
        self._syntheses.gave(section.info.id, content, (own or [last])[0].finish_reason)

    def _under_heading(self, section: str, turns: list[AgentTurn]) -> str:
        """Return the texts of `turns` as they stand under the section's heading, which they may begin with as well."""
        heading = self._agenda.heading(section)
        return without_heading(joined(turns), heading) if heading else joined(turns)

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
