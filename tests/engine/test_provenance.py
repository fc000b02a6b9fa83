"""Who was shown what, and how far a retraction reaches."""

from __future__ import annotations

import pytest
from hypothesis import given

from facilitair.engine.provenance import (
    Cut,
    Exposure,
    Glimpse,
    Part,
    Provenance,
    cascade,
    source_of,
)

from .histories import Chunks, chunk, fragments_of, named


def reached(chunks: Chunks, origin: str, keep: int) -> set[str]:
    """Return what a cut takes back, found one fragment at a time: what its author wrote, wholly or in part, after it
    was shown anything taken back."""
    gone = {f.id for f in chunks[origin].fragments.values() if f.end > keep}
    while True:
        more = {
            fragment.id
            for provenance in chunks.values()
            for fragment in provenance.fragments.values()
            for exposure in provenance.exposures
            if exposure.position < fragment.end and gone & set(exposure.fragments)
        }
        if more <= gone:
            return gone
        gone |= more


@given(named())
def test_a_cascade_takes_back_what_was_built_on_it_and_nothing_else(drawn: tuple[Chunks, str]) -> None:
    chunks, fragment = drawn
    origin = source_of(fragment)
    keep = chunks[origin].fragments[fragment].start

    cuts, tainted = cascade(chunks, origin, keep)

    assert tainted == reached(chunks, origin, keep)
    assert tainted == {f for cut in cuts for f in cut.fragments}
    assert cuts[0].chunk_id == origin
    assert len({cut.chunk_id for cut in cuts}) == len(cuts)  # each chunk once
    for cut in cuts:
        fragments = chunks[cut.chunk_id].fragments.values()
        assert set(cut.fragments) == {f.id for f in fragments} & tainted  # with its deepest cut
        assert cut.keep == max((f.end for f in fragments if f.id not in tainted), default=0)


@given(named())
def test_after_its_cuts_nothing_of_it_is_left(drawn: tuple[Chunks, str]) -> None:
    chunks, fragment = drawn
    origin = source_of(fragment)
    keep = chunks[origin].fragments[fragment].start
    before = fragments_of(chunks)

    cuts, tainted = cascade(chunks, origin, keep)
    assert fragments_of(chunks) == before  # nobody has been cut yet
    for cut in cuts:
        chunks[cut.chunk_id].cut(cut.keep, tainted)

    assert set(fragments_of(chunks)) == set(before) - tainted
    for provenance in chunks.values():
        assert not any(provenance.was_shown(f) for f in tainted)
        assert not any(set(f.derived_from) & tainted for f in provenance.fragments.values())
    assert cascade(chunks, origin, keep) == ([Cut(origin, keep, ())], frozenset())


def check_counts(chunks: Chunks) -> None:
    for reader in chunks.values():
        for source in chunks.values():
            unseen = reader.unseen(source)
            assert unseen == [f for f in source.fragments if not reader.was_shown(f)]


@given(named())
def test_what_was_seen_and_what_was_not_add_up_also_after_a_retraction(drawn: tuple[Chunks, str]) -> None:
    chunks, fragment = drawn
    check_counts(chunks)
    origin = source_of(fragment)
    cuts, tainted = cascade(chunks, origin, chunks[origin].fragments[fragment].start)
    for cut in cuts:
        chunks[cut.chunk_id].cut(cut.keep, tainted)
    check_counts(chunks)


def test_a_cascade_reaches_readers_of_readers_and_spares_the_innocent() -> None:
    chunks = {
        "a": chunk("a", [10, 20, 30]),
        "b": chunk("b", [10, 20, 30], Exposure(0, ("a#1",)), Exposure(15, ("a#3",))),
        "c": chunk("c", [10, 20], Exposure(12, ("b#2",))),
        "d": chunk("d", [10], Exposure(0, ("a#1", "b#1"))),
    }
    cuts, tainted = cascade(chunks, "a", 20)
    assert {c.chunk_id: c.keep for c in cuts} == {"a": 20, "b": 10, "c": 10}
    assert tainted == {"a#3", "b#2", "b#3", "c#2"}


def test_a_chunk_that_is_hit_twice_has_its_deepest_cut() -> None:
    # c is shown a#1 late and b#1 early; b is hit by a#1, so c is hit a second time, and deeper.
    chunks = {
        "a": chunk("a", [10]),
        "c": chunk("c", [10, 20, 30], Exposure(10, ("b#1",)), Exposure(20, ("a#1",))),
        "b": chunk("b", [10], Exposure(0, ("a#1",))),
    }
    cuts, _ = cascade(chunks, "a", 0)
    assert {c.chunk_id: c.keep for c in cuts} == {"a": 0, "b": 0, "c": 10}


def test_a_fragment_names_what_its_author_was_shown_since_the_one_before() -> None:
    author = Provenance("b")
    author.expose(0, ("a#1",))
    first = author.add(1, 0, 10)
    author.expose(10, ("a#2",))
    author.expose(14, ("c#1", "a#3"))
    second = author.add(2, 10, 20)

    assert first.derived_from == ("a#1",)
    assert second.derived_from == ("a#2", "c#1", "a#3")
    assert author.add(3, 20, 30).derived_from == ()


def test_a_fragment_is_known_to_its_author_by_number_and_by_id() -> None:
    author = chunk("task/a.1", [10, 20])
    for name in ("#2", "2", "task/a.1#2"):
        fragment = author.named(name)
        assert fragment is not None
        assert (fragment.start, fragment.end) == (10, 20)
    for name in ("#3", "task/b.1#2", "", "#"):
        assert author.named(name) is None


def test_what_was_never_sent_counts_as_unseen() -> None:
    source, reader = chunk("a", [10, 20]), Provenance("b")
    reader.expose(0, ("a#1",))
    reader.expose(5, ("a#2",))
    reader.hide_last()
    assert reader.unseen(source) == ["a#2"]


def test_the_innocent_stay_shown_after_a_cut() -> None:
    reader = chunk("b", [10, 20], Exposure(0, ("a#1",)), Exposure(12, ("a#2", "c#1")))
    reader.cut(10, frozenset({"a#2"}))
    assert list(reader.fragments) == ["b#1"]
    assert reader.exposures == [Exposure(0, ("a#1",)), Exposure(10, ("c#1",))]
    assert reader.was_shown("c#1")
    assert not reader.was_shown("a#2")


def test_what_a_cap_hid_is_neither_shown_nor_asked_for_again() -> None:
    source, reader = chunk("a", [10, 20, 30]), Provenance("b")
    reader.expose(0, ("a#1",), {"a": Glimpse("still being written", ("a#2",))})
    assert reader.unseen(source) == ["a#3"]
    assert not reader.was_shown("a#2")
    assert reader.shown_as("#2") == ()
    assert reader.clean_prefix(frozenset({"a#2"})) is None
    reader.hide_last()
    assert reader.unseen(source) == ["a#1", "a#2", "a#3"]


def test_how_a_source_stood_is_known_after_a_cut() -> None:
    stood = {"a": Glimpse("broken off", ("a#2",))}
    source, reader = chunk("a", [10, 20, 30]), chunk("b", [10, 20])
    reader.expose(12, ("a#1", "a#3"), stood)
    reader.cut(10, frozenset({"a#3"}))
    assert reader.exposures == [Exposure(10, ("a#1",), stood)]
    assert reader.unseen(source) == ["a#3"]


def test_only_news_can_be_hidden_from_who_has_begun() -> None:
    reader = Provenance("b")
    reader.expose(0, ("a#1",))
    assert not reader.hide_news(0)  # it began on that
    assert not reader.hide_news(10)
    reader.expose(10, ("a#2",))
    assert not reader.hide_news(9)
    assert reader.hide_news(10)
    assert not reader.hide_news(10)
    assert reader.exposures == [Exposure(0, ("a#1",))]


def test_a_text_ends_where_a_whole_fragment_does() -> None:
    author = Provenance("a")
    author.add(1, 0, 10)
    author.add(2, 10, 20, whole=False)
    author.add(3, 20, 30)
    assert [author.whole_end(place) for place in (9, 10, 25, 30, 99)] == [0, 10, 10, 30, 30]
    author.expose(25, ("b#1",))
    assert author.clean_prefix(frozenset({"b#1"})) == 10


@pytest.mark.parametrize(
    ("parts", "ground", "review"),
    [
        ([], False, False),
        ([Part(300, 0, code=False)], False, False),  # a heading
        ([Part(199, 199, code=False)], False, False),
        ([Part(200, 200, code=False)], True, False),
        ([Part(200, 200, code=True)], True, True),
        ([Part(100, 100, code=True)], False, False),
        ([Part(300, 300, code=False), Part(310, 0, code=False), Part(400, 90, code=False)], True, False),
        ([Part(100, 100, code=False), Part(150, 50, code=False), Part(200, 50, code=False)], True, True),
    ],
)
def test_readers_begin_on_whole_blocks_that_say_enough(parts: list[Part], ground: bool, review: bool) -> None:
    author = Provenance("a", parts=parts)
    assert (author.offers_ground(review=False), author.offers_ground(review=True)) == (ground, review)


def test_ground_that_is_taken_back_is_none() -> None:
    author = Provenance("a", parts=[Part(150, 150, code=False), Part(300, 150, code=True)])
    author.cut(299, frozenset())
    assert author.parts == [Part(150, 150, code=False)]
    assert not author.offers_ground(review=False)
