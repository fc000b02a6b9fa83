"""What is taken back from whom when a fragment is, and for which cause."""

from __future__ import annotations

import pytest
from hypothesis import given

from facilitair.engine.provenance import Cut, Exposure, source_of
from facilitair.engine.rulings import Retraction, Ruling, take_back

from .histories import Chunks, chunk, named


def test_its_author_withdraws_and_its_readers_are_hit_by_the_cascade() -> None:
    chunks = {
        "a": chunk("a", [10, 20]),
        "b": chunk("b", [10, 20], Exposure(10, ("a#2",))),
        "c": chunk("c", [10], Exposure(0, ("a#1",))),
    }
    assert take_back(chunks, "a", "#2", "it was wrong") == Ruling(
        root="a#2",
        cuts=(
            (Cut("a", 10, ("a#2",)), Retraction("withdrawn", "a#2", "it was wrong")),
            (Cut("b", 10, ("b#2",)), Retraction("cascade", "a#2", "it was wrong")),
        ),
        tainted=frozenset({"a#2", "b#2"}),
    )


def test_another_cause_is_that_of_the_fragment_s_own_chunk_alone() -> None:
    chunks = {"a": chunk("a", [10]), "b": chunk("b", [10], Exposure(0, ("a#1",)))}
    ruling = take_back(chunks, "a", "a#1", "it does not compile", "check")
    assert ruling is not None
    assert [(cut.chunk_id, why.cause) for cut, why in ruling.cuts] == [("a", "check"), ("b", "cascade")]


@pytest.mark.parametrize("name", ["#3", "b#1", "", "#", "nonsense"])
def test_what_the_chunk_does_not_have_is_not_taken_back(name: str) -> None:
    chunks = {"a": chunk("a", [10, 20]), "b": chunk("b", [10])}
    assert take_back(chunks, "a", name, "no") is None


@given(named())
def test_a_ruling_has_one_root_and_changes_nothing_by_itself(drawn: tuple[Chunks, str]) -> None:
    chunks, fragment = drawn
    before = {name: (dict(p.fragments), list(p.exposures)) for name, p in chunks.items()}

    ruling = take_back(chunks, source_of(fragment), fragment, "why")

    assert ruling is not None
    assert fragment in ruling.tainted
    assert {why.root for _, why in ruling.cuts} == {ruling.root} == {fragment}
    assert [cut.chunk_id for cut, why in ruling.cuts if why.cause == "withdrawn"] == [source_of(fragment)]
    assert {name: (p.fragments, p.exposures) for name, p in chunks.items()} == before
