"""From released text to events: the text of a chunk is fed line by line, so that a control line takes effect before
what follows it is read."""

from __future__ import annotations

from typing import Protocol

from facilitair_rust import Boundary, Control, Text

from .provenance import Fragment
from .speaker import TurnSpeaker
from .turn import AgentTurn

Segment = Text | Boundary | Control


class ControlHandler(Protocol):
    """Acts on a control line of a turn."""

    def __call__(self, turn: AgentTurn, control: Control) -> str:
        """Act on `control`; return what its readers shall read in its place, if anything."""
        ...


class Writer:
    """Feeds one turn and says what came of it: text of one delta is said once, then the fragments it closed.

    Made for each delta: one that lived as long as its run and knew the run's methods would be a cycle, and the whole
    run garbage that only a pause of the collector removes.
    """

    __slots__ = ("_fragments", "_on_control", "_prose", "_speaker", "_tokens", "_turn")

    def __init__(self, turn: AgentTurn, speaker: TurnSpeaker, on_control: ControlHandler) -> None:
        self._turn = turn
        self._speaker = speaker
        self._on_control = on_control
        self._tokens: list[str] = []
        self._fragments: list[Fragment] = []
        self._prose = ""  # that stands for a control line, and is yet to be written

    def write(self, text: str) -> bool:
        """Add `text` to the turn; return whether a fragment was closed."""
        if "\n" not in text:
            segments = self._turn.draft.feed(text)
            if len(segments) == 1 and isinstance(segments[0], Text):  # as nearly always
                self._speaker.wrote(self._turn, segments[0].text)
                return False
            closed = self._take(segments)  # no control line: these end with their line
            self._say()
            return closed
        closed = False
        for line in text.splitlines(keepends=True):
            closed = self._take(self._turn.draft.feed(line)) or closed
            closed = self._write_prose() or closed
        self._say()
        return closed

    def finish(self) -> None:
        """Release what the text still holds and close its last fragment."""
        self._take(self._turn.draft.flush())
        if self._write_prose():
            self._take(self._turn.draft.flush())
        self._say()

    def _write_prose(self) -> bool:
        """Write what stands for a control line as a paragraph of its own; return whether there was any."""
        prose, self._prose = self._prose, ""
        if not prose:
            return False
        before = self._turn.text
        gap = "\n" * (2 - len(before[-2:]) + len(before[-2:].rstrip("\n"))) if before else ""
        self._take(self._turn.draft.feed(f"{gap}{prose}\n\n"))
        return True

    def _take(self, segments: list[Segment]) -> bool:
        turn = self._turn
        closed = False
        for segment in segments:
            match segment:
                case Text():
                    self._tokens.append(segment.text)
                case Boundary() if segment.end > len(turn.draft):
                    pass  # a retraction in the same breath took it back
                case Boundary():
                    closed = True
                    turn.attention.own_since += 1
                    self._fragments.append(turn.provenance.add(segment.number, segment.start, segment.end))
                case Control():
                    self._say()
                    self._prose = self._on_control(turn, segment)
        return closed

    def _say(self) -> None:
        if self._tokens:
            self._speaker.wrote(self._turn, "".join(self._tokens))
            self._tokens.clear()
        for fragment in self._fragments:
            self._speaker.closed_fragment(self._turn, fragment)
        self._fragments.clear()
