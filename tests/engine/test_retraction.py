"""What an author takes back is taken back from everybody who built on it."""

from __future__ import annotations

from facilitair import Config
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.engine.provenance import Exposure, Provenance, cascade
from facilitair.simulator.brain import Script
from facilitair.simulator.prompt import Prompt

from .harness import chain, play, says, sentences


def withdrawing(name: str, fragment: int, before: int, after: int) -> Script:
    """Return an author that takes back from `fragment` on after `before` sentences."""

    def text(prompt: Prompt) -> str:
        control = f"\n@@{prompt.nonce} retract #{fragment} it was wrong\n"
        return sentences(name, before) + control + sentences(f"{name} mended", after)

    return says(text)


def test_an_author_goes_on_from_the_clean_prefix() -> None:
    played = play({"a": withdrawing("a", 2, 3, 2), "synthesizer": says("Done.")}, strategy=chain("a"))
    assert played.text("a") == sentences("a", 1) + " " + sentences("a mended", 2)
    retracted = played.of(ev.FragmentsRetractedEvent)[0]
    assert (retracted.cause, retracted.root, retracted.reason) == ("withdrawn", "task/a.1#2", "it was wrong")
    assert retracted.fragments == ("task/a.1#2", "task/a.1#3")
    numbers = [f.id.rpartition("#")[2] for f in played.state.chunks["task/a.1"].fragments]
    assert numbers[0] == "1"
    assert not {"2", "3"} & set(numbers)  # a number is never used again


def test_readers_are_rolled_back_and_end_without_the_wrong_text() -> None:
    scripts = {
        "a": withdrawing("a", 1, 8, 4),
        "b": says(sentences("b", 30)),
        "c": says(sentences("c", 30)),
        "synthesizer": says(sentences("synthesizer", 5)),
    }
    played = play(scripts, strategy=chain("a", "b", "c"))
    causes = {(e.agent, e.cause) for e in played.of(ev.FragmentsRetractedEvent)}
    assert ("a", "withdrawn") in causes
    assert ("b", "cascade") in causes
    gone = {f for e in played.of(ev.FragmentsRetractedEvent) for f in e.fragments}
    for chunk in played.state.chunks.values():
        assert not {f.id for f in chunk.fragments} & gone
        assert not {d for f in chunk.fragments for d in f.derived_from} & gone
    assert played.text("b") == sentences("b", 30)
    assert isinstance(played.last, ev.TaskCompletedEvent)


def test_only_own_fragments_can_be_taken_back() -> None:
    scripts = {
        "a": says(sentences("a", 5)),
        "b": says(lambda p: f"Begin here.\n@@{p.nonce} retract task/a.1#1 not mine\nGo on."),
        "synthesizer": says("Done."),
    }
    played = play(scripts, strategy=chain("a", "b"))
    assert not played.of(ev.FragmentsRetractedEvent)
    assert played.text("a") == sentences("a", 5)


def test_after_too_many_rollbacks_a_chunk_closes_at_its_clean_prefix() -> None:
    def fickle(prompt: Prompt) -> str:
        number, text = 0, ""
        for _ in range(4):
            text += sentences("a", 8) + f"\n@@{prompt.nonce} retract #{number + 1} again\n"
            number += 8
        return text + sentences("a final", 8)

    played = play(
        {"a": says(fickle), "b": says(sentences("b", 80)), "synthesizer": says("Done.")},
        strategy=chain("a", "b"),
        config=Config(limits=LimitsConfig(max_rollbacks=1)),
    )
    completed = [e for e in played.of(ev.ChunkCompletedEvent) if e.agent == "b"][-1]
    assert completed.finish_reason == "budget"
    assert "retracted too often" in played.said()
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert any("b" in d for d in last.degraded)


def test_objections_are_reported() -> None:
    scripts = {
        "a": says(sentences("a", 5)),
        "b": says(lambda p: f"Begin here.\n@@{p.nonce} object task/a.1#1 it is false\nGo on."),
        "synthesizer": says("Done."),
    }
    played = play(scripts, strategy=chain("a", "b", kind="after"))
    objections = [e for e in played.of(ev.AgentReactionEvent) if e.action == "objects"]
    assert [(e.agent, e.because) for e in objections] == [("b", ("task/a.1#1",))]


def chunk(name: str, ends: list[int], *exposures: Exposure) -> Provenance:
    provenance = Provenance(name)
    provenance.exposures = list(exposures)
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False), 1):
        provenance.add(number, start, end)
    return provenance


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
