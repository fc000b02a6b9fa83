"""Weaving: several agents write at once, one screen shows them, and no line ever holds two of them.

Text waits here until its agent may have the line. Complete pieces (they end at a line end or a fragment's end)
and unfinished ones differ. With `whole` only complete pieces go out, at once: that is for logs. Without it, one
agent holds the line and its text goes out as it comes; the line passes on when the holder's piece is complete,
when it falls silent, or when another's complete piece has waited `READY_PATIENCE` or an unfinished one
`OPEN_PATIENCE`. So a single agent is shown token by token, and nobody waits long behind another.

Pure: `now`, monotonic seconds, is an argument. Positions count code points of the agent's text as folded;
sanitising happens on the way out, per chunk, so that an escape sequence split over pieces is still seen as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from .sanitize import Sanitizer, clean

READY_PATIENCE: Final = 0.5
OPEN_PATIENCE: Final = 1.5


@dataclass(frozen=True, slots=True)
class Piece:
    """Text to show: what text it belongs to, when it goes out, and whether it begins a line of its text."""

    chunk_id: str
    ts: float
    text: str
    starts_line: bool


@dataclass(slots=True)
class _Chunk:
    chunk_id: str
    text: str = ""
    shown: int = 0
    ready: int = 0
    since: float = 0.0  # since when text waits
    active: float = 0.0  # when text last came
    sanitizer: Sanitizer = field(default_factory=Sanitizer)

    @property
    def open(self) -> bool:
        """Whether what was shown stops inside a piece."""
        return self.shown > self.ready

    @property
    def waits(self) -> bool:
        return self.shown < len(self.text)


class Weaver:
    """Orders the text of all chunks for one screen."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._chunks: dict[str, _Chunk] = {}
        self._holder: _Chunk | None = None

    def write(self, chunk_id: str, text: str, now: float) -> None:
        """Take the chunk's whole text as it stands now."""
        chunk = self._chunks.setdefault(chunk_id, _Chunk(chunk_id))
        if not chunk.waits:
            chunk.since = now
        chunk.text, chunk.active = text, now
        chunk.ready = max(chunk.ready, text.rfind("\n") + 1)

    def boundary(self, chunk_id: str, end: int) -> None:
        """A fragment ends at `end`."""
        if chunk := self._chunks.get(chunk_id):
            chunk.ready = max(chunk.ready, min(end, len(chunk.text)))

    def close(self, chunk_id: str, ts: float, now: float) -> Iterator[Piece]:
        """Yield what was left of the chunk: it is complete and waits for nobody."""
        if chunk := self._chunks.get(chunk_id):
            chunk.ready = len(chunk.text)
            yield from self._emit(chunk, chunk.ready, ts, now)

    def cut(self, chunk_id: str, keep: int) -> str:
        """Forget the chunk's text from `keep` on; return what of it had been shown."""
        chunk = self._chunks.get(chunk_id)
        if chunk is None or keep >= len(chunk.text):
            return ""
        taken_back = clean(chunk.text[keep : chunk.shown]) if keep < chunk.shown else ""
        chunk.text = chunk.text[:keep]
        chunk.shown, chunk.ready = min(chunk.shown, keep), min(chunk.ready, keep)
        if taken_back:
            chunk.sanitizer = Sanitizer()
            chunk.sanitizer.feed(chunk.text)
        return taken_back

    def free(self, now: float) -> bool:
        """Whether nobody is in the middle of a piece on the screen."""
        holder = self._holder
        return self._whole or holder is None or not holder.open or now - holder.active >= READY_PATIENCE

    def pieces(self, ts: float, now: float) -> Iterator[Piece]:
        """Yield what may be shown now, in order, stamped with `ts`."""
        if self._whole:
            for chunk in self._chunks.values():
                yield from self._emit(chunk, chunk.ready, ts, now)
            return
        holder = self._holder
        if holder is not None:
            yield from self._emit(holder, len(holder.text), ts, now)
        waiting = sorted(
            (c for c in self._chunks.values() if c.waits and c is not holder), key=lambda c: c.since
        )
        free = self.free(now)
        if not free and not any(_overdue(chunk, now) for chunk in waiting):
            return
        for chunk in waiting:
            yield from self._emit(chunk, chunk.ready, ts, now)
        heir = next((c for c in waiting if c.waits), None)
        if heir is not None and (free or now - heir.since >= OPEN_PATIENCE):
            self._holder = heir
            yield from self._emit(heir, len(heir.text), ts, now)

    def _emit(self, chunk: _Chunk, end: int, ts: float, now: float) -> Iterator[Piece]:
        if end <= chunk.shown:
            return
        start, chunk.shown = chunk.shown, end
        text = chunk.sanitizer.feed(chunk.text[start:end])
        chunk.since = now
        if text:
            yield Piece(chunk.chunk_id, ts, text, start == 0 or chunk.text[start - 1] == "\n")


def _overdue(chunk: _Chunk, now: float) -> bool:
    patience = READY_PATIENCE if chunk.ready > chunk.shown else OPEN_PATIENCE
    return now - chunk.since >= patience
