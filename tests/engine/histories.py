"""Histories of a few authors who write and are shown what the others wrote, as provenances."""

from __future__ import annotations

from typing import TypeAlias

from hypothesis import strategies as st

from facilitair.engine.provenance import Exposure, Provenance

AUTHORS = ("a", "b", "c", "d")
Chunks: TypeAlias = dict[str, Provenance]


@st.composite
def histories(draw: st.DrawFn) -> Chunks:
    """Return what is known of each author's text after they wrote, and were shown, this and that."""
    chunks = {name: Provenance(name) for name in AUTHORS}
    lengths = dict.fromkeys(AUTHORS, 0)
    authors = st.sampled_from(AUTHORS)
    what = st.sampled_from(["ends a fragment", "ends a fragment", "writes on", "is shown", "is shown"])
    acts = st.lists(st.tuples(what, authors, authors, st.integers(1, 9)), max_size=40)
    for act, author, peer, size in [("ends a fragment", draw(authors), "", 5), *draw(acts)]:
        own = chunks[author]
        if act == "is shown":
            new = tuple(own.unseen(chunks[peer]))
            if new and author != peer:
                own.expose(lengths[author], new)
            continue
        lengths[author] += size
        if act == "ends a fragment":
            start = max((f.end for f in own.fragments.values()), default=0)
            own.add(len(own.fragments) + 1, start, lengths[author])
    return chunks


@st.composite
def named(draw: st.DrawFn) -> tuple[Chunks, str]:
    """Return a history and a fragment in it."""
    chunks = draw(histories())
    return chunks, draw(st.sampled_from(fragments_of(chunks)))


def chunk(name: str, ends: list[int], *exposures: Exposure) -> Provenance:
    """Return a text of fragments that end there, whose author was shown that."""
    provenance = Provenance(name)
    for exposure in exposures:
        provenance.expose(exposure.position, exposure.fragments)
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False), 1):
        provenance.add(number, start, end)
    return provenance


def fragments_of(chunks: Chunks) -> list[str]:
    """Return the ids of all fragments that stand."""
    return [name for provenance in chunks.values() for name in provenance.fragments]
