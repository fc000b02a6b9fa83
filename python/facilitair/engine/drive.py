"""Driving a run: the one place that waits, once for each batch.

Whoever iterates drives: a consumer that is slow slows the reading of the sockets, and one that leaves closes them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from .. import events as ev
from ..clock import Clock
from ..fold import answer
from ..stream import NOBODY, Cancel, EventStream
from ..transport import Channel
from .plan import Plan
from .run import Run


async def drive(
    plan: Plan, channel: Channel, clock: Clock, events: EventStream
) -> AsyncGenerator[list[ev.AnyEvent]]:
    """Run `plan` over `channel`; yield what is said into `events`, a batch at a time, until its end.

    However it is left, the run has its end then: whoever closes the iterator early, or cancels the task that drives
    it, finds the last events in `events.drain()`. The channel stays the caller's to close.
    """
    events.begin(clock, channel.wake)
    run = Run(plan, channel, clock, events)
    try:
        run.obey(events.inbox.take())
        run.start()
        while True:
            if batch := events.drain():
                yield batch
            if run.finished:
                return
            if commands := events.inbox.take():
                run.obey(commands)
                continue
            deadline = run.deadline()
            run.feed(await channel.recv(deadline))
            if clock.now() >= deadline:
                run.tick()
    except Exception as error:
        # Viewers, recordings and other processes see only events, so the stream is ended for them too.
        _break_off(run, events, error)
        if batch := events.drain():
            yield batch
        raise
    finally:
        try:
            run.obey([*events.inbox.take(), Cancel(NOBODY)])
        except Exception as error:
            _break_off(run, events, error)
            raise


def _break_off(run: Run, events: EventStream, error: Exception) -> None:
    """End a run that a mistake of ours stopped, also when the mistake keeps it from being ended in order."""
    message = f"a mistake in Facilitair stopped the run ({type(error).__name__}); please report it"
    try:
        run.break_off(message)
    finally:
        state = events.state
        usage = state.usage or ev.Usage()
        events.end(
            ev.TaskErrorEvent(
                code="internal", message=message, partial=answer(state), usage=usage, cost_usd=state.cost_usd
            )
        )
