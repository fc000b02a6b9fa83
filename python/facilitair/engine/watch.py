"""The timers of a run: signs of life from silent agents, heartbeats, the time limit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .. import events as ev
from ..clock import Clock
from ..stream import EventStream
from .turn import AgentTurn, Phase

SILENCE_S: Final = 2.0
HEARTBEAT_S: Final = 15.0

_STATES: dict[Phase, ev.ActivityState] = {
    Phase.HOLDING: "waiting",
    Phase.RETRYING: "retrying",
    Phase.STREAMING: "writing",
    Phase.STOPPING: "writing",
}


class Watch:
    """Knows when something has to be said although nothing happened."""

    def __init__(self, events: EventStream, clock: Clock, timeout: float | None) -> None:
        self._events = events
        self._clock = clock
        now = clock.now()
        self._heartbeat = now + HEARTBEAT_S
        self._limit = None if timeout is None else now + timeout

    def deadline(self, running: Iterable[AgentTurn]) -> float:
        """Return when to look again."""
        times = [self._heartbeat]
        if self._limit is not None:
            times.append(self._limit)
        for turn in running:
            times.append(turn.pulse.silent_since + SILENCE_S)
            if turn.phase is Phase.RETRYING and turn.calls.retry_at is not None:
                times.append(turn.calls.retry_at)
        return min(times)

    @property
    def expired(self) -> bool:
        """Whether the run's time limit is over."""
        return self._limit is not None and self._clock.now() >= self._limit

    def tick(self, running: Iterable[AgentTurn]) -> None:
        """Say what is due."""
        now = self._clock.now()
        turns = list(running)
        for turn in turns:
            if now >= turn.pulse.silent_since + SILENCE_S:
                turn.pulse.last_notice = now
                self._thinking(turn, now)
        if now >= self._heartbeat:
            self._heartbeat = now + HEARTBEAT_S
            agents = tuple(_activity(turn, now) for turn in turns)
            self._events.say(ev.HeartbeatEvent(agents=agents))

    def _thinking(self, turn: AgentTurn, now: float) -> None:
        self._events.say(
            ev.AgentThinkingEvent(
                chunk_id=turn.id,
                agent=turn.agent.name,
                message=_message(turn),
                waiting_s=round(now - turn.pulse.last_content, 6),
            )
        )


def _message(turn: AgentTurn) -> str:
    if turn.failure is not None:
        return "has failed; an agent's text takes its place when all have ended"
    if turn.phase is Phase.HOLDING:
        return "has written its part and waits for the rest of what it reads"
    if turn.phase is Phase.RETRYING:
        return f"waits to try {turn.model.id} again"
    attempt = turn.calls.attempt
    if attempt is not None and attempt.reasoning:
        return f"{turn.model.id} is reasoning"
    if attempt is None or not attempt.content:
        return f"waits for the first words of {turn.model.id}"
    return f"waits for more from {turn.model.id}"


def _activity(turn: AgentTurn, now: float) -> ev.AgentActivity:
    state = _STATES[turn.phase]
    if state == "writing" and (turn.calls.attempt is None or not turn.calls.attempt.content):
        state = "thinking"
    return ev.AgentActivity(
        agent=turn.agent.name,
        chunk_id=turn.id,
        state=state,
        idle_s=round(now - turn.pulse.last_content, 6),
    )
