"""The narrator: what each event of a run means to somebody who watches, in words, for any pen.

Verbosity: `full` tells everything; `filtered` leaves out the agents' raw text; `quiet` tells only what went
wrong, and that an answer is simulated. The state of the run is `fold`'s, so what is shown is what was folded.
"""

from __future__ import annotations

from typing import Final, Literal

from ... import events as ev
from ...fold import apply
from ...roles import built_in_roles
from . import words
from .pen import Pen, Speaker, Tone
from .sanitize import one_line
from .weaver import Weaver

Verbosity = Literal["full", "filtered", "quiet"]
_QUOTED: Final = 3
_SIMULATED: Final = "Simulated: scripted agents wrote this, no real model was asked"
_TONES: Final[dict[ev.Level, Tone]] = {"info": "state", "warning": "warning", "error": "error"}
_ACTIONS: Final[dict[ev.ReactionAction, str]] = {
    "considers": "considers",
    "continues": "goes on after reading",
    "revises": "revises its text after reading",
    "objects": "objects to",
}
_CAUSES: Final[dict[ev.RetractionCause, str]] = {
    "withdrawn": "takes back",
    "check": "must take back, a check failed on it,",
    "objection": "must take back, others object to it,",
    "cascade": "takes back, it rested on something retracted,",
}
_POINTS: Final[dict[ev.PointKind, str]] = {
    "agreed": "Agreed",
    "contradiction": "Contradiction",
    "partial": "Partly agreed",
    "unique": "Seen by one",
    "blind_spot": "Blind spot",
}


class Narrator:
    """Tells a run to a pen, event by event."""

    def __init__(self, pen: Pen, verbosity: Verbosity, *, whole_lines: bool, answer_follows: bool) -> None:
        """`whole_lines`: agents' text goes out in complete pieces only. `answer_follows`: the answer is printed to
        the same screen afterwards, so a synthesis that is the whole answer is announced, not shown twice."""
        self._pen = pen
        self._verbosity = verbosity
        self._answer_follows = answer_follows
        self._weaver = Weaver(whole=whole_lines)
        self._state = ev.RunState()
        self._speakers: dict[str, Speaker] = {}
        self._planned = 0
        self._waited: dict[str, float] = {}
        self._writing: set[str] = set()
        self._told: dict[str, tuple[ev.PointKind, str]] = {}

    def handle(self, event: ev.AnyEvent | ev.UnknownEvent, now: float) -> None:
        """Tell one event; `now` is the caller's monotonic clock in seconds."""
        if isinstance(event, ev.UnknownEvent):
            return
        if self._verbosity == "quiet":
            self._state = apply(self._state, event)
            self._tell_trouble(event)
            return
        taken_back = self._taken_back(event)
        self._state = apply(self._state, event)
        self._follow_text(event, taken_back, now)
        self._tell(event)
        self.tick(now)

    def tick(self, now: float) -> None:
        """Show text that has waited long enough."""
        if self._verbosity == "full":
            for piece in self._weaver.pieces(self._state.ts, now):
                self._pen.speech(self._author(piece.chunk_id), piece)

    def _tell_trouble(self, event: ev.AnyEvent) -> None:
        match event:
            case ev.SystemMessageEvent(level="error") | ev.TaskErrorEvent():
                self._tell(event)
            case ev.TaskCompletedEvent():
                self._tell_losses(event)
                if event.simulated:
                    self._pen.line(event.ts, None, _SIMULATED, "warning")
            case _:
                pass

    # Agents' text

    def _taken_back(self, event: ev.AnyEvent) -> str:
        match event:
            case ev.TokenStreamEvent(keep=int(keep)) | ev.FragmentsRetractedEvent(keep=keep):
                return self._weaver.cut(event.chunk_id, keep)
            case ev.SynthesisStreamEvent(keep=int(keep)):
                return self._weaver.cut(_synthesis_text(event.section), keep)
            case _:
                return ""

    def _follow_text(self, event: ev.AnyEvent, taken_back: str, now: float) -> None:
        if self._verbosity != "full":
            return
        match event:
            case ev.TokenStreamEvent():
                if chunk := self._state.chunks.get(event.chunk_id):
                    self._waited.pop(event.chunk_id, None)
                    self._follow(event.chunk_id, chunk.text, taken_back, event.ts, now)
            case ev.SynthesisStreamEvent():
                text = self._state.syntheses[event.section].text
                self._follow(_synthesis_text(event.section), text, taken_back, event.ts, now)
            case ev.FragmentEvent():
                self._weaver.boundary(event.chunk_id, event.end)
            case ev.FragmentsRetractedEvent():
                self._tell_retraction(event, taken_back)
            case ev.ChunkCompletedEvent():
                self._say_rest(event.chunk_id, now)
            case ev.SynthesisCompletedEvent():
                self._say_rest(_synthesis_text(event.section), now)
            case ev.TaskCompletedEvent() | ev.TaskErrorEvent() | ev.TaskCancelledEvent():
                for name in (*self._state.chunks, *map(_synthesis_text, self._state.syntheses)):
                    self._say_rest(name, now)
            case _:
                pass

    def _follow(self, name: str, text: str, taken_back: str, ts: float, now: float) -> None:
        if taken_back.strip():
            self._pen.struck(ts, self._author(name), "rewrites", taken_back)
        self._weaver.write(name, text, now)

    def _say_rest(self, name: str, now: float) -> None:
        for piece in self._weaver.close(name, self._state.ts, now):
            self._pen.speech(self._author(name), piece)

    # Everything else

    def _tell(self, event: ev.AnyEvent) -> None:
        match event:
            case ev.TaskStartedEvent():
                self._tell_start(event)
            case ev.TaskProgressEvent():
                self._tell_plan(event)
            case ev.ChunkStartedEvent():
                place = f"chunk {event.current} of {event.total}, {event.model}"
                self._line(event, event.agent, f"starts on {self._section_title(event.section)} ({place})")
            case ev.AgentThinkingEvent():
                self._tell_thinking(event)
            case ev.AgentReactionEvent():
                action = f"{_ACTIONS[event.action]} {self._quotes(event.because)}"
                self._line(event, event.agent, f"{action} ({event.tier})")
            case ev.FragmentsRetractedEvent() if self._verbosity != "full":
                self._tell_retraction(event, "")
            case ev.ChunkCompletedEvent():
                self._tell_chunk(event)
            case ev.SynthesisStreamEvent():
                if event.section not in self._writing:
                    self._writing.add(event.section)
                    heading = self._section_title(event.section)
                    self._pen.line(event.ts, None, f"The synthesis of {heading} is being written")
            case ev.PointsUpdatedEvent():
                self._tell_points(event)
            case ev.SynthesisCompletedEvent():
                self._tell_synthesis(event)
            case ev.SystemMessageEvent():
                self._pen.line(event.ts, None, event.message, _TONES[event.level])
            case ev.TaskCompletedEvent() | ev.TaskErrorEvent() | ev.TaskCancelledEvent():
                self._tell_end(event)
            case _:
                self._tell_cache_or_check(event)

    def _tell_start(self, event: ev.TaskStartedEvent) -> None:
        for agent in event.agents:
            self._speaker(agent.name, agent.role)
        cast = ", ".join(f"{words.title(a.name)} ({a.provider}/{a.model})" for a in event.agents)
        self._pen.line(event.ts, None, f"Strategy {event.strategy}: {cast}")

    def _tell_plan(self, event: ev.TaskProgressEvent) -> None:
        if event.total_chunks == self._planned:
            return
        label = "Plan" if not self._planned else "Plan now"
        self._planned = event.total_chunks
        plan = words.plan(event, simulated=self._state.simulated)
        self._pen.line(event.ts, None, f"{label}: {plan}")

    def _tell_thinking(self, event: ev.AgentThinkingEvent) -> None:
        # Every two seconds from every agent would drown the text: 2, 4, 8, 16 s ... is enough to see life.
        if event.waiting_s >= 2 * self._waited.get(event.chunk_id, 0.0):
            self._waited[event.chunk_id] = event.waiting_s
            self._line(event, event.agent, f"{event.message} ({words.seconds(event.waiting_s)})")

    def _tell_retraction(self, event: ev.FragmentsRetractedEvent, text: str) -> None:
        what = words.count(len(event.fragments), "fragment")
        lead = f"{_CAUSES[event.cause]} {what}"
        if event.reason:
            lead += f" ({event.reason})"
        speaker = self._author(event.chunk_id)
        if text.strip():
            self._pen.struck(event.ts, speaker, lead, text)
        else:
            self._pen.line(event.ts, speaker, lead, "warning")

    def _tell_chunk(self, event: ev.ChunkCompletedEvent) -> None:
        facts = [words.bill(event.usage, event.cost_usd, simulated=self._state.simulated)]
        if event.ttft_s is not None:
            facts.append(f"first text after {words.seconds(event.ttft_s)}")
        facts.append(f"{words.seconds(event.duration_s)} in all")
        normal = event.finish_reason == "stop"
        ending = "is done" if normal else f"ended early ({event.finish_reason})"
        tone: Tone = "good" if normal else "warning"
        self._line(event, event.agent, f"{ending}: {', '.join(facts)}", tone)

    def _tell_points(self, event: ev.PointsUpdatedEvent) -> None:
        for point in event.points:
            if self._told.get(point.id) == (point.kind, point.text):
                continue
            self._told[point.id] = (point.kind, point.text)
            tone: Tone = "warning" if point.kind == "contradiction" else "state"
            self._pen.line(event.ts, None, _point(point), tone)

    def _tell_synthesis(self, event: ev.SynthesisCompletedEvent) -> None:
        foot = [_point(point) for point in event.points]
        if event.confidence:
            foot.append(words.confidence(event.confidence))
        body = event.content
        if self._answer_follows and len(self._state.sections) <= 1:
            body = ""
            foot.insert(0, f"{words.count(len(event.content.split()), 'word')}; the answer follows below")
        heading = f"Synthesis of {self._section_title(event.section)}"
        self._pen.box(event.ts, heading, body, tuple(foot))

    def _tell_cache_or_check(self, event: ev.AnyEvent) -> None:
        match event:
            case ev.CacheHitEvent():
                saved = [
                    text
                    for text, known in (
                        (words.money(event.saved_usd), event.saved_usd is not None),
                        (words.seconds(event.saved_s or 0.0), event.saved_s is not None),
                    )
                    if known
                ]
                gain = f", saved {' and '.join(saved)}" if saved else ""
                age = words.seconds(event.age_s)
                text = f"From the cache: similarity {event.similarity:.2f}, {age} old{gain}"
                self._pen.line(event.ts, None, text, "good")
            case ev.CacheMissEvent():
                self._pen.line(event.ts, None, f"Not in the cache: {event.reason}")
            case ev.ValidatorCompletedEvent():
                text = f"has checked it: similarity {event.similarity:.2f}, confidence {event.confidence:.2f}"
                self._line(event, event.agent, text)
            case ev.ValidatorTimeoutEvent():
                self._line(event, event.agent, f"was not done in time: {event.message}", "warning")
            case ev.CorrectionEvent():
                for span in event.spans:
                    text = f"Correction: “{span.was}” is now “{span.now}” ({span.why})"
                    self._pen.line(event.ts, None, text, "warning")
            case _:
                pass  # heartbeats and bookkeeping are nothing to watch

    def _tell_end(self, event: ev.TerminalEvent) -> None:
        simulated = self._state.simulated
        bill = words.bill(event.usage, event.cost_usd, simulated=simulated)
        match event:
            case ev.TaskCompletedEvent():
                models = f"; models: {', '.join(event.models_used)}" if event.models_used else ""
                text = f"Finished in {words.seconds(event.elapsed_s)}: {bill}{models}"
                self._pen.line(event.ts, None, text, "good")
                if event.confidence:
                    self._pen.line(event.ts, None, words.confidence(event.confidence).capitalize())
                self._tell_losses(event)
            case ev.TaskErrorEvent():
                self._pen.line(event.ts, None, f"{event.message} ({event.code})", "error")
                self._pen.line(event.ts, None, f"Used until then: {bill}")
            case ev.TaskCancelledEvent():
                self._pen.line(event.ts, None, f"Stopped: {event.reason}; used until then: {bill}", "warning")

    def _tell_losses(self, event: ev.TaskCompletedEvent) -> None:
        for loss in event.degraded:
            self._pen.line(event.ts, None, f"Partial result: {loss}", "warning")

    # Names

    def _line(self, event: ev.Event, agent: str, text: str, tone: Tone = "state") -> None:
        self._pen.line(event.ts, self._speaker(agent, ""), text, tone)

    def _speaker(self, agent: str, role: str) -> Speaker:
        known = self._speakers.get(agent)
        if known is None:
            icon = built_in_roles()[role].icon if role in built_in_roles() else "•"
            known = Speaker(one_line(words.title(agent), 40), icon, len(self._speakers))
            self._speakers[agent] = known
        return known

    def _author(self, text: str) -> Speaker:
        """Return who writes the text of that name: a chunk or a section's synthesis."""
        chunk = self._state.chunks.get(text)
        return self._speaker(chunk.agent, chunk.role) if chunk else self._speaker("synthesis", "synthesizer")

    def _section_title(self, section: str) -> str:
        titles = {info.id: info.title for info in self._state.sections}
        return f"“{titles.get(section, section)}”"

    def _quotes(self, fragments: tuple[str, ...]) -> str:
        if not fragments:
            return "the others"
        shown = ", ".join(self._quote(fragment) for fragment in fragments[:_QUOTED])
        more = len(fragments) - _QUOTED
        return f"{shown} and {more} more" if more > 0 else shown

    def _quote(self, fragment: str) -> str:
        chunk = self._state.chunks.get(fragment.rpartition("#")[0])
        if chunk is None:
            return fragment
        place = next((f for f in chunk.fragments if f.id == fragment), None)
        name = f"{words.title(chunk.agent)} #{fragment.rpartition('#')[2]}"
        if place is None:
            return name
        text = " ".join(chunk.text[place.start : place.end].split())
        return f"{name} “{text if len(text) <= 60 else text[:59] + '…'}”"


def _point(point: ev.Point) -> str:
    who = ", ".join(words.title(stance.agent) for stance in point.stances)
    return f"{_POINTS[point.kind]}: {point.text}" + (f" ({who})" if who else "")


def _synthesis_text(section: str) -> str:
    """Name a synthesis among the texts that are followed; a chunk's id always holds a slash before this colon."""
    return f"synthesis:{section}"
