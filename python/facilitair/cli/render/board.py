"""The board: a run as the live view shows it. The folded state, and the little that folding does not keep.

An event costs what folding it costs, whatever is on the screen: texts are wrapped when a frame is drawn. What is
taken from here for the screen is cleaned, except agents' texts, which their `Tail` cleans.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

from ... import events as ev
from ...fold import apply
from ...roles import built_in_roles
from . import deeds, words
from .sanitize import one_line
from .tail import Tail

Activity = Literal["waiting", "thinking", "writing", "retrying", "done", "failed"]
NewsTone = Literal["deed", "retraction", "info", "warning", "error"]

_KEPT_NEWS: Final = 12
_RETRYING: Final = "waits to try"  # how the engine's sign of life begins; heartbeats, which say it, are rare
_LIVELIEST: Final[tuple[Activity, ...]] = ("writing", "retrying", "thinking", "waiting", "failed", "done")


@dataclass(frozen=True, slots=True)
class Part:
    """One text in a panel: the section it belongs to, the text, what stands there while it is empty."""

    title: str
    text: str
    tail: Tail
    note: str


@dataclass(frozen=True, slots=True)
class Panel:
    """What is known about one agent, or about the synthesis; `number` picks the colour."""

    name: str
    icon: str
    number: int
    model: str
    activity: Activity
    time: float | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened, when, by whom (an agent's number in the cast, or nobody's)."""

    ts: float
    who: str
    number: int | None
    text: str
    tone: NewsTone


@dataclass(slots=True)
class _Sign:
    """The last sign of life of a chunk, and when its first event came."""

    began: float
    activity: Activity = "thinking"
    note: str = ""
    tail: Tail = field(default_factory=Tail)


class Board:
    """Takes events; gives what is to be seen."""

    def __init__(self) -> None:
        self.state = ev.RunState()
        self.now = 0.0  # the time of the run; between events whoever draws sets it
        self.news: deque[News] = deque(maxlen=_KEPT_NEWS)
        self.troubles: list[ev.SystemMessageEvent] = []
        self._signs: dict[str, _Sign] = {}
        self._syntheses: dict[str, Tail] = {}

    def handle(self, event: ev.AnyEvent | ev.UnknownEvent) -> None:
        """Take one event."""
        self.state = apply(self.state, event)
        self.now = max(self.now, self.state.ts)
        match event:
            case ev.TokenStreamEvent():
                sign = self._sign(event.chunk_id)
                sign.activity, sign.note = "writing", ""
                if event.keep is not None:
                    sign.tail.cut(event.keep)
            case ev.SynthesisStreamEvent():
                tail = self._syntheses.setdefault(event.section, Tail())
                if event.keep is not None:
                    tail.cut(event.keep)
            case ev.AgentThinkingEvent():
                self._take_sign(event)
            case ev.HeartbeatEvent():
                for agent in event.agents:
                    self._sign(agent.chunk_id).activity = agent.state
            case ev.ChunkStartedEvent():
                self._signs[event.chunk_id] = _Sign(event.ts)
            case ev.AgentReactionEvent():
                self._tell(event.agent, deeds.reaction(self.state, event), "deed")
            case ev.FragmentsRetractedEvent():
                self._sign(event.chunk_id).tail.cut(event.keep)
                self._tell(event.agent, deeds.retraction(event), "retraction")
            case ev.SystemMessageEvent():
                self._tell("", event.message, event.level)
                if event.level != "info":
                    self.troubles.append(event)
            case ev.CorrectionEvent():
                self._tell("", f"Correction: {event.reason}", "warning")
            case ev.StateSnapshotEvent():
                self._signs.clear()
                self._syntheses.clear()
            case _:
                pass

    def note(self, text: str) -> None:
        """Take a line that somebody else wrote while the board is shown."""
        self._tell("", text, "warning")

    def panels(self) -> list[Panel]:
        """Return the agents' panels, in the order of the cast."""
        return [
            self._panel(agent, number)
            for number, agent in enumerate(self.state.agents)
            if agent.role != "synthesizer"
        ]

    def synthesis(self) -> Panel:
        """Return the panel of the answer that is being put together."""
        state = self.state
        number, agent = next(
            ((n, a) for n, a in enumerate(state.agents) if a.role == "synthesizer"), (len(state.agents), None)
        )
        running = [s for s in state.syntheses.values() if s.status == "running"]
        running.sort(key=lambda s: self._order(s.section))
        shown = running or list(state.syntheses.values())[-1:]
        parts = tuple(
            Part(self._place(s.section), s.text, self._syntheses.setdefault(s.section, Tail()), "")
            for s in shown
        )
        activity: Activity = "writing" if running else "done" if shown else "waiting"
        if activity == "done" and len(state.syntheses) < len(state.sections) - self._has_opening():
            activity = "waiting"
        model = f"{agent.provider}/{agent.model}" if agent else ""
        return Panel("Synthesis", _icon("synthesizer"), number, one_line(model, 80), activity, None, parts)

    def _panel(self, agent: ev.AgentInfo, number: int) -> Panel:
        chunks = [chunk for chunk in self.state.chunks.values() if chunk.agent == agent.name]
        running = [chunk for chunk in chunks if chunk.status == "running"]
        running.sort(key=lambda c: self._order(c.section))  # as in the answer
        activities = [self._activity(chunk) for chunk in running or chunks]
        parts = tuple(
            Part(self._place(c.section), c.text, self._sign(c.chunk_id).tail, self._sign(c.chunk_id).note)
            for c in running or chunks[-1:]
        )
        return Panel(
            name=one_line(words.title(agent.name), 40),
            icon=_icon(agent.role),
            number=number,
            model=one_line(f"{agent.provider}/{agent.model}", 80),
            activity=min(activities, key=_LIVELIEST.index, default="waiting"),
            time=self._time(chunks),
            parts=parts,
        )

    def _activity(self, chunk: ev.ChunkState) -> Activity:
        if chunk.status == "completed":
            return "failed" if chunk.finish_reason == "error" else "done"
        return self._sign(chunk.chunk_id).activity

    def _time(self, chunks: list[ev.ChunkState]) -> float | None:
        """Return how long the agent has been at work, from its first chunk on."""
        if not chunks:
            return None
        began = [self._sign(chunk.chunk_id).began for chunk in chunks]
        ends = [
            start + chunk.duration_s if chunk.duration_s is not None and chunk.status == "completed" else None
            for start, chunk in zip(began, chunks, strict=True)
        ]
        known = [end for end in ends if end is not None]
        return (max(known) if len(known) == len(ends) else self.now) - min(began)

    def _take_sign(self, event: ev.AgentThinkingEvent) -> None:
        sign, chunk = self._sign(event.chunk_id), self.state.chunks.get(event.chunk_id)
        if event.message.startswith(_RETRYING):
            sign.activity = "retrying"
        else:
            sign.activity = "waiting" if chunk and chunk.text else "thinking"
        sign.note = one_line(f"{event.message} ({words.seconds(event.waiting_s)})", 120)

    def _sign(self, chunk_id: str) -> _Sign:
        sign = self._signs.get(chunk_id)
        if sign is None:
            sign = self._signs[chunk_id] = _Sign(self.state.ts)
        return sign

    def _tell(self, agent: str, text: str, tone: NewsTone) -> None:
        number = next((n for n, info in enumerate(self.state.agents) if info.name == agent), None)
        who = one_line(words.title(agent), 40)
        self.news.append(News(self.state.ts, who, number, one_line(text, 300), tone))

    def _place(self, section: str) -> str:
        if len(self.state.sections) < 2:
            return ""
        return one_line(next((s.title for s in self.state.sections if s.id == section), section), 60)

    def _order(self, section: str) -> int:
        return next((n for n, info in enumerate(self.state.sections) if info.id == section), 0)

    def _has_opening(self) -> bool:
        """Whether the first section is the one in which the task is divided; it has no synthesis of its own."""
        return len(self.state.sections) > 1 and self.state.sections[0].id == "task"


def _icon(role: str) -> str:
    known = built_in_roles().get(role)
    return known.icon if known else "•"
