"""What an answer takes over byte for byte: files of a deliverable, in place of writing them again.

Models corrupt about a quarter of what they copy over long relays (https://arxiv.org/abs/2604.15597), so the line
`@@<nonce> include <agent>` stands for the text, in what the model is shown of its own answer as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ..artifacts import fenced_in
from .control import Include
from .source import Source

EXPANSION_LIMIT: Final = 400_000  # code points of one include


class Insert(msgspec.Struct, frozen=True):
    """A piece of an answer, from `start` to `end`, that its author wrote as `line`, and whose it is."""

    start: int
    end: int
    line: str
    source: str


class Inclusions(msgspec.Struct):
    """What an answer takes over: what it waits for now, and what it wrote behind that; what it has taken; what it
    wanted and is not there, with the place in its text. `supplied`: code that it left out was taken over."""

    wanted: Include | None = None
    backlog: list[str] = msgspec.field(default_factory=list)
    taken: list[Insert] = msgspec.field(default_factory=list)
    missing: dict[str, int] = msgspec.field(default_factory=dict)
    supplied: bool = False

    def cut(self, keep: int) -> None:
        """Forget what was wanted, and what stands beyond `keep` code points."""
        self.wanted, self.supplied = None, False
        self.backlog.clear()
        self.taken = [insert for insert in self.taken if insert.end <= keep]
        self.missing = {words: at for words, at in self.missing.items() if at <= keep}


def work_taken(wanted: Include, works: Sequence[Source]) -> tuple[Source, str] | None:
    """Return the first of `works` that has what is wanted, with that; `None` where none has it, or it is too long."""
    found = ((work, piece) for work in works if (piece := expanded(wanted, work)) is not None)
    return next((taken for taken in found if len(taken[1]) <= EXPANSION_LIMIT), None)


def expanded(wanted: Include, source: Source) -> str | None:
    """Return what `wanted` takes of the text of `source`: whole lines, or `None` where it has no such thing."""
    text = source.text
    if wanted.first is not None and wanted.last is not None:
        ids = {f"{source.id}#{number}" for number in range(wanted.first, wanted.last + 1)}
        found = [f for f in source.provenance.fragments.values() if f.id in ids]
        piece = text[found[0].start : found[-1].end].strip("\n") if found else ""
        return f"{piece}\n" if piece.strip() else None
    code = [c for c in fenced_in(text) if wanted.file is None or _is_called(c.name, wanted.file)]
    if not code:
        return None
    pieces = (
        text[c.start : c.end]
        if c.lead == c.start
        else f"{text[c.lead : c.start].strip()}\n\n{text[c.start : c.end]}"
        for c in code
    )
    return "\n\n".join(pieces) + "\n"


def _is_called(name: str | None, wanted: str) -> bool:
    return name is not None and (name == wanted or name.endswith(f"/{wanted}"))


def as_prompted(text: str, inserts: Sequence[Insert]) -> str:
    """Return `text` as its author is shown it: with its lines in place of what they took over."""
    pieces: list[str] = []
    at = 0
    for insert in inserts:
        pieces += (text[at : insert.start], f"{insert.line}\n")
        at = insert.end
    return "".join((*pieces, text[at:]))


def prompted_position(position: int, inserts: Sequence[Insert]) -> int:
    """Return where `position` of a text stands in what its author is shown."""
    moved = position
    for insert in inserts:
        if position >= insert.end:
            moved -= insert.end - insert.start - len(insert.line) - 1
        elif position > insert.start:
            moved -= position - insert.start
    return moved


def text_position(prompted: int, inserts: Sequence[Insert]) -> int:
    """Return where a position of what its author is shown stands in the text; within a line, at its piece's start."""
    at = prompted
    for insert in inserts:
        if at <= insert.start:
            break
        length = len(insert.line) + 1
        at = at + insert.end - insert.start - length if at >= insert.start + length else insert.start
    return at
