"""A run as text that is only ever appended to: the debate, labelled by agent, and the answer.

OpenAI's protocol can only append, so the answer gets a section when its synthesis stands, in the order of the sections;
what is revised after that is followed, at the end, by the whole corrected answer. In the debate, text taken back is
marked as such, and a code fence that is open when the floor changes is closed, and opened again for who comes back to
it. Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from .. import events as ev
from ..stream import EventStream

# An agent takes the floor from another with this many characters, or with the end of its turn.
_WORTH_A_TURN: Final = 280
_LINE: Final = 200  # more of a line than this says nothing of a fence


@dataclass(frozen=True, slots=True)
class Addition:
    """Text to append, to the debate or to the answer."""

    field: Literal["reasoning_content", "content"]
    text: str


class Transcript:
    """Turns the events of a run into text that is only ever appended to. Pure: no I/O, no clock."""

    def __init__(self) -> None:
        self._events = EventStream("")
        self._told: dict[str, int] = {}  # by chunk: how much of its text has been told
        self._settled: dict[str, int] = {}  # by chunk: up to where its text stands in fragments
        self._speaker: str | None = None  # the chunk that has the floor
        self._fences: dict[str, Fence] = {}  # by chunk: that in which its told text ends
        self._sections = 0
        self._answer = ""

    @property
    def state(self) -> ev.RunState:
        """The run as folded so far."""
        return self._events.state

    def take(self, event: ev.AnyEvent) -> Iterator[Addition]:
        """Return what the event adds."""
        self._events.take(event)
        match event:
            case ev.TaskStartedEvent(simulated=True):
                yield from self._note("the models of this run are simulated: their text is scripted")
            case ev.SystemMessageEvent(level="warning" | "error"):
                yield from self._note(event.message)
            case ev.TokenStreamEvent() if event.keep is not None:
                yield from self._cut(event.chunk_id, event.keep, "begins anew here")
            case ev.FragmentEvent():
                self._settled[event.chunk_id] = event.end
                yield from self._tell(event.chunk_id, last=False)
            case ev.FragmentsRetractedEvent():
                yield from self._cut(event.chunk_id, event.keep, f"takes this back: {event.reason}")
            case ev.ChunkCompletedEvent():
                self._settled[event.chunk_id] = len(event.content)
                yield from self._tell(event.chunk_id, last=True)
            case ev.StateSnapshotEvent():
                for chunk_id, chunk in self.state.chunks.items():
                    self._settled[chunk_id] = len(chunk.text)
                    self._told[chunk_id] = min(self._told.get(chunk_id, 0), len(chunk.text))
                yield from self._stand()
            case ev.SynthesisCompletedEvent() | ev.TaskProgressEvent():
                yield from self._stand()
            case ev.TaskCompletedEvent():
                yield from self._finish(event.content)
            case _:
                pass

    def _tell(self, chunk_id: str, *, last: bool) -> Iterator[Addition]:
        chunk = self.state.chunks.get(chunk_id)
        if chunk is None or len(self.state.agents) == 1:  # one alone debates with nobody: it is the answer
            return
        new = said = chunk.text[self._told.get(chunk_id, 0) : self._settled[chunk_id]]
        interrupts = self._speaker not in (None, chunk_id)
        if not new.strip() or (interrupts and not last and len(new) < _WORTH_A_TURN):
            return
        self._told[chunk_id] = self._settled[chunk_id]
        fence = self._fences.setdefault(chunk_id, Fence())
        if self._speaker != chunk_id:
            again = fence.opening
            new = self._closing() + self._label(chunk) + (f"\n{again}\n" if again else "") + new.lstrip("\n")
            self._speaker = chunk_id
        fence.feed(said)
        yield Addition("reasoning_content", new)

    def _closing(self) -> str:
        """Return what closes the fence that the speaker leaves open."""
        fence = self._fences.get(self._speaker or "")
        return f"\n{_run(fence.opening)}" if fence is not None and fence.opening else ""

    def _label(self, chunk: ev.ChunkState) -> str:
        title = next((s.title for s in self.state.sections if s.id == chunk.section), None)
        place = f" ({title})" if title is not None and len(self.state.sections) > 1 else ""
        return f"\n\n**{chunk.agent}**{place}:\n"

    def _cut(self, chunk_id: str, keep: int, what: str) -> Iterator[Addition]:
        self._settled[chunk_id] = min(self._settled.get(chunk_id, 0), keep)
        if self._told.get(chunk_id, 0) <= keep:
            return
        self._told[chunk_id] = keep
        if chunk_id == self._speaker and (closing := self._closing()):
            yield Addition("reasoning_content", closing)
            self._speaker = None
        if chunk := self.state.chunks.get(chunk_id):
            fence = self._fences[chunk_id] = Fence()
            fence.feed(chunk.text[:keep])
            yield from self._note(f"{chunk.agent} {what}")

    def _note(self, text: str) -> Iterator[Addition]:
        closing, self._speaker = self._closing(), None
        yield Addition("reasoning_content", f"{closing}\n\n[{' '.join(text.split())}]\n\n")

    def _stand(self) -> Iterator[Addition]:
        """Tell the next sections whose synthesis stands."""
        for section in self.state.sections[self._sections :]:
            synthesis = self.state.syntheses.get(section.id)
            if synthesis is None or synthesis.status != "completed" or synthesis.finish_reason in ev.CUT_OFF:
                return  # what was cut off is no answer; it is told when the run stands by it at its end
            self._sections += 1
            if synthesis.text:
                yield from self._append(f"\n\n{synthesis.text}" if self._answer else synthesis.text)

    def _finish(self, content: str) -> Iterator[Addition]:
        if content.startswith(self._answer):
            yield from self._append(content[len(self._answer) :])
        else:
            yield from self._append(
                f"\n\n---\n\n**The answer was corrected while it was written. In full:**\n\n{content}"
            )

    def _append(self, text: str) -> Iterator[Addition]:
        self._answer += text
        if text:
            yield Addition("content", text)


class Fence:
    """The code fence in which a text ends, as it grows.

    As CommonMark has it: at least three backticks or tildes, indented by three blanks at most; closed by as many.
    """

    __slots__ = ("_line", "_opening")

    def __init__(self) -> None:
        self._opening = ""
        self._line = ""  # the beginning of the last line, which may grow

    @property
    def opening(self) -> str:
        """The line that opened it; empty outside of any."""
        return _after(self._opening, self._line)

    def feed(self, text: str) -> None:
        """Add `text`."""
        *lines, last = (self._line + text).split("\n")
        for line in lines:
            self._opening = _after(self._opening, line)
        self._line = last[:_LINE]


def _after(opening: str, line: str) -> str:
    """Return the line that opened the fence in which a text ends with `line`, where `opening` had opened one before."""
    stripped = line.strip()
    run = _run(stripped)
    if len(run) < 3 or len(line) - len(line.lstrip(" ")) > 3:
        return opening
    if not opening:
        return stripped if run[0] == "~" or "`" not in stripped[len(run) :] else ""
    closes = run == stripped and run[0] == opening[0] and len(run) >= len(_run(opening))
    return "" if closes else opening


def _run(line: str) -> str:
    """Return the backticks or tildes that a line begins with."""
    mark = line[:1]
    return line[: len(line) - len(line.lstrip(mark))] if mark in ("`", "~") else ""
