"""Counts the streams that a run has open at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from facilitair.clock import VirtualClock
from facilitair.simulator.brain import Brain
from facilitair.simulator.script import ScriptChannel, ScriptTransport
from facilitair.transport import Delta, HttpRequest
from facilitair_rust import Closed, Failed, Finished

from . import harness
from .harness import Played


class CountingChannel(ScriptChannel):
    """Counts the streams that are open at once; one that was asked to close is not."""

    def __init__(self, transport: CountingTransport) -> None:
        super().__init__(transport.brain, transport.clock, transport.requests)
        self._transport = transport
        self._live: set[int] = set()

    def open(self, request: HttpRequest) -> int:
        number = super().open(request)
        self._live.add(number)
        self._transport.most_open = max(self._transport.most_open, len(self._live))
        return number

    def close_stream(self, stream: int) -> None:
        self._live.discard(stream)
        super().close_stream(stream)

    async def recv(self, until: float | None) -> list[Delta]:
        batch = await super().recv(until)
        self._live.difference_update(d.stream for d in batch if isinstance(d, (Finished, Failed, Closed)))
        return batch


class CountingTransport(ScriptTransport):
    """A transport that knows how many streams a run had open at once."""

    def __init__(self, brain: Brain, clock: VirtualClock) -> None:
        super().__init__(brain, clock)
        self.brain = brain
        self._virtual = clock
        self.most_open = 0

    @property
    def clock(self) -> VirtualClock:
        return self._virtual

    def channel(self) -> CountingChannel:
        return CountingChannel(self)


@contextmanager
def counted() -> Iterator[None]:
    """Let `play` count the streams that are open at once; `most_open` reads the figure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "ScriptTransport", CountingTransport)
        yield


def most_open(played: Played) -> int:
    """Return how many streams a run that was played under `counted` had open at once."""
    assert isinstance(played.transport, CountingTransport)
    return played.transport.most_open
