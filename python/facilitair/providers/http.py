"""The transport over HTTP: the Rust core moves the tokens, this waits for its batches.

Python is woken once for a batch, never for a token. A cancelled `recv` loses nothing: what had arrived stays in the
core until the next one takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from facilitair_rust import HttpClient, Mux

from ..clock import MonotonicClock
from ..transport import Delta, HttpRequest

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class HttpTransport:
    """Channels over real HTTP that share one pool of connections. Close it when no channel is open any more.

    `sdk_clients`, by provider, make the requests to those with the `openai` SDK instead; they stay the caller's.
    """

    def __init__(
        self, client: HttpClient | None = None, sdk_clients: Mapping[str, AsyncOpenAI] | None = None
    ) -> None:
        self._client = HttpClient() if client is None else client
        self._sdk_clients = dict(sdk_clients or {})
        self._clock = MonotonicClock()

    @property
    def clock(self) -> MonotonicClock:
        """Real time."""
        return self._clock

    def channel(self) -> HttpChannel:
        """Return a new, empty channel. It belongs to the event loop that first waits on it."""
        return HttpChannel(self._client.mux(gather=True), self._clock, self._sdk_clients)

    def close(self) -> None:
        """Close the kept connections."""
        self._client.close()


class HttpChannel:
    """The HTTP streams of one run, merged."""

    def __init__(self, mux: Mux, clock: MonotonicClock, sdk_clients: Mapping[str, AsyncOpenAI]) -> None:
        self._mux = mux
        self._clock = clock
        self._sdk_clients = sdk_clients
        self._relays: dict[int, asyncio.Task[None]] = {}
        self._waited = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0

    def open(self, request: HttpRequest) -> int:
        """Start a stream and return its number."""
        if client := self._sdk_clients.get(request.provider):
            return self._relay(client, request)
        return self._mux.open(
            request.url,
            request.headers,
            request.body,
            request.timeouts,
            request.wire,
            think_tags=request.think_tags,
        )

    def close_stream(self, stream: int) -> None:
        """Stop a stream: its connection is closed, and `Closed` is its last delta."""
        self._mux.close_stream(stream)
        if relay := self._relays.get(stream):
            relay.cancel()

    async def recv(self, until: float | None) -> list[Delta]:
        """Return what has arrived, waiting at the latest until `clock.now()` is `until`; empty means that time came
        or `wake` was called."""
        if not self._waited:
            # Under a steady flow there is always a batch; the rest of the loop must get its turn all the same.
            await asyncio.sleep(0)
        self._waited = False
        if batch := self._mux.take():
            return batch
        self._waited = True
        if until is not None:
            self._set_alarm(until)
        await self._mux.wait()
        return self._mux.take()

    def wake(self) -> None:
        """Make a waiting `recv` return now."""
        self._mux.wake()

    def _set_alarm(self, until: float) -> None:
        """Wake at `until`, or before: it moves on with each token, and to move the timer with it would cost as much as
        the token. An alarm that is early makes one empty batch."""
        if self._alarm is not None and self._alarm_at <= until:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        delay = max(0.0, until - self._clock.now())
        self._alarm = asyncio.get_running_loop().call_later(delay, self._ring)
        self._alarm_at = until

    def _ring(self) -> None:
        self._alarm = None
        self._mux.wake()

    async def aclose(self) -> None:
        """Close every stream and its connection."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._mux.close()
        relays = list(self._relays.values())
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    def _relay(self, client: AsyncOpenAI, request: HttpRequest) -> int:
        from .sdk import relay  # only where there is a client of it

        stream = self._mux.push_stream()
        task = asyncio.create_task(relay(client, request, stream))
        self._relays[stream.stream] = task
        task.add_done_callback(lambda _: self._relays.pop(stream.stream, None))
        return stream.stream
