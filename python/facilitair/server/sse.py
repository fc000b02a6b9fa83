"""Server-Sent Events: how an event is written, and the one response that writes streams.

A stream ends by itself, or its viewer leaves, or takes nothing for `SEND_TIMEOUT_S` and is let go; what it has not seen
waits in the log for its return.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, get_args

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .. import events as ev
from .directory import RunRecord
from .http1 import ABORT

SEND_TIMEOUT_S: Final = 30.0
RETRY_MS: Final = 1000
HEADERS: Final = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
# Of each event. OpenAPI 3.1, which generators read, has no other word for it.
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {"type": "string"},
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
# Legal JSON, but readers that split lines as Python does would cut an event there.
_LINE_ENDS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


_KINDS: Final = {kind: str(kind.__struct_config__.tag).encode() for kind in get_args(ev.AnyEvent)}


def frames(events: Sequence[ev.AnyEvent]) -> bytes:
    """Return events of one run as Server-Sent Events."""
    stream_id = events[0].stream_id.encode()
    written: list[bytes] = []
    for event in events:
        data = ev.encode(event)
        if not data.isascii():
            for raw, escaped in _LINE_ENDS:
                data = data.replace(raw, escaped)
        kind = _KINDS[type(event)]
        written.append(b"id: %s:%d\nevent: %s\ndata: %s\n\n" % (stream_id, event.seq, kind, data))
    return b"".join(written)


async def watching(record: RunRecord, after: int, heartbeat_s: float) -> AsyncGenerator[bytes]:
    """Yield the events of a run behind `after`, then what comes, until its end; comments while nothing comes.

    No blank line follows a comment: some readers take what one ends for an event, and empty ones they cannot read.
    """
    record.viewers += 1
    try:
        yield b": the events of a run\n"
        retry = b"retry: %d\n" % RETRY_MS  # within the first event: some readers take it alone for an event
        async with aclosing(record.log.follow(after, heartbeat_s)) as batches:
            async for batch in batches:
                if not batch.events:
                    yield b": waiting\n"
                elif retry:
                    yield retry + batch.made(frames)
                    retry = b""
                else:
                    yield batch.made(frames)
    finally:
        record.viewers -= 1


class EventStreamResponse(Response):
    """Sends what `bodies` yields, one piece at a time, until it ends or the viewer leaves or stalls. Then, in any case,
    `at_end` is called."""

    media_type = "text/event-stream"

    def __init__(
        self,
        bodies: AsyncGenerator[bytes],
        headers: Mapping[str, str] | None = None,
        *,
        at_end: Callable[[], Awaitable[None]] | None = None,
        send_timeout_s: float = SEND_TIMEOUT_S,
        media_type: str | None = None,
    ) -> None:
        super().__init__(headers={**HEADERS, **(headers or {})}, media_type=media_type)
        del self.headers["content-length"]
        self._bodies = bodies
        self._at_end = at_end
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until the end, or until the viewer leaves or takes nothing any more."""
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(left(receive))
        try:
            await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if writing.cancelled():  # it takes nothing, so that to close the connection would wait for ever
                scope.get("extensions", {}).get(ABORT, _nothing)()
                await asyncio.sleep(0)
            elif writing.done():
                writing.result()
        finally:
            writing.cancel()
            leaving.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
            if self._at_end is not None:
                await self._at_end()

    async def _write(self, send: Send) -> None:
        stalled = _StallGuard(self._send_timeout_s)
        try:
            async with aclosing(self._bodies) as bodies:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for body in bodies:
                    stalled.begin()
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    stalled.done()
            stalled.begin()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            stalled.end()


def _nothing() -> None:
    pass


class _StallGuard:
    """Cancels its task when one send takes longer than `timeout_s`. One timer for all sends of a viewer: to arm one
    for each would cost as much as the send."""

    def __init__(self, timeout_s: float) -> None:
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._since: float | None = None
        self._timer = self._loop.call_later(timeout_s, self._look)

    def begin(self) -> None:
        """A send begins."""
        self._since = self._loop.time()

    def done(self) -> None:
        """It is over."""
        self._since = None

    def end(self) -> None:
        """Guard no more."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        due = (now if self._since is None else self._since) + self._timeout_s
        if now >= due and self._task is not None:
            self._task.cancel()
        else:
            self._timer = self._loop.call_at(due, self._look)


async def left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
