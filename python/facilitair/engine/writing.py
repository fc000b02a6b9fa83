"""From released text to events: the text of a chunk is fed line by line, so that a control line takes effect before
what follows it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from facilitair_rust import Boundary, Control, Text

from .provenance import Fragment
from .speaker import Speaker
from .turn import Turn

Segment = Text | Boundary | Control


class ControlHandler(Protocol):
    """Acts on a control line of a turn."""

    def __call__(self, turn: Turn, control: Control) -> None:
        """Act on `control`."""
        ...


class Writer:
    """Feeds turns and says what came of it: text of one delta is said once, then the fragments it closed."""

    def __init__(self, speaker_of: Callable[[Turn], Speaker], on_control: ControlHandler) -> None:
        self._speaker_of = speaker_of
        self._on_control = on_control
        self._tokens: list[str] = []
        self._fragments: list[Fragment] = []

    def write(self, turn: Turn, text: str) -> bool:
        """Add `text` to the turn; return whether a fragment was closed."""
        closed = False
        for line in text.splitlines(keepends=True) if "\n" in text else (text,):
            closed = self._take(turn, turn.text.feed(line)) or closed
        self._say(turn)
        return closed

    def finish(self, turn: Turn) -> None:
        """Release what the text still holds and close its last fragment."""
        self._take(turn, turn.text.flush())
        self._say(turn)

    def _take(self, turn: Turn, segments: list[Segment]) -> bool:
        closed = False
        for segment in segments:
            match segment:
                case Text():
                    self._tokens.append(segment.text)
                case Boundary() if segment.end > len(turn.text):
                    pass  # a retraction in the same breath took it back
                case Boundary():
                    closed = True
                    turn.own_since += 1
                    self._fragments.append(turn.provenance.add(segment.number, segment.start, segment.end))
                case Control():
                    self._say(turn)
                    self._on_control(turn, segment)
        return closed

    def _say(self, turn: Turn) -> None:
        speaker = self._speaker_of(turn)
        if self._tokens:
            speaker.wrote(turn, "".join(self._tokens))
            self._tokens.clear()
        for fragment in self._fragments:
            speaker.closed_fragment(turn, fragment)
        self._fragments.clear()
