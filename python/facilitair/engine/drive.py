"""Driving a run: the one place that waits, once for each batch.

Whoever iterates drives: a consumer that is slow slows the reading of the sockets, and one that leaves closes them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from .. import events as ev
from ..transport import Channel, Transport
from .plan import Plan
from .run import Run


class Handle:
    """What somebody outside can do with a run: see its state, ask it to stop.

    `state` is as of the last batch, so it may be ahead of the event that a consumer looks at.
    """

    def __init__(self) -> None:
        self.state = ev.RunState()
        self.cancelled: str | None = None
        self._channel: Channel | None = None

    def attach(self, state: ev.RunState, channel: Channel) -> None:
        """Bind the handle to the run that begins."""
        self.state, self._channel = state, channel

    def cancel(self, reason: str) -> None:
        """Ask the run to stop; the first reason stands."""
        self.cancelled = self.cancelled or reason
        if self._channel is not None:
            self._channel.wake()

    async def stop(self, reason: str) -> None:
        """Ask the run to stop and close its streams now, also when nobody takes its events any more."""
        self.cancel(reason)
        if self._channel is not None:
            await self._channel.aclose()


async def stream_events(plan: Plan, transport: Transport, handle: Handle) -> AsyncGenerator[ev.AnyEvent]:
    """Run `plan` and yield its events; the last one is terminal.

    Closing the iterator, or cancelling the task that drives it, closes every stream of the run.
    """
    channel = transport.channel()
    try:
        run = Run(plan, channel, transport.clock)
        handle.attach(run.state, channel)
        try:
            if handle.cancelled is None:
                run.start()
            while True:
                for event in run.drain():
                    yield event
                if run.finished:
                    return
                if handle.cancelled is not None:
                    run.cancel(handle.cancelled)
                    continue
                deadline = run.deadline()
                run.feed(await channel.recv(deadline))
                if transport.clock.now() >= deadline:
                    run.tick()
        except Exception as error:
            # Viewers, recordings and other processes see only events, so the stream is ended for them too.
            run.break_off(
                f"a mistake in Facilitair stopped the run ({type(error).__name__}); please report it"
            )
            for event in run.drain():
                yield event
            raise
    finally:
        await channel.aclose()
