"""The timers of a run: signs of life, heartbeats, the time limit."""

from __future__ import annotations

from itertools import pairwise

import pytest

from facilitair import events as ev

from .harness import TEXT, chain, faulty, plain, play

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
