"""The timers of a run: signs of life, heartbeats, the time limit."""

from __future__ import annotations

from itertools import pairwise

import pytest

from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.engine.turn import Attempt, Phase
from facilitair.engine.watch import Watch
from facilitair.stream import EventStream

from .harness import TEXT, chain, faulty, plain, planned, play
from .parts import graph, turn_of

SCRIPTS = plain("a", "b", "synthesizer", count=40)


def test_a_slow_first_token_is_announced_every_two_seconds() -> None:
    played = faulty("+slow=9")
    waits = [e.waiting_s for e in played.of(ev.AgentThinkingEvent) if e.agent == "a"]
    assert waits == pytest.approx([2, 4, 6, 8])
    assert played.text("a") == TEXT


def test_a_running_agent_is_never_silent_for_more_than_two_seconds() -> None:
    played = faulty("+stall")
    heard = [e.ts for e in played.events if getattr(e, "agent", None) == "a"]
    assert max(b - a for a, b in pairwise(heard)) <= 2.0 + 1e-6
    assert played.of(ev.HeartbeatEvent)


def test_the_time_limit_ends_the_run_with_its_partial_text() -> None:
    played = play(SCRIPTS, strategy=chain("a", "b"), timeout=3.0)
    last = played.last
    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "deadline_exceeded"
    assert last.ts == pytest.approx(3.0)
    assert last.partial
    assert last.usage.output_tokens
    assert last.usage.estimated


# --- the timers alone ----------------------------------------------------------------------------------------------

PLAN = planned(graph("ab"))


class Watched:
    """A watch at time 100, and two turns of which it is asked: one writes since then, the other has not begun."""

    def __init__(self, timeout: float | None = None) -> None:
        self.clock = VirtualClock(100.0)
        self.events = EventStream()
        self.events.begin(self.clock, lambda: None)
        self.watch = Watch(self.events, self.clock, timeout)
        self.turn = turn_of(PLAN, "a", phase=Phase.STREAMING)
        self.turn.calls.attempt = Attempt(1)
        self.turn.pulse.opened(100.0)

    def at(self, now: float) -> list[ev.AnyEvent]:
        """Return what is said at that time."""
        self.clock.advance_to(now)
        self.watch.tick([self.turn])
        return self.events.drain()

    def thinking(self, now: float) -> ev.AgentThinkingEvent:
        (event,) = self.at(now)
        assert isinstance(event, ev.AgentThinkingEvent)
        return event


def test_it_wants_to_be_asked_when_the_next_thing_is_due() -> None:
    watched = Watched(timeout=3.0)
    due = [watched.watch.deadline([]), watched.watch.deadline([watched.turn])]
    watched.turn.pulse.heard(101.5)
    due.append(watched.watch.deadline([watched.turn]))
    watched.turn.phase, watched.turn.calls.retry_at = Phase.RETRYING, 101.25
    due.append(watched.watch.deadline([watched.turn]))
    assert due == [103.0, 102.0, 103.0, 101.25]
    assert Watched().watch.deadline([]) == 115.0


def test_the_time_limit_is_over_when_it_is_reached() -> None:
    watched = Watched(timeout=3.0)
    watched.clock.advance_to(102.9)
    expired = [watched.watch.expired]
    watched.clock.advance_to(103.0)
    expired.append(watched.watch.expired)
    assert expired == [False, True]
    unlimited = Watched()
    unlimited.clock.advance_to(1e9)
    assert not unlimited.watch.expired


def test_silence_is_said_every_two_seconds_and_counts_from_the_last_words() -> None:
    watched = Watched()
    assert watched.at(101.9) == []
    assert watched.thinking(102.0).waiting_s == 2.0
    assert watched.at(103.9) == []
    assert watched.thinking(104.0).waiting_s == 4.0
    watched.turn.pulse.heard(104.5)
    assert watched.at(106.4) == []
    assert watched.thinking(106.5).waiting_s == 2.0


def test_what_a_silent_turn_does_is_said() -> None:
    watched = Watched()
    turn, attempt = watched.turn, Attempt(1)
    turn.calls.attempt = attempt
    assert watched.thinking(102).message == "waits for the first words of simulator/a"
    attempt.reasoning = True
    assert watched.thinking(104).message == "simulator/a is reasoning"
    attempt.content, attempt.reasoning = True, False
    assert watched.thinking(106).message == "waits for more from simulator/a"
    turn.calls.attempt, turn.phase = None, Phase.RETRYING
    assert watched.thinking(108).message == "waits to try simulator/a again"
    turn.phase = Phase.HOLDING
    assert watched.thinking(110).message == "has written its part and waits for the rest of what it reads"
    turn.fail("gone")
    assert watched.thinking(112).message.startswith("has failed")


@pytest.mark.parametrize(
    ("phase", "content", "state"),
    [
        (Phase.STREAMING, False, "thinking"),
        (Phase.STREAMING, True, "writing"),
        (Phase.STOPPING, True, "writing"),
        (Phase.RETRYING, False, "retrying"),
        (Phase.HOLDING, False, "waiting"),
    ],
)
def test_a_heartbeat_says_what_each_running_agent_does(phase: Phase, content: bool, state: str) -> None:
    watched = Watched()
    watched.turn.phase, watched.turn.calls.attempt = phase, Attempt(1, content=content)
    watched.turn.pulse.heard(114.0)
    (beat,) = watched.at(115.0)
    assert isinstance(beat, ev.HeartbeatEvent)
    assert [(a.agent, a.chunk_id, a.state, a.idle_s) for a in beat.agents] == [("a", "task/a.1", state, 1.0)]
    watched.turn.pulse.heard(129.0)
    assert watched.at(129.9) == []
    assert len(watched.at(130.0)) == 1
