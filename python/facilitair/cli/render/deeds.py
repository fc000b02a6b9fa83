"""What agents do with each other's text, in words: reactions and retractions, and whose fragments they concern."""

from __future__ import annotations

from typing import Final

from ... import events as ev
from . import words
from .sanitize import one_line

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


def reaction(state: ev.RunState, event: ev.AgentReactionEvent) -> str:
    """Return what the agent does with what it was shown."""
    return f"{_ACTIONS[event.action]} {_quoted(state, event.because)} ({event.tier})"


def retraction(event: ev.FragmentsRetractedEvent) -> str:
    """Return what is taken back and why, without the text itself."""
    lead = f"{_CAUSES[event.cause]} {words.count(len(event.fragments), 'fragment')}"
    return f"{lead} ({event.reason})" if event.reason else lead


def _quoted(state: ev.RunState, fragments: tuple[str, ...]) -> str:
    """Return whose fragments these are, `Architect #2-#6, Coder #1`, and how the first begins."""
    numbers: dict[str, list[str]] = {}
    for fragment in fragments:
        chunk_id, _, number = fragment.rpartition("#")
        chunk = state.chunks.get(chunk_id)
        numbers.setdefault(words.title(chunk.agent) if chunk else chunk_id, []).append(f"#{number}")
    names = ", ".join(
        f"{name} {of[0]}" if len(of) == 1 else f"{name} {of[0]}-{of[-1]}" for name, of in numbers.items()
    )
    beginning = _text_of(state, fragments[0]) if fragments else ""
    return (names or "the others") + (f" “{beginning}”" if beginning else "")


def _text_of(state: ev.RunState, fragment: str) -> str:
    chunk = state.chunks.get(fragment.rpartition("#")[0])
    place = next((f for f in chunk.fragments if f.id == fragment), None) if chunk else None
    return one_line(chunk.text[place.start : place.end], 60) if chunk and place else ""
