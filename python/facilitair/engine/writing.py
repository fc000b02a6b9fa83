"""From released text to events: the text of a chunk is fed line by line, so that a control line takes effect before
what follows it is read."""

from __future__ import annotations

from typing import Protocol

from facilitair_rust import Block, Boundary, Control, Segment, Text

from .includes import Insert
from .provenance import Fragment, Part
from .seam import LineSeam, Outcome, gap
from .speaker import TurnSpeaker
from .turn import AgentTurn


class Director(Protocol):
    """Decides what follows from what a turn wrote."""

    def control(self, turn: AgentTurn, control: Control) -> str:
        """Act on a control line; return what its readers shall read in its place, if anything."""
        ...

    def stops(self, turn: AgentTurn) -> bool:
        """Whether the turn, whose text may end here, is stopped; what follows here is then neither shown nor kept."""
        ...


class Writer:
    """Feeds one turn and says what came of it: text of one delta is said once, then the fragments it closed.

    Made for each delta: one that lived as long as its run and knew the run's methods would be a cycle, and the whole
    run garbage that only a pause of the collector removes.
    """

    __slots__ = (
        "_director",
        "_fragments",
        "_prose",
        "_shown",
        "_speaker",
        "_stoppable",
        "_stopped",
        "_tokens",
        "_turn",
    )

    def __init__(self, turn: AgentTurn, speaker: TurnSpeaker, director: Director) -> None:
        self._turn = turn
        self._speaker = speaker
        self._director = director
        self._tokens: list[str] = []
        self._fragments: list[Fragment] = []
        self._shown = len(turn.draft)
        self._stopped = False
        self._stoppable = True
        self._prose = ""  # that stands for a control line, and is yet to be written

    def write(self, text: str) -> bool:
        """Add `text` to the turn; return whether a block was closed."""
        if self._waits():
            self._turn.inclusions.backlog.append(text)
            return False
        if "\n" not in text and self._turn.begins_line is None:
            segments = self._turn.draft.feed(text)
            if len(segments) == 1 and isinstance(segments[0], Text):  # as nearly always
                self._speaker.wrote(self._turn, segments[0].text)
                return False
            closed = self._take(segments)  # no control line: these end with their line
            self._say()
            return closed
        closed = False
        lines = text.splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            closed = self._take(self._turn.draft.feed(self._on_its_line(line))) or closed
            closed = self._write_prose() or closed
            if self._stopped:
                break
            if self._waits():
                self._turn.inclusions.backlog += lines[number:]
                break
        self._say()
        return closed

    def _waits(self) -> bool:
        """Whether the text waits for what it takes over."""
        return self._turn.inclusions.wanted is not None

    def _on_its_line(self, text: str) -> str:
        """Return `text` behind what its author took back, beginning a line of its own."""
        seam = self._turn.begins_line
        if seam is None:
            return text
        text = seam.feed(text).text
        if seam.outcome is Outcome.TEXT:
            self._turn.begins_line = None
        return text

    def obey(self, control: Control) -> bool:
        """Act on a control line that stands for itself; return whether what it says closed a block."""
        return self.say(self._director.control(self._turn, control))

    def say(self, prose: str) -> bool:
        """Write a paragraph that stands for a control line; return whether a block was closed."""
        self._prose = prose
        closed = self._write_prose()
        self._say()
        return closed

    def insert(self, piece: str, line: str, source: str) -> None:
        """Take `piece` over into the text as a block of its own, in place of `line`."""
        turn = self._turn
        before = turn.text
        if before:
            self._take(turn.draft.feed(gap(before, fenced=False)))
        self._stoppable = False  # what its author wrote behind the line is still to come
        self._take(turn.draft.insert(piece))
        self._say()
        end = len(turn.draft)
        turn.inclusions.taken.append(Insert(end - len(piece), end, line, source))
        turn.begins_line = LineSeam(turn.text, fenced=False)

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
        self._shown = len(self._turn.draft)
        self._take(self._turn.draft.feed(f"{gap(self._turn.text, fenced=False)}{prose}\n\n"))
        return True

    def _take(self, segments: list[Segment]) -> bool:
        turn = self._turn
        closed = False
        for segment in segments:
            match segment:
                case Text(start, text):
                    self._write(start, text)
                case Boundary() | Block() if segment.end > len(turn.draft):
                    pass  # a retraction in the same breath took it back
                case Boundary():
                    self._fragments.append(
                        turn.provenance.add(
                            segment.number, segment.start, segment.end, whole=not segment.forced
                        )
                    )
                    if segment.in_code and turn.model.tier == "prefill" and self._stop(segment.end):
                        return closed
                case Block():
                    closed = True
                    self._close(segment)
                    if self._stop(segment.end):
                        return closed
                case Control():
                    self._say()
                    self._prose = self._director.control(turn, segment)
                    self._shown = len(turn.draft)
        return closed

    def _write(self, start: int, text: str) -> None:
        if start < self._shown:  # a line that was shown turned out to be a control line
            self._say()
            self._speaker.wrote(self._turn, "", start)
        if text:
            self._tokens.append(text)
        self._shown = start + len(text)

    def _close(self, block: Block) -> None:
        body = self._turn.text[block.body : block.end].strip()
        size = 0 if block.kind == "heading" else len(body)
        self._turn.provenance.parts.append(Part(block.end, size, block.kind == "code"))
        self._turn.attention.own_since += 1

    def _stop(self, end: int) -> bool:
        """Stop the turn where its text may end, if that is wanted, and forget what it wrote behind that."""
        if not self._stoppable or end != self._shown or not self._director.stops(self._turn):
            return False
        self._turn.draft.truncate(end)
        self._stopped = True
        return True

    def _say(self) -> None:
        if self._tokens:
            self._speaker.wrote(self._turn, "".join(self._tokens))
            self._tokens.clear()
        for fragment in self._fragments:
            self._speaker.closed_fragment(self._turn, fragment)
        self._fragments.clear()
