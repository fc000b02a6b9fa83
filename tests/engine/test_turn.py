"""The state of one turn."""

from __future__ import annotations

import pytest

from facilitair import events as ev
from facilitair.engine.includes import Inclusions, Insert
from facilitair.engine.provenance import Exposure, Glimpse
from facilitair.engine.seam import ContinuationSeam, FirstSeam, OpenSeam, Passage
from facilitair.engine.source import Source
from facilitair.engine.turn import AgentTurn, Attempt, Calls, Phase, Pulse
from facilitair.stream import Figures

from .harness import planned
from .parts import graph, settled, turn_of

PLAN = planned(graph(("architect", "b")))


def b(text: str = "", phase: Phase = Phase.WAITING) -> AgentTurn:
    return turn_of(PLAN, "b", 2, text, phase, section="one")


def test_it_is_a_source_for_others() -> None:
    turn: Source = turn_of(PLAN, "architect", text="One. Two.", phase=Phase.DONE)
    assert (turn.id, turn.author, turn.text, turn.settled) == (
        "task/architect.1", "the architect", "One. Two.", True,
    )  # fmt: skip
    assert list(turn.provenance.fragments) == ["task/architect.1#1", "task/architect.1#2"]
    assert b().id == "one/b.2"


@pytest.mark.parametrize("phase", Phase)
def test_somebody_waits_for_its_text_between_its_start_and_its_end(phase: Phase) -> None:
    turn = b(phase=phase)
    assert turn.running == (phase.name in ("STREAMING", "STOPPING", "RETRYING", "HOLDING"))
    assert turn.settled == (phase.name in ("DONE", "SKIPPED"))
    assert not (turn.running and turn.settled)


def test_what_is_taken_back_may_be_told_all_again() -> None:
    turn = b("One. Two. Three.")
    turn.expose(["a#1", "a#2"], {})
    seam = ContinuationSeam(turn.text, nonce=PLAN.nonce, anchor="Two. Three.")
    turn.calls.attempt = Attempt(1, seam)
    turn.attention.own_since = 3
    turn.fail("gone")
    turn.finish_reason = "budget"
    turn.stopped_short, turn.unread = True, "gone"

    turn.cut(5, frozenset({"a#2"}))

    assert turn.text == "One. "
    assert list(turn.provenance.fragments) == ["one/b.2#1"]
    assert turn.provenance.exposures == [Exposure(5, ("a#1",))]
    assert (turn.failure, turn.finish_reason, turn.loss) == (None, "stop", None)
    assert turn.attention.own_since == 0
    assert isinstance(turn.calls.attempt.seam, OpenSeam)
    assert turn.begins_line is not None
    assert turn.begins_line.feed("Two.") == Passage("\n\nTwo.")


def test_one_that_has_nothing_left_begins_anew() -> None:
    turn = b("One. Two.")
    turn.calls.attempt = Attempt(1, OpenSeam())
    turn.cut(0, frozenset())
    assert isinstance(turn.calls.attempt.seam, FirstSeam)
    assert turn.begins_line is None


def test_what_it_took_over_goes_with_its_text() -> None:
    turn = b("One. xxx\nTwo. yyy\n")
    kept, lost = Insert(5, 9, "@@n include x", "one/x.1"), Insert(14, 18, "@@n include y", "one/y.1")
    turn.inclusions.taken += [kept, lost]
    turn.inclusions.backlog.append("More.")
    turn.cut(9, frozenset())
    assert (turn.inclusions.taken, turn.inclusions.backlog, turn.inclusions.wanted) == ([kept], [], None)


def test_it_remembers_how_long_its_text_was_when_it_was_shown_something() -> None:
    turn = b("One. Two.")
    turn.attention.own_since = 2
    turn.expose(["a#1"], {"a": Glimpse("broken off")})
    turn.expose([], {})
    assert turn.provenance.exposures == [Exposure(9, ("a#1",), {"a": Glimpse("broken off")})]
    assert turn.attention.own_since == 0


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("stopped_short", True, "was interrupted, and did not go on from its text"),
        ("unread", "gone", "did not read to the end: gone"),
        ("hidden", {"one/a.1": 5}, "was not shown 5 characters of one/a.1, which is too long"),
        (
            "inclusions",
            Inclusions(missing={"x": 1, "y z": 2}),
            "wanted to include x, y z, and there is no such work",
        ),
    ],
)
def test_what_it_lacks_is_said(name: str, value: object, says: str) -> None:
    turn = b("One.", Phase.DONE)
    setattr(turn, name, value)
    assert turn.loss == f"b on one: {says}"


@pytest.mark.parametrize(
    ("failure", "finish_reason", "loss", "cut_short"),
    [
        (None, "stop", None, False),
        (None, "length", "b on one: cut by its model's length limit", False),
        (None, "budget", "b on one: ended early", True),
        ("no more money", "budget", "b on one: no more money", True),
        ("out of reach", "error", "b on one: out of reach", True),
    ],
)
def test_what_it_lost_is_what_its_end_says(
    failure: str | None, finish_reason: str, loss: str | None, cut_short: bool
) -> None:
    turn = b(phase=Phase.DONE)
    turn.failure, turn.finish_reason = failure, finish_reason
    assert (turn.loss, turn.cut_short) == (loss, cut_short)
    assert turn.failed == (failure is not None)


def test_one_that_fails_has_failed_when_it_has_ended() -> None:
    turn = b(phase=Phase.HOLDING)
    turn.fail("gone")
    assert (turn.failed, turn.cut_short, turn.finish_reason) == (False, True, "error")
    turn.phase = Phase.DONE
    assert turn.failed


def test_its_figures_are_of_all_its_streams() -> None:
    turn = b()
    assert turn.figures == Figures(None, 0.0, None)
    turn.pulse.opened(10.0)
    turn.pulse.heard(10.25)
    turn.spent.add(settled(10, 1, 0.5))
    turn.spent.add(settled(20, 2, 0.25))
    assert turn.figures == Figures(ev.Usage(input_tokens=30, output_tokens=3), 0.75, 0.25)
    turn.spent.add(settled(1, 1, None))
    assert turn.figures.cost_usd is None
    turn.spent.add(settled(1, 1, 0.5))
    assert turn.figures.cost_usd is None  # once unknown, it stays so


def test_its_first_words_count_once_and_its_silence_anew() -> None:
    pulse = Pulse()
    pulse.opened(5.0)
    assert (pulse.ttft_s, pulse.silent_since) == (None, 5.0)
    pulse.heard(6.5)
    pulse.heard(8.0)
    assert (pulse.ttft_s, pulse.silent_since) == (1.5, 8.0)
    pulse.last_notice = 10.0
    assert pulse.silent_since == 10.0
    pulse.opened(20.0)
    assert (pulse.started, pulse.ttft_s, pulse.silent_since) == (5.0, 1.5, 20.0)


def test_a_call_is_due_after_its_pause() -> None:
    assert Calls().due(0.0)
    assert Calls(retry_at=2.0).due(2.0)
    assert not Calls(retry_at=2.0).due(1.9)


def test_its_model_is_the_one_that_is_tried() -> None:
    plan = planned(graph("ab"))
    agents = plan.agents["a"].models + plan.agents["b"].models
    turn = turn_of(plan, "a")
    turn.agent = type(turn.agent)(turn.agent.spec, turn.agent.role, agents)
    assert turn.model.id == "simulator/a"
    turn.calls.model_index = 1
    assert turn.model.id == "simulator/b"
