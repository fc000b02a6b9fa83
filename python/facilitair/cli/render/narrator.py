"""The narrator: what each event of a run means to somebody who watches, in words, for any pen.

Verbosity: `full` tells everything; `filtered` leaves out the texts while they are written; `quiet` tells only what
went wrong, and that an answer is simulated. The state of the run is `fold`'s, so what is shown is what was folded.
Lines about the run wait a moment when an agent is in the middle of a sentence on the same screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from os.path import commonprefix
from typing import Final, Literal

from ... import events as ev
from ...fold import apply
from ...roles import built_in_roles
from . import deeds, words
from .pen import Pen, Speaker, Tone
from .sanitize import one_line
from .weaver import READY_PATIENCE, Piece, Weaver

Verbosity = Literal["full", "filtered", "quiet"]
_SYNTHESIS: Final = "synthesis:"
_SIMULATED: Final = "Simulated: scripts wrote this, no real model was asked"
_TONES: Final[dict[ev.Level, Tone]] = {"info": "state", "warning": "warning", "error": "error"}
_POINTS: Final[dict[ev.PointKind, str]] = {
    "agreed": "Agreed",
    "contradiction": "Contradiction",
    "partial": "Partly agreed",
    "unique": "Seen by one",
    "blind_spot": "Blind spot",
}


class Narrator:
    """Tells a run to a pen, event by event."""

    period = 0.25

    def __init__(self, pen: Pen, verbosity: Verbosity, *, whole_lines: bool, answer_follows: bool) -> None:
        """`whole_lines`: agents' text goes out in complete pieces only. `answer_follows`: the answer is printed to
        the same screen afterwards, so a synthesis that is the whole answer is announced, not shown twice."""
        self._pen = pen
        self._verbosity = verbosity
        self._answer_follows = answer_follows
        self._weaver = Weaver(whole=whole_lines)
        self._state = ev.RunState()
        self._now = 0.0
        self._notes: list[Callable[[], None]] = []
        self._spoken = ""  # whose text was written last
        self._noted = 0.0  # when the oldest note began to wait
        self._speakers: dict[str, Speaker] = {}
        self._planned = 0
        self._waited: dict[str, float] = {}
        self._writing: set[str] = set()
        self._told: dict[str, tuple[ev.PointKind, str]] = {}

    def handle(self, event: ev.AnyEvent | ev.UnknownEvent, now: float) -> None:
        """Tell one event; `now` is the caller's monotonic clock in seconds."""
        if isinstance(event, ev.UnknownEvent):
            return
        self._now = now
        if self._verbosity == "quiet":
            self._state = apply(self._state, event)
            self._tell_trouble(event)
            self._say_notes()
            return
        if isinstance(event, ev.StateSnapshotEvent):
            self._catch_up(event)
        else:
            taken_back = self._taken_back(event)
            self._state = apply(self._state, event)
            if self._verbosity == "full":
                self._follow_text(event, taken_back)
            self._tell(event, taken_back)
        self.tick(now)

    def resume(self, state: ev.RunState) -> None:
        """Go on from `state`; nothing of what happened until then is told."""
        self._state = state

    def tick(self, now: float) -> None:
        """Show what has waited long enough."""
        self._now = now
        if self._weaver.free(now):
            self._say_notes()
        if self._verbosity == "full":
            self._say(self._weaver.pieces(self._state.ts, now))
        if now - self._noted >= READY_PATIENCE:
            self._say_notes()

    def close(self) -> None:
        """Nothing has to be given back; what still waited is told with the run's last event."""

    def _catch_up(self, event: ev.StateSnapshotEvent) -> None:
        """Go on from a state: what happened until then is not told, what was written is."""
        before = _texts(self._state)
        state = self._state = apply(self._state, event)
        self._planned = state.total_chunks
        for agent in state.agents:
            self._speaker(agent.name, agent.role)
        done = f"{state.completed_chunks} of {words.count(state.total_chunks, 'chunk')} are done"
        self._line(event.ts, None, f"What was missed until here is not told: {done}")
        self._writing.update(state.syntheses)
        for name, text in _texts(state).items() if self._verbosity == "full" else ():
            keep = len(commonprefix((before.get(name, ""), text)))  # noqa: RUF071 (characters are meant)
            self._follow(name, text, self._weaver.cut(name, keep))
            if name in state.chunks and state.chunks[name].status == "completed":
                self._say_rest(name)

    # What is written

    def _say(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if piece.chunk_id != self._spoken:
                self._say_notes()  # the line changes hands, so what happened meanwhile is told in its order
            self._spoken = piece.chunk_id
            self._pen.speech(self._author(piece.chunk_id), piece)

    def _say_notes(self) -> None:
        notes, self._notes = self._notes, []
        for note in notes:
            note()

    def _note(self, note: Callable[[], None]) -> None:
        if not self._notes:
            self._noted = self._now
        self._notes.append(note)

    def _line(self, ts: float, speaker: Speaker | None, text: str, tone: Tone = "state") -> None:
        self._note(partial(self._pen.line, ts, speaker, text, tone))

    # Agents' text

    def _taken_back(self, event: ev.AnyEvent) -> str:
        match event:
            case ev.TokenStreamEvent(keep=int(keep)) | ev.FragmentsRetractedEvent(keep=keep):
                return self._weaver.cut(event.chunk_id, keep)
            case ev.SynthesisStreamEvent(keep=int(keep)):
                return self._weaver.cut(_synthesis_text(event.section), keep)
            case _:
                return ""

    def _follow_text(self, event: ev.AnyEvent, taken_back: str) -> None:
        match event:
            case ev.TokenStreamEvent():
                if chunk := self._state.chunks.get(event.chunk_id):
                    self._follow(event.chunk_id, chunk.text, taken_back)
            case ev.SynthesisStreamEvent():
                text = self._state.syntheses[event.section].text
                self._follow(_synthesis_text(event.section), text, taken_back)
            case ev.FragmentEvent():
                self._weaver.boundary(event.chunk_id, event.end)
            case ev.ChunkCompletedEvent():
                self._say_rest(event.chunk_id)
            case ev.SynthesisCompletedEvent():
                self._say_rest(_synthesis_text(event.section))
            case ev.TaskCompletedEvent() | ev.TaskErrorEvent() | ev.TaskCancelledEvent():
                self._say_rest(*self._state.chunks, *map(_synthesis_text, self._state.syntheses))
            case _:
                pass

    def _follow(self, name: str, text: str, taken_back: str) -> None:
        if taken_back.strip():
            self._strike(name, "rewrites", taken_back)
        self._weaver.write(name, text, self._now)

    def _strike(self, name: str, lead: str, text: str) -> None:
        """Tell at once that shown text is taken back, before its author goes on."""
        self._note(partial(self._pen.struck, self._state.ts, self._author(name), lead, text))
        self._say_notes()

    def _say_rest(self, *names: str) -> None:
        for name in names:
            self._say(self._weaver.close(name, self._state.ts, self._now))

    # Everything else

    def _tell(self, event: ev.AnyEvent, taken_back: str) -> None:
        match event:
            case ev.TaskStartedEvent():
                self._tell_start(event)
            case ev.TaskProgressEvent():
                self._tell_plan(event)
            case ev.ChunkStartedEvent():
                place = f"chunk {event.current} of {event.total}, {event.model}"
                text = f"starts on {self._section_title(event.section)} ({place})"
                self._line(event.ts, self._speaker(event.agent), text)
            case ev.TokenStreamEvent():
                self._waited.pop(event.chunk_id, None)
            case ev.AgentThinkingEvent():
                self._tell_thinking(event)
            case ev.AgentReactionEvent():
                text = deeds.reaction(self._state, event)
                self._line(event.ts, self._author(event.chunk_id, event.agent), text)
            case ev.FragmentsRetractedEvent():
                self._tell_retraction(event, taken_back)
            case ev.ChunkCompletedEvent():
                self._tell_chunk(event)
            case ev.SynthesisStreamEvent() if event.section not in self._writing:
                self._writing.add(event.section)
                title = self._section_title(event.section)
                self._line(event.ts, None, f"The synthesis of {title} is being written")
            case ev.PointsUpdatedEvent():
                self._tell_points(event)
            case ev.SynthesisCompletedEvent():
                self._tell_synthesis(event)
            case ev.SystemMessageEvent():
                self._line(event.ts, None, event.message, _TONES[event.level])
            case ev.TaskCompletedEvent() | ev.TaskErrorEvent() | ev.TaskCancelledEvent():
                self._tell_end(event)
                self._say_notes()
            case _:
                self._tell_cache_or_check(event)

    def _tell_trouble(self, event: ev.AnyEvent) -> None:
        match event:
            case ev.SystemMessageEvent(level="error") | ev.TaskErrorEvent():
                self._tell(event, "")
            case ev.TaskCompletedEvent():
                self._tell_losses(event)
                if event.simulated:
                    self._line(event.ts, None, _SIMULATED, "warning")
            case _:
                pass

    def _tell_start(self, event: ev.TaskStartedEvent) -> None:
        for agent in event.agents:
            self._speaker(agent.name, agent.role)
        cast = ", ".join(f"{words.title(a.name)} ({a.provider}/{a.model})" for a in event.agents)
        self._line(event.ts, None, f"Strategy {event.strategy}: {cast}")

    def _tell_plan(self, event: ev.TaskProgressEvent) -> None:
        if event.total_chunks == self._planned:
            return
        label = "Plan" if not self._planned else "Plan now"
        self._planned = event.total_chunks
        self._line(event.ts, None, f"{label}: {words.plan(event, simulated=self._state.simulated)}")

    def _tell_thinking(self, event: ev.AgentThinkingEvent) -> None:
        # Every two seconds from every agent would drown the text: 2, 4, 8, 16 s ... is enough to see life.
        if event.waiting_s >= 2 * self._waited.get(event.chunk_id, 0.0):
            self._waited[event.chunk_id] = event.waiting_s
            text = f"{event.message} ({words.seconds(event.waiting_s)})"
            self._line(event.ts, self._author(event.chunk_id, event.agent), text)

    def _tell_retraction(self, event: ev.FragmentsRetractedEvent, taken_back: str) -> None:
        lead = deeds.retraction(event)
        if taken_back.strip():
            self._strike(event.chunk_id, lead, taken_back)
        else:
            self._line(event.ts, self._author(event.chunk_id, event.agent), lead, "warning")

    def _tell_chunk(self, event: ev.ChunkCompletedEvent) -> None:
        facts = [words.bill(event.usage, event.cost_usd, simulated=self._state.simulated)]
        if event.ttft_s is not None:
            facts.append(f"first text after {words.seconds(event.ttft_s)}")
        facts.append(f"{words.seconds(event.duration_s)} in all")
        normal = event.finish_reason == "stop"
        ending = "is done" if normal else f"ended early ({event.finish_reason})"
        speaker = self._author(event.chunk_id, event.agent)
        self._line(event.ts, speaker, f"{ending}: {', '.join(facts)}", "good" if normal else "warning")

    def _tell_points(self, event: ev.PointsUpdatedEvent) -> None:
        for point in event.points:
            if self._told.get(point.id) != (point.kind, point.text):
                self._told[point.id] = (point.kind, point.text)
                tone: Tone = "warning" if point.kind == "contradiction" else "state"
                self._line(event.ts, None, _point(point), tone)

    def _tell_synthesis(self, event: ev.SynthesisCompletedEvent) -> None:
        foot = [_point(point) for point in event.points]
        if event.confidence:
            foot.append(words.confidence(event.confidence))
        body = event.content
        if self._answer_follows and len(self._state.sections) <= 1:
            body = ""
            foot.insert(0, f"{words.count(len(event.content.split()), 'word')}; the answer follows below")
        heading = f"Synthesis of {self._section_title(event.section)}"
        self._note(partial(self._pen.box, event.ts, heading, body, tuple(foot)))

    def _tell_cache_or_check(self, event: ev.AnyEvent) -> None:
        match event:
            case ev.CacheHitEvent():
                self._line(event.ts, None, f"From the cache: {words.cache_hit(event)}", "good")
            case ev.CacheMissEvent():
                self._line(event.ts, None, f"Not in the cache: {event.reason}")
            case ev.ValidatorCompletedEvent():
                text = f"has checked it: similarity {event.similarity:.2f}, confidence {event.confidence:.2f}"
                self._line(event.ts, self._speaker(event.agent), text)
            case ev.ValidatorTimeoutEvent():
                text = f"was not done in time: {event.message}"
                self._line(event.ts, self._speaker(event.agent), text, "warning")
            case ev.CorrectionEvent():
                for span in event.spans:
                    text = f"Correction: “{span.was}” is now “{span.now}” ({span.why})"
                    self._line(event.ts, None, text, "warning")
            case _:
                pass  # heartbeats and bookkeeping are nothing to watch

    def _tell_end(self, event: ev.TerminalEvent) -> None:
        bill = words.bill(event.usage, event.cost_usd, simulated=self._state.simulated)
        match event:
            case ev.TaskCompletedEvent():
                models = f"; models: {', '.join(event.models_used)}" if event.models_used else ""
                self._line(
                    event.ts, None, f"Finished in {words.seconds(event.elapsed_s)}: {bill}{models}", "good"
                )
                if event.confidence:
                    self._line(event.ts, None, words.confidence(event.confidence).capitalize())
                self._tell_losses(event)
            case ev.TaskErrorEvent():
                self._line(event.ts, None, f"{event.message} ({event.code})", "error")
                self._line(event.ts, None, f"Used until then: {bill}")
            case ev.TaskCancelledEvent():
                self._line(event.ts, None, f"Stopped: {event.reason}; used until then: {bill}", "warning")

    def _tell_losses(self, event: ev.TaskCompletedEvent) -> None:
        for loss in event.degraded:
            self._line(event.ts, None, f"Partial result: {loss}", "warning")

    # Names

    def _speaker(self, agent: str, role: str = "") -> Speaker:
        known = self._speakers.get(agent)
        if known is None:
            icon = built_in_roles()[role].icon if role in built_in_roles() else "•"
            known = Speaker(one_line(words.title(agent), 40), icon, len(self._speakers))
            self._speakers[agent] = known
        return known

    def _author(self, text: str, agent: str = "") -> Speaker:
        """Return who writes the text of that name, a chunk or a synthesis, and where; `agent` when it is unknown."""
        chunk = self._state.chunks.get(text)
        if chunk is not None:
            speaker, section = self._speaker(chunk.agent, chunk.role), chunk.section
        else:
            section = text.removeprefix(_SYNTHESIS) if text.startswith(_SYNTHESIS) else ""
            speaker = self._speaker(agent or self._synthesizer(), "synthesizer")
        if len(self._state.sections) < 2 or not section:
            return speaker
        return replace(speaker, place=one_line(self._titles().get(section, section), 40))

    def _synthesizer(self) -> str:
        return next((a.name for a in self._state.agents if a.role == "synthesizer"), "synthesizer")

    def _titles(self) -> dict[str, str]:
        return {info.id: info.title for info in self._state.sections}

    def _section_title(self, section: str) -> str:
        return f"“{self._titles().get(section, section)}”"


def _texts(state: ev.RunState) -> dict[str, str]:
    """Return all texts of a run by the names they have here."""
    chunks = {chunk_id: chunk.text for chunk_id, chunk in state.chunks.items()}
    return chunks | {_synthesis_text(name): synthesis.text for name, synthesis in state.syntheses.items()}


def _synthesis_text(section: str) -> str:
    """Name a synthesis among the texts that are followed beside the chunks."""
    return f"{_SYNTHESIS}{section}"


def _point(point: ev.Point) -> str:
    who = ", ".join(words.title(stance.agent) for stance in point.stances)
    return f"{_POINTS[point.kind]}: {point.text}" + (f" ({who})" if who else "")
