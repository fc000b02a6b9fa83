"""Who was shown what: fragments, exposures, and how far a retraction reaches.

A text derives from every fragment its author had been shown before writing it. When fragments are retracted,
each reader's text is clean up to the moment it was first shown one of them, cut back to a fragment boundary; what
it loses is retracted in turn. `cascade` is the closure of that rule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

import msgspec


class Fragment(msgspec.Struct, frozen=True, gc=False):
    """A closed piece `[start, end)` of a source's text; `id` is "<source id>#<n>". `derived_from` is what its author
    was shown since the fragment before; the piece also derives from what all earlier ones derive from."""

    id: str
    start: int
    end: int
    derived_from: tuple[str, ...]


class Exposure(msgspec.Struct, frozen=True, gc=False):
    """Peers' fragments shown to an author when its own text was `position` code points long."""

    position: int
    fragments: tuple[str, ...]


class Provenance(msgspec.Struct):
    """The standing fragments of the source `id`, in order and by id, and what its author was shown."""

    id: str
    fragments: dict[str, Fragment] = msgspec.field(default_factory=dict)
    exposures: list[Exposure] = msgspec.field(default_factory=list)
    _shown: dict[str, set[str]] = msgspec.field(default_factory=dict)  # by the source they are of

    def expose(self, position: int, fragments: tuple[str, ...]) -> None:
        """Record that the author is shown `fragments` when its text is `position` code points long."""
        self.exposures.append(Exposure(position, fragments))
        self._count(fragments)

    def hide_last(self) -> None:
        """Undo the last `expose`, because it was never sent."""
        self._replace(self.exposures[:-1])

    def was_shown(self, fragment: str) -> bool:
        """Whether the author has been shown that fragment."""
        return fragment in self._shown.get(source_of(fragment), ())

    def shown_as(self, name: str) -> tuple[str, ...]:
        """Return the fragments that the author was shown under `name`, which is an id or what prompts show of one:
        "#<n>". Several authors may each have one of that number."""
        if self.was_shown(name):
            return (name,)
        source, _, number = name.rpartition("#")
        ids = (f"{shown}#{number}" for shown in self._shown if source in ("", shown))
        return tuple(fragment for fragment in ids if self.was_shown(fragment))

    def unseen(self, source: Provenance) -> list[str]:
        """Return the ids of the fragments of `source` that this author has not been shown."""
        shown = self._shown.get(source.id, ())
        return [f for f in source.fragments if f not in shown]

    def count_unseen(self, source: Provenance) -> int:
        """Return how many fragments of `source` this author has not been shown."""
        return len(source.fragments) - len(self._shown.get(source.id, ()))

    def add(self, number: int, start: int, end: int) -> Fragment:
        """Record a closed fragment and return it."""
        new = (e for e in reversed(self.exposures) if start <= e.position < end)
        derived = tuple(f for e in reversed(list(new)) for f in e.fragments)
        fragment = Fragment(f"{self.id}#{number}", start, end, derived)
        self.fragments[fragment.id] = fragment
        return fragment

    def named(self, name: str) -> Fragment | None:
        """Return the fragment its author calls `name`: "<id>#<n>", "#<n>" or "<n>"; `None` when none stands."""
        source, _, number = name.rpartition("#")
        return self.fragments.get(f"{self.id}#{number}") if source in ("", self.id) else None

    def clean_prefix(self, tainted: frozenset[str]) -> int | None:
        """Return how many code points stay clean when `tainted` is taken back; `None`: it was shown none of it."""
        hit = [e.position for e in self.exposures if not tainted.isdisjoint(e.fragments)]
        if not hit:
            return None
        return max((f.end for f in self.fragments.values() if f.end <= min(hit)), default=0)

    def beyond(self, keep: int) -> tuple[str, ...]:
        """Return the fragments that a cut to `keep` code points takes back."""
        return tuple(f.id for f in self.fragments.values() if f.end > keep)

    def cut(self, keep: int, tainted: frozenset[str]) -> None:
        """Forget fragments beyond `keep` and the tainted exposures; innocent ones stay shown."""
        self.fragments = {f.id: f for f in self.fragments.values() if f.end <= keep}
        moved = (
            Exposure(min(e.position, keep), tuple(f for f in e.fragments if f not in tainted))
            for e in self.exposures
        )
        self._replace([e for e in moved if e.fragments])

    def _replace(self, exposures: list[Exposure]) -> None:
        self.exposures, self._shown = exposures, {}
        for exposure in exposures:
            self._count(exposure.fragments)

    def _count(self, fragments: tuple[str, ...]) -> None:
        for fragment in fragments:
            self._shown.setdefault(source_of(fragment), set()).add(fragment)


def source_of(fragment: str) -> str:
    """Return the id of the source that a fragment is of."""
    return fragment.rpartition("#")[0]


class Cut(msgspec.Struct, frozen=True, gc=False):
    """One chunk's share of a retraction: keep `keep` code points, lose `fragments`."""

    chunk_id: str
    keep: int
    fragments: tuple[str, ...]


def cascade(chunks: Mapping[str, Provenance], origin: str, keep: int) -> tuple[list[Cut], frozenset[str]]:
    """Return the cuts that follow when chunk `origin` is cut to `keep`, the origin's own first, and all fragments
    they take back. Each chunk appears once, with its deepest cut."""
    keeps: dict[str, int] = {origin: keep}
    tainted = set(chunks[origin].beyond(keep))
    work = deque([origin])
    while work:
        work.popleft()
        for chunk_id, clean in _reached(chunks, frozenset(tainted)):
            if clean < keeps.get(chunk_id, 1 << 62):
                keeps[chunk_id] = clean
                tainted.update(chunks[chunk_id].beyond(clean))
                work.append(chunk_id)
    cuts = [Cut(c, k, chunks[c].beyond(k)) for c, k in keeps.items()]
    return cuts, frozenset(tainted)


def _reached(chunks: Mapping[str, Provenance], tainted: frozenset[str]) -> Iterable[tuple[str, int]]:
    for chunk_id, provenance in chunks.items():
        clean = provenance.clean_prefix(tainted)
        if clean is not None:
            yield chunk_id, clean
