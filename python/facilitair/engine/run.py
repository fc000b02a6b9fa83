"""The conductor: deltas and time go in, events come out, streams are opened and stopped in between.

`Run` is a state machine without waiting; `stream_events` is the only place that waits, once for each batch. Whoever
iterates drives the run: a consumer that is slow slows the reading of the sockets, and one that leaves closes them.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

from facilitair_rust import ChunkText, Content, Control, Reasoning

from .. import events as ev
from ..fold import answer
from ..transport import Channel, Clock, Delta, Transport
from .emitter import Emitter
from .influence import Situation
from .plan import Plan, PlannedAgent
from .prompts import Assignment
from .provenance import Cut, cascade
from .sections import OPENING, Readers, Reading, Section, section_infos
from .speaker import ChunkSpeaker, Place, Retraction, Speaker, SynthesisSpeaker
from .streams import Ending, Streams
from .turn import VERBS, Phase, Turn
from .watch import Watch
from .writing import Writer


@dataclass(frozen=True, slots=True)
class _Outline:
    """The outline of the architect while it is still being written."""

    author: Turn
    titles: list[str]


class Run:
    """One collaboration. `start` once, then `feed` and `tick` until `finished`; `drain` after each."""

    def __init__(self, plan: Plan, channel: Channel, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._emitter = Emitter(plan.stream_id, clock)
        self._turns: dict[str, Turn] = {}
        self._sections: dict[str, Section] = {}
        self._readers = Readers(plan.strategy)
        self._streams = Streams(plan, channel, clock, self._emitter, self._turns)
        self._watch = Watch(self._emitter, clock, plan.limits.timeout)
        self._chunks = ChunkSpeaker(self._emitter, clock, self._place)
        self._syntheses = SynthesisSpeaker(self._emitter)
        self._writer = Writer(self._speaker, self._control)
        self._outline: _Outline | None = None
        self._moved = True  # whether something happened that can start, continue or end a turn
        self._started = 0
        self._ledger: list[ev.LedgerEntry] = []
        self._degraded: list[str] = []
        self.finished = False

    @property
    def state(self) -> ev.RunState:
        """The run as folded so far."""
        return self._emitter.state

    def drain(self) -> list[ev.AnyEvent]:
        """Return the events not yet taken."""
        return self._emitter.drain()

    def start(self) -> None:
        """Introduce the run and open the first streams."""
        plan = self._plan
        self._emitter.emit(
            ev.TaskStartedEvent(
                **self._emitter.stamp(),
                task=plan.task,
                context=dict(plan.context),
                strategy=plan.strategy.name,
                agents=tuple(a.info() for a in plan.agents.values()),
                simulated=plan.simulated,
            )
        )
        for notice in plan.notices:
            self._emitter.say(notice, "warning")
        self._begin_sections()
        self._progress()
        self._advance()

    def feed(self, batch: list[Delta]) -> None:
        """Take in what the providers sent."""
        for delta in batch:
            if self.finished:
                return
            match delta:
                case Content():
                    self._content(delta)
                case Reasoning():
                    self._reasoning(delta)
                case _:
                    self._ended(*self._streams.end(delta))
        self._advance()

    def tick(self) -> None:
        """Do what time demands."""
        if self.finished:
            return
        if self._watch.expired:
            timeout = self._plan.limits.timeout
            self._fail("deadline_exceeded", f"the time limit of {timeout:g} s is over")
            return
        self._watch.tick(self._running())
        self._moved = True
        self._advance()

    def deadline(self) -> float:
        """Return when `tick` is due."""
        return self._watch.deadline(self._running())

    def cancel(self, reason: str) -> None:
        """End the run with what there is."""
        if self.finished:
            return
        budget = self._streams.budget
        self._emitter.emit(
            ev.TaskCancelledEvent(
                **self._emitter.stamp(),
                reason=reason,
                partial=self._partial(),
                usage=budget.usage,
                cost_usd=budget.cost_usd,
            )
        )
        self.finished = True

    # --- sections and turns ----------------------------------------------------------------------------------------

    def _begin_sections(self) -> None:
        planner = self._planner()
        if self._plan.sections is not None:
            for info in section_infos(self._plan.sections):
                self._add_section(info, self._plan.strategy.in_order())
        elif planner is None or self._plan.limits.max_sections == 1:
            self._add_section(OPENING, self._plan.strategy.in_order())
        else:
            section = self._sections[OPENING.id] = Section(OPENING)
            self._readers.opening = self._add_turn(section, planner, 1)
            self._outline = _Outline(self._readers.opening, [])

    def _planner(self) -> PlannedAgent | None:
        """Return the agent that can open with an outline: it owes one, and reads nobody."""
        for name in self._plan.strategy.in_order():
            agent = self._plan.agents[name]
            if agent.role.duty == "outline" and not self._plan.strategy.sources(name):
                return agent
        return None

    def _close_outline(self) -> None:
        """Divide the work as the outline says, now that its author's own text has begun or ended."""
        outline, self._outline = self._outline, None
        if outline is None:
            return
        others = tuple(n for n in self._plan.strategy.in_order() if n != outline.author.agent.name)
        if len(outline.titles) < 2:
            self._readers.opening = None
            self._fill_section(self._sections[OPENING.id], others)
        else:
            for info in section_infos(tuple(outline.titles)):
                self._add_section(info, others)
        self._progress()

    def _add_section(self, info: ev.SectionInfo, agents: tuple[str, ...]) -> None:
        self._sections[info.id] = section = Section(info)
        self._fill_section(section, agents)

    def _fill_section(self, section: Section, agents: tuple[str, ...]) -> None:
        for name in agents:
            self._add_turn(section, self._plan.agents[name], 1)
        section.loop_open = self._plan.strategy.loop is not None
        synthesizer = self._plan.agents[self._plan.strategy.synthesizer.name]
        section.synthesis = self._new_turn(section, synthesizer, 1)

    def _add_turn(self, section: Section, agent: PlannedAgent, number: int) -> Turn:
        turn = self._new_turn(section, agent, number)
        section.turns.append(turn)
        return turn

    def _new_turn(self, section: Section, agent: PlannedAgent, number: int) -> Turn:
        turn = Turn(section.info.id, agent, number, ChunkText(self._plan.nonce, VERBS))
        self._turns[turn.chunk_id] = turn
        return turn

    def _readings(self, turn: Turn) -> list[Reading]:
        return self._readers.readings(self._sections[turn.section], turn)

    def _running(self) -> Iterator[Turn]:
        return (t for t in self._turns.values() if t.running)

    def _is_synthesis(self, turn: Turn) -> bool:
        return turn.agent.name == self._plan.strategy.synthesizer.name

    def _speaker(self, turn: Turn) -> Speaker:
        return self._syntheses if self._is_synthesis(turn) else self._chunks

    # --- deciding what runs ----------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Start, continue and end whatever can be, until nothing moves."""
        while not self.finished and self._moved:
            self._moved = False
            self._step()
        if not self.finished:
            self._check_limits()
        if not self.finished and all(self._section_done(s) for s in self._sections.values()):
            self._complete()

    def _step(self) -> None:
        for turn in list(self._turns.values()):
            if self.finished:
                return
            match turn.phase:
                case Phase.WAITING if self._ready(turn):
                    self._begin(turn)
                case Phase.RETRYING if turn.retry_at is not None and self._clock.now() >= turn.retry_at:
                    self._reopen(turn)
                case Phase.HOLDING:
                    self._settle(turn)
                case _:
                    pass

    def _ready(self, turn: Turn) -> bool:
        if sum(t.attempt is not None for t in self._turns.values()) >= self._plan.limits.max_streams:
            return False
        if self._is_synthesis(turn):
            return self._synthesis_ready(turn)
        return all(self._readable(turn, r) for r in self._readings(turn))

    def _readable(self, turn: Turn, reading: Reading) -> bool:
        """Whether `turn` can start on what `reading` offers now. What cannot be continued must be read whole."""
        live = reading.kind == "live" and turn.model.tier != "none"
        return reading.settled or (live and bool(reading.turn.provenance.fragments))

    def _synthesis_ready(self, turn: Turn) -> bool:
        timing = self._plan.strategy.synthesis
        sections = self._sections.values() if timing == "end" else (self._sections[turn.section],)
        if timing != "live" or turn.model.tier == "none":
            return self._outline is None and all(s.settled and not s.loop_open for s in sections)
        readings = self._readings(turn)
        heads = sum(self._readable(turn, r) for r in readings)
        return heads >= math.ceil(self._plan.limits.quorum * len(readings)) and heads > 0

    def _begin(self, turn: Turn) -> None:
        refusal = self._show_and_open(turn, "considers")
        if refusal is not None:
            self._fail("budget_exceeded", f"{turn.agent.name} could not start: {refusal}")

    def _reopen(self, turn: Turn) -> None:
        if self._lost_its_ground(turn):
            turn.phase = Phase.WAITING
            return
        refusal = self._streams.open(turn, self._assignment(turn))
        if refusal is not None:
            self._close_short(turn, refusal)

    def _settle(self, turn: Turn) -> None:
        """End a turn whose own text has ended, once what it reads has; show it the rest first."""
        readings = self._readings(turn)
        reads_on = turn.failure is None and turn.model.tier != "none"
        if (reads_on or self._is_synthesis(turn)) and not all(r.settled for r in readings):
            return
        if reads_on and not turn.closed_out and self._unseen(turn, readings):
            turn.closed_out = True
            refusal = self._show_and_open(turn, "continues")
            if refusal is None:
                return
            self._emitter.say(f"{turn.agent.name} did not read to the end: {refusal}", "warning")
        self._end_turn(turn)

    def _show_and_open(self, turn: Turn, action: ev.ReactionAction) -> str | None:
        """Show `turn` what it has not seen and open its stream; return why the budget refuses, if it does."""
        unseen = self._unseen(turn, self._readings(turn))
        before = list(turn.provenance.exposures)
        turn.expose(unseen)
        refusal = self._streams.open(turn, self._assignment(turn))
        if refusal is not None:
            turn.provenance.exposures = before
            return refusal
        if turn.started is None:
            turn.started = self._clock.now()
            self._started += not self._is_synthesis(turn)
            self._speaker(turn).started(turn)
        if unseen:
            self._react(turn, tuple(unseen), action)
        return None

    def _unseen(self, turn: Turn, readings: list[Reading]) -> list[str]:
        return [f for r in readings for f in r.turn.unseen_by(turn)]

    def _assignment(self, turn: Turn) -> Assignment:
        return Assignment(
            agent=turn.agent,
            section=self._sections[turn.section].info.title,
            outline=tuple(s.info.title for s in self._written_sections()),
            wants_outline=self._outline is not None and turn is self._outline.author,
        )

    # --- what the providers sent -----------------------------------------------------------------------------------

    def _content(self, delta: Content) -> None:
        self._streams.budget.received(delta.stream, len(delta.text))
        turn = self._streams.turn_of(delta.stream)
        if turn is None or turn.attempt is None or turn.attempt.discard:
            return
        attempt, now = turn.attempt, self._clock.now()
        attempt.content, turn.reasoning, turn.last_content = True, False, now
        if turn.first_content is None:
            turn.first_content = now
        if self._write(turn, attempt.seam.feed(delta.text)):
            self._moved = True
            self._consider_interrupting(turn)

    def _write(self, turn: Turn, text: str) -> bool:
        if not text:
            return False
        closed = self._writer.write(turn, text)
        if self._outline is not None and turn is self._outline.author and turn.text.text.strip():
            self._close_outline()
        return closed

    def _reasoning(self, delta: Reasoning) -> None:
        self._streams.budget.received(delta.stream, len(delta.text))
        turn = self._streams.turn_of(delta.stream)
        if turn is not None:
            turn.reasoning = True

    def _ended(self, turn: Turn, held: str, ending: Ending) -> None:
        self._moved = True
        self._write(turn, held)
        match ending:
            case Ending.CONTINUE:
                self._continue(turn)
            case Ending.ENDED | Ending.FAILED:
                self._finish_text(turn)
            case _:
                pass

    def _lost_its_ground(self, turn: Turn) -> bool:
        """Whether a turn must begin anew but what it reads has, after a retraction, nothing to begin on yet."""
        return not len(turn.text) and not all(self._readable(turn, r) for r in self._readings(turn))

    def _continue(self, turn: Turn) -> None:
        if self._lost_its_ground(turn):
            turn.phase = Phase.WAITING
            return
        refusal = self._show_and_open(turn, "continues")
        if refusal is not None:
            self._close_short(turn, refusal)

    def _finish_text(self, turn: Turn) -> None:
        self._writer.finish(turn)
        if turn.failure is None and not turn.text.text.strip():
            turn.failure, turn.finish_reason = f"{turn.model.id} answered with nothing", "error"
        if turn.finish_reason == "length":
            self._emitter.say(f"{turn.agent.name}'s text was cut by its model's length limit", "warning")
        if self._outline is not None and turn is self._outline.author:
            self._close_outline()
        turn.phase = Phase.HOLDING

    def _consider_interrupting(self, turn: Turn) -> None:
        if turn.phase is not Phase.STREAMING or turn.closed_out or turn.model.tier == "none":
            return
        readings = self._readings(turn)
        situation = Situation(
            interrupts=turn.interrupts,
            pending=len(self._unseen(turn, readings)),
            complete=all(r.settled for r in readings),
            own_since=turn.own_since,
        )
        if not self._plan.policy.interrupts(situation):
            return
        if self._streams.refusal(turn, self._assignment(turn)) is None:
            turn.interrupts += 1
            self._streams.stop(turn, discard=False)

    # --- control lines and retraction ------------------------------------------------------------------------------

    def _control(self, turn: Turn, control: Control) -> None:
        match control.verb:
            case "section" if self._outline is not None and turn is self._outline.author:
                self._outline_line(self._outline.titles, control.rest)
            case "verdict" if turn.agent.role.duty == "verdict":
                turn.verdict = control.rest.strip().partition(" ")[0].lower()
                self._emitter.say(f"{turn.agent.name}'s verdict: {control.rest.strip()}")
            case "retract":
                self._withdraw(turn, control.rest)
            case "object":
                fragment = control.rest.strip().partition(" ")[0]
                if fragment in turn.provenance.shown():
                    self._react(turn, (fragment,), "objects")
            case _:
                pass  # a line out of its place says nothing

    def _outline_line(self, titles: list[str], title: str) -> None:
        title, most = " ".join(title.split())[:80], self._plan.limits.max_sections
        if not title or title in titles:
            return
        if len(titles) < most:
            titles.append(title)
        else:
            self._emitter.say(f"the part {title!r} is left out: limits.max_sections is {most}", "warning")

    def _withdraw(self, turn: Turn, rest: str) -> None:
        name, _, reason = rest.strip().partition(" ")
        fragment_id = f"{turn.chunk_id}#{name.rpartition('#')[2]}"
        fragment = next((f for f in turn.provenance.fragments if f.id == fragment_id), None)
        if fragment is None or (name.rpartition("#")[0] not in ("", turn.chunk_id)):
            return
        cuts, tainted = cascade(
            {t.chunk_id: t.provenance for t in self._turns.values()}, turn.chunk_id, fragment.start
        )
        for cut in cuts:
            own = cut.chunk_id == turn.chunk_id
            retraction = Retraction("withdrawn" if own else "cascade", fragment.id, reason or "withdrawn")
            self._take_back(self._turns[cut.chunk_id], cut, retraction, tainted, roll_back=not own)
        self._react(turn, (fragment.id,), "revises")

    def _take_back(
        self, turn: Turn, cut: Cut, retraction: Retraction, tainted: frozenset[str], *, roll_back: bool
    ) -> None:
        self._speaker(turn).cut(turn, cut, retraction)
        turn.cut(cut.keep, tainted)
        if roll_back:
            self._roll_back(turn, retraction)

    def _roll_back(self, turn: Turn, retraction: Retraction) -> None:
        """Let a turn go on from its clean prefix, or close it there when it has been rolled back too often."""
        turn.rollbacks += 1
        self._moved = True
        failed = turn.failed
        if turn.attempt is not None:
            self._streams.stop(turn, discard=True)
        if turn.rollbacks > self._plan.limits.max_rollbacks or failed:
            self._close_short(turn, "what it built on was retracted too often")
        elif turn.phase in (Phase.HOLDING, Phase.DONE):
            turn.phase, turn.retry_at, turn.verdict = Phase.RETRYING, self._clock.now(), None
        if turn.running:
            self._react(turn, (retraction.root,), "revises")

    def _close_short(self, turn: Turn, why: str) -> None:
        """End a turn at its clean text because no more can be spent on it."""
        self._emitter.say(f"{turn.agent.name} ends early on {turn.section}: {why}", "warning")
        turn.finish_reason = "budget" if turn.failure is None else "error"
        self._end_turn(turn)

    # --- how turns end ---------------------------------------------------------------------------------------------

    def _end_turn(self, turn: Turn) -> None:
        turn.phase, turn.attempt = Phase.DONE, None
        self._moved = True
        if turn.finish_reason in ("budget", "error"):
            self._degraded.append(_loss(turn))
            if turn.failure is not None:
                self._emitter.say(_loss(turn), "error")
        if self._is_synthesis(turn):
            self._end_synthesis(turn)
            return
        self._chunks.completed(turn)
        self._turn_loop(turn)
        self._progress()
        self._check_quorum(turn)

    def _end_synthesis(self, turn: Turn) -> None:
        substitute = self._last_text(self._sections[turn.section]) if turn.failure is not None else None
        if substitute is None:
            self._syntheses.completed(turn)
        else:
            self._emitter.say(
                f"section {turn.section!r} shows the text of {substitute.agent.name} in place of a synthesis",
                "error",
            )
            self._syntheses.replaced(turn, substitute.text.text)

    def _turn_loop(self, turn: Turn) -> None:
        """Let reviewer and refiner take turns, as the verdict says."""
        loop, section = self._plan.strategy.loop, self._sections[turn.section]
        if loop is None or not section.loop_open:
            return
        if turn.agent.name == loop.reviewer:
            if turn.failure is not None or turn.verdict == "approve":
                self._close_loop(section)
                return
            if turn.verdict != "revise":
                self._emitter.say(f"{turn.agent.name} gave no verdict; taken as revise", "warning")
            if len(section.of(loop.refiner)) < turn.number:
                self._add_turn(section, self._plan.agents[loop.refiner], turn.number)
        elif turn.agent.name == loop.refiner:
            if turn.failure is None and turn.number < loop.max_rounds:
                if len(section.of(loop.reviewer)) == turn.number:
                    self._add_turn(section, self._plan.agents[loop.reviewer], turn.number + 1)
                return
            if turn.failure is None:
                self._emitter.say(
                    f"the review of {turn.section!r} ended after {turn.number} rounds unapproved"
                )
            self._close_loop(section)

    def _close_loop(self, section: Section) -> None:
        section.loop_open = False
        loop = self._plan.strategy.loop
        for turn in section.of(loop.refiner) if loop is not None else ():
            if turn.phase is Phase.WAITING:
                turn.phase = Phase.SKIPPED

    def _check_quorum(self, turn: Turn) -> None:
        if self._sections[turn.section].synthesis is None:
            return  # the opening alone decides nothing
        agents = {t.agent.name for t in self._turns.values() if t.section == turn.section}
        agents.discard(self._plan.strategy.synthesizer.name)
        lost = {t.agent.name for t in self._sections[turn.section].turns if t.failed}
        needed = math.ceil(self._plan.limits.quorum * len(agents))
        if len(agents) - len(lost) < needed:
            self._fail(
                "agents_failed",
                f"{len(lost)} of {len(agents)} agents failed on {turn.section!r}, {needed} must be left; "
                f"the last: {turn.failure}",
            )

    def _section_done(self, section: Section) -> bool:
        synthesis = section.synthesis
        return section.settled and not section.loop_open and (synthesis is None or synthesis.settled)

    # --- how the run ends ------------------------------------------------------------------------------------------

    def _check_limits(self) -> None:
        reason = self._streams.budget.exceeded()
        if reason is not None:
            self._fail("budget_exceeded", f"the budget is used up: {reason}")

    def _complete(self) -> None:
        budget = self._streams.budget
        used = dict.fromkeys(t.model.id for t in self._turns.values() if t.started is not None)
        self._emitter.emit(
            ev.TaskCompletedEvent(
                **self._emitter.stamp(),
                content=answer(self.state),
                sections=self.state.sections,
                points=(),
                ledger=tuple(self._ledger),
                confidence=None,
                usage=budget.usage,
                cost_usd=budget.cost_usd,
                models_used=tuple(used),
                elapsed_s=round(self._emitter.elapsed, 6),
                degraded=tuple(self._degraded),
                simulated=self._plan.simulated,
            )
        )
        self.finished = True

    def _fail(self, code: str, message: str) -> None:
        if self.finished:
            return
        budget = self._streams.budget
        self._emitter.emit(
            ev.TaskErrorEvent(
                **self._emitter.stamp(),
                code=code,
                message=message,
                partial=self._partial(),
                usage=budget.usage,
                cost_usd=budget.cost_usd,
            )
        )
        self.finished = True

    def _partial(self) -> str:
        """Return what the answer had become: each section's synthesis, else the furthest text of an agent."""
        texts = []
        for section in self._sections.values():
            synthesis = section.synthesis
            text = synthesis.text.text if synthesis is not None else ""
            if not text:
                last = self._last_text(section)
                text = "" if last is None else last.text.text
            texts.append(text)
        return "\n\n".join(t for t in texts if t)

    def _last_text(self, section: Section) -> Turn | None:
        return next((t for t in reversed(section.turns) if t.text.text), None)

    # --- what is said along the way --------------------------------------------------------------------------------

    def _written_sections(self) -> list[Section]:
        """Return the sections that get an answer."""
        return [s for s in self._sections.values() if s.synthesis is not None]

    def _react(self, turn: Turn, because: tuple[str, ...], action: ev.ReactionAction) -> None:
        tier = turn.model.tier
        self._ledger.append(
            ev.LedgerEntry(
                chunk_id=turn.chunk_id, agent=turn.agent.name, because=because, action=action, tier=tier
            )
        )
        self._emitter.emit(
            ev.AgentReactionEvent(
                **self._emitter.stamp(),
                chunk_id=turn.chunk_id,
                agent=turn.agent.name,
                because=because,
                action=action,
                tier=tier,
            )
        )

    def _progress(self) -> None:
        chunks = [t for s in self._sections.values() for t in s.turns if t.phase is not Phase.SKIPPED]
        unplanned = self._outline is not None
        total = len(self._plan.strategy.agents) if unplanned else len(chunks)
        self._emitter.emit(
            ev.TaskProgressEvent(
                **self._emitter.stamp(),
                sections=tuple(s.info for s in self._sections.values()),
                total_chunks=total,
                completed_chunks=sum(t.settled for t in chunks),
                estimated_time_s=self._plan.estimate_time(),
                estimated_cost_usd=self._plan.estimate_cost(max(1, len(self._written_sections()))),
                cost_usd=self._streams.budget.cost_usd,
                cache=ev.CacheInfo(state="off"),
            )
        )

    def _place(self, turn: Turn) -> Place:
        total = sum(len(s.turns) for s in self._sections.values())
        return Place(
            current=self._started,
            total=max(total, self._started),
            section_index=list(self._sections).index(turn.section) + 1,
            section_total=len(self._sections),
        )


class Handle:
    """What somebody outside can do with a run: see its state, ask it to stop.

    `state` is as of the last batch, so it may be ahead of the event that a consumer looks at.
    """

    def __init__(self) -> None:
        self.state = ev.RunState()
        self.cancelled: str | None = None
        self._channel: Channel | None = None

    def attach(self, state: ev.RunState, channel: Channel) -> None:
        """Bind the handle to the run that begins."""
        self.state, self._channel = state, channel

    def cancel(self, reason: str) -> None:
        """Ask the run to stop; the first reason stands."""
        self.cancelled = self.cancelled or reason
        if self._channel is not None:
            self._channel.wake()


async def stream_events(plan: Plan, transport: Transport, handle: Handle) -> AsyncGenerator[ev.AnyEvent]:
    """Run `plan` and yield its events; the last one is terminal.

    Closing the iterator, or cancelling the task that drives it, closes every stream of the run.
    """
    channel = transport.channel()
    try:
        run = Run(plan, channel, transport.clock)
        handle.attach(run.state, channel)
        run.start()
        while True:
            for event in run.drain():
                yield event
            if run.finished:
                return
            if handle.cancelled is not None:
                run.cancel(handle.cancelled)
                continue
            deadline = run.deadline()
            run.feed(await channel.recv(deadline))
            if transport.clock.now() >= deadline:
                run.tick()
    finally:
        await channel.aclose()


def _loss(turn: Turn) -> str:
    return f"{turn.agent.name} on {turn.section}: {turn.failure or 'ended early'}"
