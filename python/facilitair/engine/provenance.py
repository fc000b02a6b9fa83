"""Who was shown what: fragments, exposures, and how far a retraction reaches.

A text derives from every fragment its author had been shown before writing it. When fragments are retracted,
each reader's text is clean up to the moment it was first shown one of them, cut back to the end of a whole fragment;
what it loses is retracted in turn. `cascade` is the closure of that rule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

State = Literal["still being written", "complete", "broken off"]
_GROUND: Final = 200  # code points, headings aside
_REVIEWABLE: Final = 3  # blocks


class Fragment(msgspec.Struct, frozen=True, gc=False):
    """A closed piece `[start, end)` of a source's text; `id` is "<source id>#<n>". `derived_from` is what its author
    was shown since the fragment before; the piece also derives from what all earlier ones derive from. One that is not
    `whole` was cut off only because it was long, and no text may end there."""

    id: str
    start: int
    end: int
    derived_from: tuple[str, ...]
    whole: bool = True


class Part(msgspec.Struct, frozen=True, gc=False):
    """A closed block that ends at `end`: `size` code points that are no heading."""

    end: int
    size: int
    code: bool


class Glimpse(msgspec.Struct, frozen=True):
    """How a source stood when it was shown: what was to be expected of it, and the fragments that a cap hid."""

    state: State = "complete"
    hidden: tuple[str, ...] = ()


class Exposure(msgspec.Struct, frozen=True, gc=False):
    """Peers' fragments shown to an author when its own text was `position` code points long, with how their sources
    stood."""

    position: int
    fragments: tuple[str, ...]
    sources: Mapping[str, Glimpse] = msgspec.field(default_factory=dict)


class Provenance(msgspec.Struct):
    """The standing fragments and blocks of the source `id`, in order, and what its author was shown."""

    id: str
    fragments: dict[str, Fragment] = msgspec.field(default_factory=dict)
    parts: list[Part] = msgspec.field(default_factory=list)
    exposures: list[Exposure] = msgspec.field(default_factory=list)
    _shown: dict[str, set[str]] = msgspec.field(default_factory=dict)  # by the source they are of
    _passed: dict[str, set[str]] = msgspec.field(default_factory=dict)  # with those that a cap hid

    def expose(
        self, position: int, fragments: tuple[str, ...], sources: Mapping[str, Glimpse] | None = None
    ) -> None:
        """Record that the author is shown `fragments` when its text is `position` code points long."""
        exposure = Exposure(position, fragments, sources or {})
        self.exposures.append(exposure)
        self._count(exposure)

    def hide_last(self) -> None:
        """Undo the last `expose`, because it was never sent."""
        self._replace(self.exposures[:-1])

    def hide_news(self, position: int) -> bool:
        """Undo the last `expose`, if it was at `position` and that is not the beginning; return whether it was."""
        if not position or not self.exposures or self.exposures[-1].position != position:
            return False
        self.hide_last()
        return True

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
        """Return the ids of the fragments of `source` that this author has not been shown, and no cap hid."""
        passed = self._passed.get(source.id, ())
        return [f for f in source.fragments if f not in passed]

    def add(self, number: int, start: int, end: int, *, whole: bool = True) -> Fragment:
        """Record a closed fragment and return it."""
        new = (e for e in reversed(self.exposures) if start <= e.position < end)
        derived = tuple(f for e in reversed(list(new)) for f in e.fragments)
        fragment = Fragment(f"{self.id}#{number}", start, end, derived, whole)
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
        return self.whole_end(min(hit))

    def whole_end(self, position: int) -> int:
        """Return the last place up to `position` where the text may end."""
        return max((f.end for f in self.fragments.values() if f.whole and f.end <= position), default=0)

    def offers_ground(self, *, review: bool) -> bool:
        """Whether enough stands to begin on: a whole block, and some 200 code points that are no heading; for a
        `review`, a whole block of code or three blocks."""
        said = [part for part in self.parts if part.size]
        if review and not (any(part.code for part in said) or len(said) >= _REVIEWABLE):
            return False
        return sum(part.size for part in said) >= _GROUND

    def beyond(self, keep: int) -> tuple[str, ...]:
        """Return the fragments that a cut to `keep` code points takes back."""
        return tuple(f.id for f in self.fragments.values() if f.end > keep)

    def cut(self, keep: int, tainted: frozenset[str]) -> None:
        """Forget fragments and blocks beyond `keep` and the tainted exposures; innocent ones stay shown."""
        self.fragments = {f.id: f for f in self.fragments.values() if f.end <= keep}
        self.parts = [part for part in self.parts if part.end <= keep]
        moved = (
            Exposure(min(e.position, keep), tuple(f for f in e.fragments if f not in tainted), e.sources)
            for e in self.exposures
        )
        self._replace([e for e in moved if e.fragments])

    def _replace(self, exposures: list[Exposure]) -> None:
        self.exposures, self._shown, self._passed = exposures, {}, {}
        for exposure in exposures:
            self._count(exposure)

    def _count(self, exposure: Exposure) -> None:
        for fragment in exposure.fragments:
            self._shown.setdefault(source_of(fragment), set()).add(fragment)
            self._passed.setdefault(source_of(fragment), set()).add(fragment)
        for source, glimpse in exposure.sources.items():
            self._passed.setdefault(source, set()).update(glimpse.hidden)


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
