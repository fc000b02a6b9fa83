"""Whole runs: who starts when, what the sections are, how the review loop ends."""

from __future__ import annotations

from facilitair import AgentSpec, Collaboration, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.engine.graph import Loop
from facilitair.simulator.brain import Script
from facilitair.simulator.prompt import Prompt

from .harness import SYNTHESIZER, Look, Played, chain, play, says, sentences

ROLES = ("architect", "coder", "reviewer", "refiner", "documenter", "synthesizer")


def pipeline_models() -> dict[str, str]:
    return {role: f"simulator/{role}" for role in ROLES}


def plain(*names: str, count: int = 4) -> dict[str, Script]:
    return {name: says(sentences(name, count)) for name in names}


def reviewer(*verdicts: str) -> Script:
    """Return a reviewer that gives one verdict a round."""

    def text(prompt: Prompt) -> str:
        seen = sum("refiner." in peer.first for peer in prompt.peers)
        line = f"\n@@{prompt.nonce} verdict {verdicts[min(seen, len(verdicts) - 1)]}\n"
        return sentences("reviewer", 2) + line

    return says(text)


def test_an_after_edge_waits_and_a_live_edge_does_not() -> None:
    scripts = plain("a", "b", "synthesizer", count=10)
    for kind, overlap in (("after", False), ("live", True)):
        played = play(scripts, strategy=chain("a", "b", kind=kind))  # type: ignore[arg-type]
        started = {e.agent: e.ts for e in played.of(ev.ChunkStartedEvent)}
        ended = {e.agent: e.ts for e in played.of(ev.ChunkCompletedEvent)}
        assert (started["b"] < ended["a"]) is overlap
        assert isinstance(played.last, ev.TaskCompletedEvent)


def test_the_answer_is_the_synthesis_and_chunks_are_whole() -> None:
    played = play(plain("a", "b", "synthesizer"), strategy=chain("a", "b"))
    assert played.state.content == sentences("synthesizer", 4)
    assert played.text("a") == sentences("a", 4)
    assert played.text("b") == sentences("b", 4)
    last = played.last
    assert isinstance(last, ev.TaskCompletedEvent)
    assert last.degraded == ()
    assert last.simulated
    assert last.cost_usd == 0.0
    assert last.models_used == ("simulator/a", "simulator/b", "simulator/synthesizer")


def test_the_first_token_is_passed_on_at_once() -> None:
    played = play(plain("a", "synthesizer"), strategy=chain("a"))
    first = played.of(ev.TokenStreamEvent)[0]
    assert first.ts == 0.4  # the script's own first token
    assert played.of(ev.ChunkCompletedEvent)[0].ttft_s == 0.4


def test_sections_of_the_user_are_written_by_every_agent() -> None:
    played = play(plain("a", "b", "synthesizer"), strategy=chain("a", "b"), sections=["Design", "Build it"])
    assert [s.id for s in played.state.sections] == ["design", "build-it"]
    assert sorted(played.state.chunks) == ["build-it/a.1", "build-it/b.1", "design/a.1", "design/b.1"]
    assert played.state.content == "\n\n".join([sentences("synthesizer", 4)] * 2)
    assert len(played.of(ev.SynthesisCompletedEvent)) == 2


def outliner(*titles: str) -> Script:
    def text(prompt: Prompt) -> str:
        lines = "".join(f"@@{prompt.nonce} section {title}\n" for title in titles)
        return lines + sentences("architect", 3)

    return says(text)


def test_the_outline_of_the_architect_makes_the_sections() -> None:
    scripts = plain("coder", "refiner", "documenter", "synthesizer") | {
        "architect": outliner("Data model", "Interface", "Data model"),
        "reviewer": reviewer("approve fine"),
    }
    played = play(scripts, strategy="balanced", models=pipeline_models())
    assert [s.title for s in played.state.sections] == ["Task", "Data model", "Interface"]
    assert "task/architect.1" in played.state.chunks
    assert "data-model/coder.1" in played.state.chunks
    assert "data-model/architect.1" not in played.state.chunks
    assert "section" not in played.text("architect")
    assert played.state.content.count("sentence number 1 of synthesizer") == 2


def test_an_outline_is_capped_and_says_what_it_leaves_out() -> None:
    scripts = plain("coder", "reviewer", "refiner", "documenter", "synthesizer")
    scripts["architect"] = outliner("A", "B", "C")
    played = play(
        scripts,
        strategy="balanced",
        models=pipeline_models(),
        config=Config(limits=LimitsConfig(max_sections=2)),
    )
    assert [s.title for s in played.state.sections] == ["Task", "A", "B"]
    assert "'C' is left out" in played.said()


def test_one_outline_line_leaves_one_section() -> None:
    scripts = plain("coder", "reviewer", "refiner", "documenter", "synthesizer")
    scripts["architect"] = outliner("Everything")
    played = play(scripts, strategy="balanced", models=pipeline_models())
    assert [s.id for s in played.state.sections] == ["task"]
    assert played.text("coder") == sentences("coder", 4)


def test_approval_in_the_first_round_skips_the_refiner() -> None:
    scripts = plain("architect", "coder", "refiner", "documenter", "synthesizer")
    scripts["reviewer"] = reviewer("approve all is well")
    played = play(scripts, strategy="pipeline", models=pipeline_models())
    assert sorted(c.partition("/")[2] for c in played.state.chunks) == [
        "architect.1", "coder.1", "documenter.1", "reviewer.1",
    ]  # fmt: skip
    assert "verdict" not in played.text("reviewer")
    fragments = played.state.chunks["task/documenter.1"].fragments
    derived = {shown.partition("#")[0] for f in fragments for shown in f.derived_from}
    assert derived == {"task/coder.1"}  # the skipped refiner is passed through


def test_a_revision_is_reviewed_again_until_it_is_approved() -> None:
    scripts = plain("architect", "coder", "refiner", "documenter", "synthesizer")
    scripts["reviewer"] = reviewer("revise too short", "approve")
    played = play(scripts, strategy="pipeline", models=pipeline_models())
    order = [e.chunk_id.partition("/")[2] for e in played.of(ev.ChunkStartedEvent)]
    assert order == ["architect.1", "coder.1", "reviewer.1", "refiner.1", "reviewer.2", "documenter.1"]


def test_the_loop_ends_after_its_rounds() -> None:
    scripts = plain("architect", "coder", "refiner", "documenter", "synthesizer")
    scripts["reviewer"] = reviewer("revise")
    played = play(scripts, strategy="pipeline", models=pipeline_models())
    assert sum(e.agent == "refiner" for e in played.of(ev.ChunkStartedEvent)) == 2
    assert "ended after 2 rounds unapproved" in played.said()
    assert isinstance(played.last, ev.TaskCompletedEvent)


def test_a_missing_verdict_is_taken_as_revise() -> None:
    scripts = plain("architect", "coder", "reviewer", "refiner", "documenter", "synthesizer")
    played = play(scripts, strategy="pipeline", models=pipeline_models())
    assert "gave no verdict; taken as revise" in played.said()
    assert "task/refiner.2" in played.state.chunks


def test_synthesis_can_wait_for_its_section_or_for_all() -> None:
    scripts = plain("a", "synthesizer") | {"b": says(sentences("b", 4), tokens_per_s=20)}
    for timing in ("section", "end"):
        played = play(scripts, strategy=chain("a", "b", synthesis=timing), sections=["One", "Two"])
        first = played.of(ev.SynthesisStreamEvent)[0].ts
        assert first > max(e.ts for e in played.of(ev.ChunkCompletedEvent))
    live = play(scripts, strategy=chain("a", "b"))
    assert live.of(ev.SynthesisStreamEvent)[0].ts < live.of(ev.ChunkCompletedEvent)[-1].ts


def test_at_most_max_streams_run_at_once() -> None:
    scripts = plain("a", "b", "c", "synthesizer")
    open_now = most = 0

    def look(_: object, event: ev.AnyEvent) -> None:
        nonlocal open_now, most
        open_now += isinstance(event, ev.ChunkStartedEvent) - isinstance(event, ev.ChunkCompletedEvent)
        most = max(most, open_now)

    config = Config(limits=LimitsConfig(max_streams=1))
    play(scripts, strategy=chain("a", "b", "c", kind="after"), sections=["X", "Y"], config=config, look=look)
    assert most == 1


def opened_by(opening: str) -> Played:
    """Play an architect that opens so, and a coder that reads it; "@" stands for the run's mark."""
    strategy = Strategy(
        name="opened",
        agents=(
            AgentSpec("arch", "architect", model="simulator/arch"),
            AgentSpec("b", "coder", model="simulator/b"),
        ),
        edges=(Edge("arch", "b", "live"),),
        synthesizer=SYNTHESIZER,
    )
    architect = says(lambda prompt: opening.replace("@", f"@@{prompt.nonce}"))
    return play({"arch": architect, **plain("b", "synthesizer")}, strategy=strategy)


def test_a_heading_above_the_outline_does_not_hide_it() -> None:
    played = opened_by("# Plan\n\n## Outline\n@ section One\n@ section Two\nText here.")
    assert [s.title for s in played.state.sections] == ["Task", "One", "Two"]
    assert sorted(played.state.chunks) == ["one/b.1", "task/arch.1", "two/b.1"]


def test_text_above_the_outline_closes_it_and_that_is_said() -> None:
    played = opened_by("Here is what I propose. It is simple.\n@ section One\n@ section Two\nText here.")
    assert [s.id for s in played.state.sections] == ["task"]
    assert "arch gave no outline; the work stays in one section" in played.said()


def review(verdict: str, *, quorum: float = 0.5, broken: str = "", look: Look | None = None) -> Played:
    """Play one that writes, one that reviews with `verdict`, and one that refines; the first two may be `broken`."""
    strategy = Strategy(
        name="review",
        agents=(
            AgentSpec("c", "coder", model=f"simulator/c{broken}"),
            AgentSpec("r", "reviewer", model=f"simulator/r{broken}"),
            AgentSpec("f", "refiner", model="simulator/f"),
        ),
        edges=(Edge("c", "r"), Edge("c", "f"), Edge("r", "f", "after")),
        synthesizer=SYNTHESIZER,
        loop=Loop("r", "f"),
    )
    scripts = plain("c", "f", "synthesizer")
    scripts["r"] = says(lambda prompt: f"I have read it.\n@@{prompt.nonce} {verdict}\n")
    config = Config(limits=LimitsConfig(quorum=quorum))
    return play(scripts, strategy=strategy, config=config, look=look)


def test_an_approval_in_other_words_ends_the_review() -> None:
    played = review("verdict **Approved**, all is well")
    assert sorted(played.state.chunks) == ["task/c.1", "task/r.1"]
    assert "no verdict" not in played.said()


def test_a_revision_in_other_words_begins_a_round() -> None:
    played = review("verdict Revision needed: too short")
    assert "task/f.1" in played.state.chunks
    assert "no verdict" not in played.said()


def test_what_is_no_approval_is_not_taken_for_one() -> None:
    played = review("verdict not approve")
    assert "task/f.1" in played.state.chunks
    assert "no verdict" in played.said()


def test_a_reviewer_that_owes_an_outline_reviews_and_plans_nothing() -> None:
    strategy = Strategy(
        name="review",
        agents=(
            AgentSpec("r", "architect", model="simulator/r"),
            AgentSpec("c", "coder", model="simulator/c"),
            AgentSpec("f", "refiner", model="simulator/f"),
        ),
        edges=(Edge("c", "f"), Edge("r", "f", "after")),
        synthesizer=SYNTHESIZER,
        loop=Loop("r", "f"),
    )
    scripts = plain("c", "f", "synthesizer")
    scripts["r"] = says(lambda p: f"@@{p.nonce} section One\n@@{p.nonce} section Two\nI have read it.")
    played = play(scripts, strategy=strategy)
    assert [s.id for s in played.state.sections] == ["task"]
    assert "task/f.2" in played.state.chunks
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.content == sentences("synthesizer", 4)


def test_a_loop_that_leaves_nothing_to_read_ends_the_run() -> None:
    def look(run: Collaboration, event: ev.AnyEvent) -> None:
        if event.ts > 1000:
            run.cancel("it hangs")

    played = review("verdict approve", quorum=0.01, broken="+refused", look=look)
    last = played.last
    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "agents_failed"
    assert last.partial == ""
