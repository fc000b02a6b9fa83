"""Runs over a WebSocket: the same events with the same numbers, for several runs at once, and control the other way.

A client sends JSON objects with a `type`:

- `subscribe` (`stream_id`, `after`): the events behind `after`; again for the same stream moves there
- `unsubscribe` (`stream_id`)
- `task` (the fields of `POST /api/stream/task`): starts a run and subscribes to it
- `cancel` (`stream_id`, `reason`)

The server sends events exactly as SSE carries them, and for what it refuses `{"type": "problem", "request": ...,
"problem": ...}`: the type of the command, and what RFC 9457 says of it. `?stream_id=` and `?after=` in the URL
subscribe at once. Closing the socket stops no run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Query, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from .. import events as ev
from ..errors import BadRequest, Busy, FacilitairError, Unprocessable
from .auth import Principal, principal
from .directory import RunRecord
from .problems import problem_of
from .runs import Runs
from .schemas import TaskRequest
from .sse import SEND_TIMEOUT_S

MOST_STREAMS: Final = 32


class _Subscribe(msgspec.Struct, tag="subscribe", tag_field="type", frozen=True):
    stream_id: str
    after: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0


class _Unsubscribe(msgspec.Struct, tag="unsubscribe", tag_field="type", frozen=True):
    stream_id: str


class _Cancel(msgspec.Struct, tag="cancel", tag_field="type", frozen=True):
    stream_id: str
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] = "cancelled by the user"


class _Task(msgspec.Struct, tag="task", tag_field="type", frozen=True):
    """What else it holds is checked as `TaskRequest`."""

    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None


_Command = _Subscribe | _Unsubscribe | _Cancel | _Task
_commands: msgspec.json.Decoder[_Command] = msgspec.json.Decoder(_Command)


def router(runs: Runs) -> APIRouter:
    """Return the WebSocket route."""
    api = APIRouter(prefix="/api")

    @api.websocket("/stream/ws")
    async def socket(
        websocket: WebSocket,
        who: Annotated[Principal, Depends(principal)],
        stream_id: Annotated[str | None, Query(max_length=64)] = None,
        after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    ) -> None:
        await websocket.accept()
        await _Session(websocket, runs, who).run(stream_id, after)

    return api


class _Session:
    """One connection: a reader of commands, and one task for each stream that is watched."""

    def __init__(self, websocket: WebSocket, runs: Runs, who: Principal) -> None:
        self._websocket = websocket
        self._runs = runs
        self._who = who
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._stalled = asyncio.Event()
        self._failure: BaseException | None = None  # of a watcher; the connection ends with it

    async def run(self, stream_id: str | None, after: int) -> None:
        """Obey commands until the client leaves or takes nothing any more. The runs go on."""
        reading = asyncio.create_task(self._read(stream_id, after))
        stalled = asyncio.create_task(self._stalled.wait())
        try:
            await asyncio.wait((reading, stalled), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            elif self._failure is not None and not isinstance(self._failure, TimeoutError):
                raise self._failure
        except WebSocketDisconnect:
            pass
        finally:
            tasks = [reading, stalled, *self._watching.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, stream_id: str | None, after: int) -> None:
        if stream_id is not None:
            await self._obey("subscribe", _Subscribe(stream_id, after), b"")
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if (said := message.get("text")) is None:
                await self._websocket.close(1003, "commands are JSON, sent as text")
                return
            text = said.encode(errors="replace")
            try:
                command = _commands.decode(text)
            except (msgspec.DecodeError, RecursionError) as error:
                await self._refuse(None, BadRequest(f"not a command: {error}"))
            else:
                await self._obey(str(command.__struct_config__.tag), command, text)

    async def _obey(self, name: str, command: _Command, text: bytes) -> None:
        try:
            match command:
                case _Subscribe():
                    self._who.check_stream(command.stream_id)
                    record = await self._runs.directory.find(command.stream_id, self._who.id)
                    self._subscribe(record, command.after)
                case _Unsubscribe():
                    if task := self._watching.pop(command.stream_id, None):
                        task.cancel()
                case _Cancel():
                    self._who.check_may_act()
                    await self._runs.directory.cancel(command.stream_id, self._who.id, command.reason)
                case _Task():
                    self._subscribe(await self._start(command, text), 0)
        except FacilitairError as error:
            await self._refuse(name, error)

    async def _start(self, command: _Task, text: bytes) -> RunRecord:
        self._who.check_may_act()
        await self._runs.directory.count_request(self._who.id)
        try:
            fields = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRequest(f"not a command: {error}") from None
        try:
            body = TaskRequest.model_validate(
                {key: value for key, value in fields.items() if key not in ("type", "idempotency_key")}
            )
        except ValidationError as error:
            mistake = error.errors()[0]
            where = ".".join(map(str, mistake["loc"]))
            raise Unprocessable(f"{where}: {mistake['msg']}.") from None
        return await self._runs.start(body.call(), self._who.id, command.idempotency_key)

    def _subscribe(self, record: RunRecord, after: int) -> None:
        """Send the run's events from `after` on; raises `Busy` when too many streams are watched."""
        before = self._watching.pop(record.stream_id, None)
        if before is not None:
            before.cancel()
        elif len(self._watching) >= MOST_STREAMS:
            raise Busy(f"a connection watches at most {MOST_STREAMS} streams; unsubscribe from one.")
        task = asyncio.create_task(self._watch(record, after))
        self._watching[record.stream_id] = task
        task.add_done_callback(lambda done: self._forget(record.stream_id, done))

    def _forget(self, stream_id: str, done: asyncio.Task[None]) -> None:
        if self._watching.get(stream_id) is done:
            del self._watching[stream_id]
        if not done.cancelled() and (error := done.exception()) is not None:
            self._failure = self._failure or error
            self._stalled.set()

    async def _watch(self, record: RunRecord, after: int) -> None:
        record.viewers += 1
        try:
            async with aclosing(record.log.follow(after)) as batches:
                async for batch in batches:
                    for text in batch.made(_texts):
                        await self._send(text)
        finally:
            record.viewers -= 1

    async def _refuse(self, request: str | None, error: FacilitairError) -> None:
        problem = {"type": "problem", "request": request, "problem": problem_of(error).as_dict()}
        await self._send(msgspec.json.encode(problem).decode())

    async def _send(self, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._websocket.send_text(text)
        except (TimeoutError, WebSocketDisconnect):
            self._stalled.set()
            raise


def _texts(events: Sequence[ev.AnyEvent]) -> list[str]:
    return [ev.encode(event).decode() for event in events]
