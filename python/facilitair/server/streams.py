"""Runs over HTTP: start, watch as Server-Sent Events, ask how far, cancel.

A stream is watched from any point: `Last-Event-ID`, which browsers send by themselves, or `?after=`. Watching starts
nothing and leaving stops nothing. When there is nothing more to come the answer is 204, which tells an `EventSource`
not to ask again. A viewer that takes nothing for `SEND_TIMEOUT_S` is let go; it can come back and go on.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Security
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .. import events as ev
from ..errors import BadRequest
from .auth import TICKET, Principal, principal
from .log import EventLog
from .problems import documented, documented_headers
from .runs import RunRecord, Runs, TaskSpec
from .settings import ServerSettings

SEND_TIMEOUT_S: Final = 30.0
RETRY_MS: Final = 1000
_HEADERS: Final = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
# Legal JSON, but readers that split lines as Python does would cut an event there.
_LINE_ENDS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))

StreamId = Annotated[str, Path(max_length=64, description="What `POST /api/stream/task` returned.")]
Whose = Annotated[Principal, Depends(principal)]
Positive = Annotated[float, Field(gt=0)]
After = Annotated[
    int | None,
    Query(ge=0, le=2**53, description="The last `seq` that was seen; the stream goes on behind it."),
]
LastEventId = Annotated[
    str | None, Header(max_length=128, description="`<stream_id>:<seq>`; comes before `after`.")
]


class TaskRequest(BaseModel):
    """A task, and what its run may decide for itself. What is left out stays as the server is configured."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(min_length=1, description="What shall be done.")
    context: dict[str, Any] | None = Field(None, description="What every agent is told beside the task.")
    strategy: str | None = Field(
        None, description="The graph of agents: balanced, pipeline, or a configured one."
    )
    preset: str | None = Field(
        None, description="Which models the roles get: fast, balanced, quality, budget."
    )
    models: str | dict[str, str] | None = Field(
        None, description='"provider/model" for all agents, or a mapping from role to model.'
    )
    sections: list[str] | None = Field(None, description="The parts of the answer.")
    max_cost: Positive | None = Field(None, description="US dollars that the run may cost.")
    max_tokens: Annotated[int, Field(gt=0)] | None = Field(None, description="Tokens, in and out.")
    timeout: Positive | None = Field(None, description="Seconds that the run may take.")
    cache: bool | None = Field(None, description="Whether the cache may answer and store.")
    stream: bool = Field(True, description="Answer at once (202); false waits for the end of the run (200).")
    preferred_language: str | None = Field(None, description="The same as `context.language`.")
    session_id: str | None = Field(None, max_length=200, description="Any name; it comes back in the answer.")

    def spec(self) -> TaskSpec:
        """Return the task for `Runs.start`."""
        context = self.context
        if self.preferred_language is not None:
            context = {"language": self.preferred_language, **(context or {})}
        return TaskSpec(
            task=self.task,
            context=context,
            strategy=self.strategy,
            preset=self.preset,
            models=self.models,
            sections=self.sections,
            max_cost=self.max_cost,
            max_tokens=self.max_tokens,
            timeout=self.timeout,
            cache=self.cache,
        )


class Urls(BaseModel):
    """Where a stream is read and steered."""

    events: str
    status: str
    cancel: str
    websocket: str


class StreamStatus(BaseModel):
    """How far a run is. `estimated_time`, `estimated_cost` and `error` repeat fields under names of other clients."""

    stream_id: str
    session_id: str | None = None
    status: Literal["running", "completed", "failed", "cancelled"]
    last_seq: int
    task: str
    strategy: str
    simulated: bool
    total_chunks: int
    completed_chunks: int
    estimated_time_s: float | None
    estimated_time: float | None
    estimated_cost_usd: float | None
    estimated_cost: float | None
    cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None
    content: str
    degraded: list[str]
    error_code: str | None
    error_message: str | None
    error: str | None
    created: float
    ended: float | None
    viewers: int
    urls: Urls


class CancelRequest(BaseModel):
    """Why a run is stopped."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500)] = "cancelled by the user"


SSE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {"type": "string"},
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The events of the run.",
        "content": {"text/event-stream": {"itemSchema": SSE_SCHEMA}},
    },
    204: {"description": "The run has ended and nothing follows."},
}
_LOCATION: Final = {"headers": documented_headers({"Location": "Where the run's events are."})}


def router(runs: Runs, settings: ServerSettings) -> APIRouter:
    """Return the routes under `/api`."""
    api = APIRouter(prefix="/api", tags=["streams"], responses=documented(400, 401, 403, 422, 429))

    def watch(record: RunRecord, after: int) -> Response:
        if record.log.ended and after >= record.log.last_seq:
            return Response(status_code=204, headers=_HEADERS)
        return EventStream(record, after, settings.heartbeat_s)

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
        record = await runs.start(body.spec(), who.id, idempotency_key)
        if not body.stream:
            await ended(record.log)
            response.status_code = 200
        response.headers["Location"] = _urls(record).events
        return status_of(record, body.session_id)

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
        return watch(runs.find(stream_id, who.id), _position(stream_id, last_event_id, after))

    @api.get("/stream/status/{stream_id}", responses=documented(404, 410), dependencies=[Security(TICKET)])
    async def status(stream_id: StreamId, who: Whose) -> StreamStatus:
        """Say how far a run is."""
        who.check_stream(stream_id)
        return status_of(runs.find(stream_id, who.id))

    @api.post("/stream/cancel/{stream_id}", responses=documented(404, 410, 413))
    async def cancel(stream_id: StreamId, who: Whose, body: CancelRequest | None = None) -> StreamStatus:
        """Stop a run. It ends with `task_cancelled`; one that has ended already stays as it is."""
        who.check_may_act()
        record = runs.cancel(stream_id, who.id, (body or CancelRequest()).reason)
        await ended(record.log)
        return status_of(record)

    @api.get(
        "/collaborate/stream",
        response_class=Response,
        responses={**_EVENTS, **documented(404, 410, 413, 503)},
    )
    async def collaborate(
        who: Whose,
        task: Annotated[str, Query(min_length=1)],
        strategy: str | None = None,
        preset: str | None = None,
        models: str | None = None,
        preferred_language: str | None = None,
        after: After = None,
        last_event_id: LastEventId = None,
    ) -> Response:
        """Start a run and watch it, in one call. A reconnection with `Last-Event-ID` goes on with the same run."""
        who.check_may_act()
        if last_event_id:
            stream_id = last_event_id.partition(":")[0]
            return watch(runs.find(stream_id, who.id), _position(stream_id, last_event_id, after))
        context = None if preferred_language is None else {"language": preferred_language}
        spec = TaskSpec(task, context, strategy=strategy, preset=preset, models=models)
        return watch(await runs.start(spec, who.id), after or 0)

    return api


async def ended(log: EventLog) -> None:
    """Wait until the run has ended."""
    while not log.ended:
        await log.wait(log.last_seq)


def status_of(record: RunRecord, session_id: str | None = None) -> StreamStatus:
    """Return how far a run is."""
    state = record.state
    usage = state.usage or ev.Usage()
    return StreamStatus(
        stream_id=record.stream_id,
        session_id=session_id,
        status=state.status,
        last_seq=record.log.last_seq,
        task=state.task,
        strategy=state.strategy,
        simulated=state.simulated,
        total_chunks=state.total_chunks,
        completed_chunks=state.completed_chunks,
        estimated_time_s=state.estimated_time_s,
        estimated_time=state.estimated_time_s,
        estimated_cost_usd=state.estimated_cost_usd,
        estimated_cost=state.estimated_cost_usd,
        cost_usd=state.cost_usd,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        content=state.content,
        degraded=list(state.degraded),
        error_code=state.error_code,
        error_message=state.error_message,
        error=state.error_message,
        created=record.created,
        ended=record.ended,
        viewers=record.viewers,
        urls=_urls(record),
    )


def frame(event: ev.AnyEvent) -> bytes:
    """Return the event as one Server-Sent Event."""
    data = ev.encode(event)
    for raw, escaped in _LINE_ENDS:
        if raw in data:
            data = data.replace(raw, escaped)
    kind = event.__struct_config__.tag
    return b"id: %s:%d\nevent: %s\ndata: %s\n\n" % (
        event.stream_id.encode(),
        event.seq,
        str(kind).encode(),
        data,
    )


class EventStream(Response):
    """The events of a run behind `after`, then what comes, until its end; comments while nothing comes."""

    media_type = "text/event-stream"

    def __init__(
        self, record: RunRecord, after: int, heartbeat_s: float, send_timeout_s: float = SEND_TIMEOUT_S
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._record = record
        self._after = after
        self._heartbeat_s = heartbeat_s
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Write until the end, or until the viewer leaves or takes nothing any more."""
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_left(receive))
        self._record.viewers += 1
        try:
            await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            self._record.viewers -= 1
            writing.cancel()
            leaving.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        log, after = self._record.log, self._after
        body = b": the events of a run\n\n"
        retry = b"retry: %d\n" % RETRY_MS  # within the first event: some readers take it alone for an event
        while True:
            try:
                async with asyncio.timeout(self._send_timeout_s):
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            except TimeoutError:
                return  # it takes nothing; what it has not seen waits in the log for its return
            if not log.ended and log.last_seq <= after:
                try:
                    async with asyncio.timeout(self._heartbeat_s):
                        await log.wait(after)
                except TimeoutError:
                    body = b": waiting\n\n"
                    continue
            events = log.read(after)
            if not events:
                break
            body, retry = retry + b"".join(map(frame, events)), b""
            after = events[-1].seq
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    message: Message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()


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


def _urls(record: RunRecord) -> Urls:
    name = record.stream_id
    return Urls(
        events=f"/api/stream/events/{name}",
        status=f"/api/stream/status/{name}",
        cancel=f"/api/stream/cancel/{name}",
        websocket=f"/api/stream/ws?stream_id={name}",
    )
