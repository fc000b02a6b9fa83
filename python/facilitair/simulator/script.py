"""The simulator in process: a transport that plays the brain's replies on a virtual clock, without waiting.

`recv` moves the clock to the next thing that happens: bytes that are due, a stall clock that runs out, or `until`.
The bytes go through the decoder that HTTP uses, so deltas and errors are the same. At one instant bytes come before
clocks, and streams in the order they were opened. Times are exact for one channel at a time: of two that share a
clock, each sees the time to which the other one moved it.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Final

from facilitair_rust import ChatDecoder

from ..clock import VirtualClock
from ..transport import Delta, HttpRequest
from .brain import Brain
from .wire import Refusal, Reply, Step

_REQUESTS_KEPT: Final = 10_000


class ScriptTransport:
    """Plays `brain` on `clock`. URLs and headers are ignored; `requests` holds the last ones for assertions."""

    def __init__(self, brain: Brain, clock: VirtualClock) -> None:
        self._brain = brain
        self._clock = clock
        self.requests: deque[HttpRequest] = deque(maxlen=_REQUESTS_KEPT)

    @property
    def clock(self) -> VirtualClock:
        """The clock that `recv` moves."""
        return self._clock

    def channel(self) -> ScriptChannel:
        """Return a new, empty channel."""
        return ScriptChannel(self._brain, self._clock, self.requests)


class ScriptChannel:
    """The streams of one run; implements `facilitair.transport.Channel`."""

    def __init__(self, brain: Brain, clock: VirtualClock, requests: deque[HttpRequest]) -> None:
        self._brain = brain
        self._clock = clock
        self._requests = requests
        self._streams: dict[int, _Stream] = {}
        self._opened = 0
        self._arrived: list[Delta] = []
        self._woken = asyncio.Event()

    def open(self, request: HttpRequest) -> int:
        """Start a stream at the present time and return its number."""
        self._requests.append(request)
        self._opened += 1
        now = self._clock.now()
        decoder = ChatDecoder(
            self._opened, request.timeouts, now, request.wire, think_tags=request.think_tags
        )
        spoken = self._brain.message_reply_to if request.wire == "anthropic" else self._brain.reply_to
        reply = spoken(request.body)
        if isinstance(reply, Refusal):
            self._arrived += decoder.connect_failed(reply.message)
        else:
            self._arrived += decoder.head(reply.status, reply.headers, now)
            self._streams[self._opened] = _Stream(decoder, reply, now)
        return self._opened

    def close_stream(self, stream: int) -> None:
        """Stop a stream; what is due by now is still delivered, then `Closed`."""
        closing = self._streams.pop(stream, None)
        if closing is not None:
            self._arrived += closing.play(self._clock.now())
            self._arrived += closing.decoder.close()

    async def recv(self, until: float | None) -> list[Delta]:
        """Return what has arrived; else move the clock to the next thing that happens, at most to `until`.

        Other tasks get a turn first. Without streams and without `until` nothing ever happens, so it waits for
        `wake`.
        """
        await asyncio.sleep(0)
        while not self._arrived and not self._woken.is_set():
            when = min((stream.next_at for stream in self._streams.values()), default=math.inf)
            if until is not None and until < when:
                self._clock.advance_to(max(until, self._clock.now()))
                break
            if when == math.inf:
                await self._woken.wait()
            else:
                self._clock.advance_to(max(when, self._clock.now()))
                self._happen()
        self._woken.clear()
        arrived, self._arrived = self._arrived, []
        return arrived

    def wake(self) -> None:
        """Make the `recv` that waits, or else the next one, return."""
        self._woken.set()

    async def aclose(self) -> None:
        """Drop every stream."""
        self._streams.clear()
        self._arrived.clear()
        self.wake()

    def _happen(self) -> None:
        now = self._clock.now()
        for stream in self._streams.values():
            self._arrived += stream.play(now)
        self._streams = {
            number: stream for number, stream in self._streams.items() if not stream.decoder.done
        }


class _Stream:
    """A reply being played into its decoder. The end of the bytes follows the last step at once."""

    def __init__(self, decoder: ChatDecoder, reply: Reply, now: float) -> None:
        self.decoder = decoder
        self._steps = reply.steps
        self._ending = reply.ending
        self._due = now
        self._step: Step | None = None
        self._prepare()

    @property
    def next_at(self) -> float:
        """When something happens next."""
        deadline = self.decoder.deadline()
        return self._due if deadline is None else min(self._due, deadline)

    def play(self, now: float) -> list[Delta]:
        """Return what happens until `now`."""
        deltas: list[Delta] = []
        while not self.decoder.done and self.next_at <= now:
            deadline = self.decoder.deadline()
            if deadline is not None and deadline < self._due:
                deltas += self.decoder.expire(deadline)
            elif self._step is None:
                deltas += self.decoder.eof(self._due, clean=self._ending == "complete")
            else:
                deltas += self.decoder.feed(self._step.data, self._due)
                self._prepare()
        return deltas

    def _prepare(self) -> None:
        self._step = next(self._steps, None)
        if self._step is not None:
            self._due += self._step.delay_s
        elif self._ending == "hang":
            self._due = math.inf
