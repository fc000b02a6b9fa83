"""Rulings: which text is taken back from whom, and why. Nothing is done here; `run` carries a ruling out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..events import RetractionCause
from .provenance import Cut, Provenance, cascade


class Retraction(msgspec.Struct, frozen=True):
    """Why a chunk loses text. `root` is the fragment where it began."""

    cause: RetractionCause
    root: str
    reason: str


class Ruling(msgspec.Struct, frozen=True):
    """What follows when the fragment `root` is taken back: the cuts, its own chunk's first, and all fragments that
    they take back (`tainted`)."""

    root: str
    cuts: tuple[tuple[Cut, Retraction], ...]
    tainted: frozenset[str]


def take_back(
    chunks: Mapping[str, Provenance],
    chunk_id: str,
    fragment: str,
    reason: str,
    cause: RetractionCause = "withdrawn",
) -> Ruling | None:
    """Return what follows when `fragment` of the chunk `chunk_id` is taken back for `cause`, with all that follows it
    there and all that peers built on that; `None` when the chunk has no such fragment.

    `chunks` are all chunks by id. `fragment` is a name as its author gives it: "#<n>" or "<chunk_id>#<n>".
    """
    named = chunks[chunk_id].named(fragment)
    if named is None:
        return None
    cuts, tainted = cascade(chunks, chunk_id, named.start)
    own, others = Retraction(cause, named.id, reason), Retraction("cascade", named.id, reason)
    ruled = tuple((cut, own if cut.chunk_id == chunk_id else others) for cut in cuts)
    return Ruling(named.id, ruled, tainted)
