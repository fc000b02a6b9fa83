"""Runs over HTTP: start, watch as Server-Sent Events, ask how far, cancel.

A stream is watched from any point: `Last-Event-ID`, which browsers send by themselves, or `?after=`. Watching starts
nothing and leaving stops nothing. When there is nothing more to come the answer is 204, which tells an `EventSource`
not to ask again.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Security
from starlette.responses import Response

from ..errors import BadRequest
from .auth import TICKET, Principal, principal
from .directory import RunRecord
from .log import EventLog
from .problems import documented, documented_headers
from .runs import Runs
from .schemas import CancelRequest, StreamStatus, TaskQuery, TaskRequest, status_of, urls_of
from .settings import ServerSettings
from .sse import HEADERS, SCHEMA, EventStreamResponse, watching

StreamId = Annotated[str, Path(max_length=64, description="What `POST /api/stream/task` returned.")]
Whose = Annotated[Principal, Depends(principal)]
After = Annotated[
    int | None,
    Query(ge=0, le=2**53, description="The last `seq` that was seen; the stream goes on behind it."),
]
LastEventId = Annotated[
    str | None, Header(max_length=128, description="`<stream_id>:<seq>`; comes before `after`.")
]
_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The events of the run.",
        "content": {"text/event-stream": {"schema": SCHEMA}},
    },
    204: {"description": "The run has ended and nothing follows."},
}
_NO_REASON: Final = CancelRequest()
_LOCATION: Final = {"headers": documented_headers({"Location": "Where the run's events are."})}


def router(runs: Runs, settings: ServerSettings) -> APIRouter:
    """Return the routes under `/api`."""
    api = APIRouter(prefix="/api", tags=["streams"], responses=documented(400, 401, 403, 422, 429))
    directory = runs.directory

    def watch(record: RunRecord, after: int, who: Principal) -> Response:
        over = record.ended is not None and time.time() - record.ended > settings.ticket_s
        if record.log.ended and (after >= record.log.last_seq or (over and who.stream is not None)):
            return Response(status_code=204, headers=HEADERS)
        return EventStreamResponse(watching(record, after, settings.heartbeat_s))

    @api.post(
        "/stream/task",
        status_code=202,
        response_model=StreamStatus,
        responses={
            200: {"description": "The run has ended (`stream: false`).", "model": StreamStatus, **_LOCATION},
            202: {"description": "The run goes on.", **_LOCATION},
            **documented(409, 413, 503),
        },
    )
    async def start(
        body: TaskRequest,
        who: Whose,
        response: Response,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    ) -> StreamStatus:
        """Start a run. With an `Idempotency-Key` that was used before, return that run instead."""
        who.check_may_act()
        record = await runs.start(body.call(), who.id, idempotency_key)
        if not body.stream:
            await ended(record.log)
            response.status_code = 200
        response.headers["Location"] = urls_of(record.stream_id).events
        return await status_of(record, body.session_id)

    @api.get(
        "/stream/events/{stream_id}",
        response_class=Response,
        responses={**_EVENTS, **documented(404, 410)},
        dependencies=[Security(TICKET)],
    )
    async def events(
        stream_id: StreamId, who: Whose, after: After = None, last_event_id: LastEventId = None
    ) -> Response:
        """Watch a run as Server-Sent Events, from its beginning or behind the last event that was seen."""
        who.check_stream(stream_id)
        record = await directory.find(stream_id, who.id)
        return watch(record, _position(stream_id, last_event_id, after), who)

    @api.get("/stream/status/{stream_id}", responses=documented(404, 410), dependencies=[Security(TICKET)])
    async def status(stream_id: StreamId, who: Whose) -> StreamStatus:
        """Say how far a run is."""
        who.check_stream(stream_id)
        return await status_of(await directory.find(stream_id, who.id))

    @api.post("/stream/cancel/{stream_id}", responses=documented(404, 410, 413))
    async def cancel(
        stream_id: StreamId, who: Whose, body: Annotated[CancelRequest, Body()] = _NO_REASON
    ) -> StreamStatus:
        """Stop a run. It ends with `task_cancelled`; one that has ended already stays as it is."""
        who.check_may_act()
        record = await directory.cancel(stream_id, who.id, body.reason)
        await ended(record.log)
        return await status_of(record)

    @api.get(
        "/collaborate/stream",
        response_class=Response,
        responses={**_EVENTS, **documented(404, 410, 413, 503)},
    )
    async def collaborate(
        who: Whose, query: Annotated[TaskQuery, Query()], last_event_id: LastEventId = None
    ) -> Response:
        """Start a run and watch it, in one call. A reconnection goes on with the same run: with `Last-Event-ID` where
        it was, and without, when it asks for the same within seconds, from the beginning."""
        who.check_may_act()
        if last_event_id:
            stream_id = last_event_id.partition(":")[0]
            record = await directory.find(stream_id, who.id)
            return watch(record, _position(stream_id, last_event_id, None), who)
        return watch(await runs.start_once(query.call(), who.id), query.after or 0, who)

    return api


async def ended(log: EventLog) -> None:
    """Wait until the run has ended."""
    async with aclosing(log.follow(log.last_seq)) as batches:
        async for _ in batches:
            pass


def _position(stream_id: str, last_event_id: str | None, after: int | None) -> int:
    """Return the last `seq` that the viewer has."""
    if not last_event_id:
        return after or 0
    name, _, seq = last_event_id.rpartition(":")
    if name not in ("", stream_id) or not (seq.isascii() and seq.isdigit()) or len(seq) > 16:
        raise BadRequest(
            f"Last-Event-ID {last_event_id!r} is not one of this stream; they look like {stream_id}:17."
        )
    return int(seq)
