"""Control lines: what an author says to the engine and not to its readers, read into values.

`ChunkText` takes each line `@@<nonce> <verb> <rest>` out of the text. What the rest of a verb means is read here;
whether its author may say it, and what follows, is decided in `run`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

MAX_TITLE_CHARACTERS: Final = 80  # of a section; the rest of the line is left out


class OutlineTitle(msgspec.Struct, frozen=True):
    """A section that the outline names."""

    title: str


class Verdict(msgspec.Struct, frozen=True):
    """What a review came to. `words` are the whole line, its reason included."""

    decision: Literal["approve", "revise", "other"]
    words: str


class Retract(msgspec.Struct, frozen=True):
    """The author takes back its own fragment of that name. `reason` may be empty."""

    fragment: str
    reason: str


class Object(msgspec.Struct, frozen=True):
    """The author finds a peer's fragment wrong. `reason` may be empty."""

    fragment: str
    reason: str


ControlLine: TypeAlias = OutlineTitle | Verdict | Retract | Object


def read_control(verb: str, rest: str) -> ControlLine | None:
    """Return what the line says, or `None` when it lacks what its verb needs, or the verb is not known."""
    reader = _READERS.get(verb)
    return None if reader is None else reader(rest)


def _outline_title(rest: str) -> OutlineTitle | None:
    title = " ".join(rest.split())[:MAX_TITLE_CHARACTERS]
    return OutlineTitle(title) if title else None


def _verdict(rest: str) -> Verdict:
    words = rest.strip()
    first = re.match(r"\W*(\w*)", words.lower())
    match "" if first is None else first[1][:5]:
        case "appro":  # approve, approved, approval
            return Verdict("approve", words)
        case "revis":
            return Verdict("revise", words)
        case _:
            return Verdict("other", words)


def _retract(rest: str) -> Retract | None:
    fragment, _, reason = rest.strip().partition(" ")
    return Retract(fragment, reason) if fragment else None


def _object(rest: str) -> Object | None:
    fragment, _, reason = rest.strip().partition(" ")
    return Object(fragment, reason) if fragment else None


_READERS: Final[Mapping[str, Callable[[str], ControlLine | None]]] = {
    "section": _outline_title,
    "verdict": _verdict,
    "retract": _retract,
    "object": _object,
}
VERBS: Final = tuple(_READERS)
