"""How what a turn does becomes events: a chunk's events for an agent, a synthesis' events for the synthesizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from .. import events as ev
from ..stream import EventStream
from .provenance import Cut, Fragment
from .rulings import Retraction
from .turn import AgentTurn


class Place(msgspec.Struct, frozen=True):
    """Where a chunk stands among the chunks and sections known so far, counted from 1."""

    current: int
    total: int
    section_index: int
    section_total: int


class TurnSpeaker(Protocol):
    """Says what a turn does."""

    def started(self, turn: AgentTurn) -> None:
        """The turn begins."""
        ...

    def wrote(self, turn: AgentTurn, tokens: str, keep: int | None = None) -> None:
        """New text, behind the first `keep` code points."""
        ...

    def closed_fragment(self, turn: AgentTurn, fragment: Fragment) -> None:
        """A fragment can be read by peers."""
        ...

    def cut(self, turn: AgentTurn, cut: Cut, why: Retraction, /) -> None:
        """Text is taken back."""
        ...

    def completed(self, turn: AgentTurn) -> None:
        """The turn ended."""
        ...


class ChunkSpeaker:
    """Speaks for the agents."""

    def __init__(self, events: EventStream, place: Callable[[AgentTurn], Place]) -> None:
        self._events = events
        self._place = place

    def started(self, turn: AgentTurn) -> None:
        """Emit `chunk_started`."""
        place = self._place(turn)
        self._events.say(
            ev.ChunkStartedEvent(
                chunk_id=turn.id,
                section=turn.section,
                agent=turn.agent.name,
                role=turn.agent.spec.role,
                model=turn.model.name,
                description=f"{turn.agent.role.title} on {turn.section}",
                current=place.current,
                total=place.total,
                section_index=place.section_index,
                section_total=place.section_total,
            )
        )

    def wrote(self, turn: AgentTurn, tokens: str, keep: int | None = None) -> None:
        """Emit `token_stream`."""
        self._events.say(
            ev.TokenStreamEvent(chunk_id=turn.id, agent=turn.agent.name, tokens=tokens, keep=keep)
        )

    def closed_fragment(self, turn: AgentTurn, fragment: Fragment) -> None:
        """Emit `fragment`."""
        self._events.say(
            ev.FragmentEvent(
                chunk_id=turn.id,
                fragment=fragment.id,
                start=fragment.start,
                end=fragment.end,
                derived_from=fragment.derived_from,
            )
        )

    def cut(self, turn: AgentTurn, cut: Cut, retraction: Retraction) -> None:
        """Emit `fragments_retracted`."""
        self._events.say(
            ev.FragmentsRetractedEvent(
                chunk_id=turn.id,
                agent=turn.agent.name,
                fragments=cut.fragments,
                keep=cut.keep,
                cause=retraction.cause,
                root=retraction.root,
                reason=retraction.reason,
            )
        )

    def completed(self, turn: AgentTurn) -> None:
        """Close the chunk."""
        self._events.close_chunk(turn.id, turn.finish_reason, turn.figures)


class SynthesisSpeaker:
    """Speaks for the synthesizer, whose text is a section's answer and no chunk. Of several sections each begins with
    its `heading`, a block of its own; empty: there is one section."""

    def __init__(self, events: EventStream, heading: Callable[[str], str]) -> None:
        self._events = events
        self._heading = heading
        self._headed: dict[str, int] = {}  # the length of a section's heading, once it was said

    def started(self, turn: AgentTurn) -> None:
        """Say nothing: the first text says it."""

    def wrote(self, turn: AgentTurn, tokens: str, keep: int | None = None) -> None:
        """Emit `synthesis_stream`."""
        self._write(turn.section, tokens, keep)

    def closed_fragment(self, turn: AgentTurn, fragment: Fragment) -> None:
        """Say nothing: nobody reads a synthesis while it is written."""

    def cut(self, turn: AgentTurn, cut: Cut, _: Retraction) -> None:
        """Emit a `synthesis_stream` that takes text back."""
        self._write(turn.section, "", cut.keep)

    def completed(self, turn: AgentTurn) -> None:
        """Close the synthesis."""
        self._events.close_synthesis(turn.section, turn.finish_reason)

    def gave(self, section: str, content: str, finish_reason: str) -> None:
        """Say that agents' text is the answer of a section, whatever was said before."""
        self._write(section, content, 0 if section in self._headed else None)
        self._events.close_synthesis(section, finish_reason)

    def _write(self, section: str, tokens: str, keep: int | None) -> None:
        if section not in self._headed:
            heading = self._heading(section)
            tokens, self._headed[section] = heading + tokens, len(heading)
        elif keep is not None:
            keep += self._headed[section]
        self._events.say(ev.SynthesisStreamEvent(section=section, tokens=tokens, keep=keep))
