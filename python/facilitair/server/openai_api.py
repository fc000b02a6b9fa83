"""`/v1`: each strategy as a model of an OpenAI-compatible server.

The last user message is the task; the messages around it are told to the agents as the context's `conversation`. The
debate streams as `reasoning_content`, labelled by agent, the answer as `content`. OpenAI's protocol can only append, so
`content` gets a section when its synthesis stands, in the order of the answer; what is revised after that is followed,
at the end, by the whole corrected answer. In the debate, text taken back is marked as such.

The client is the owner: when it leaves, the run is stopped. Fields of OpenAI's that steer one model (`temperature`,
`max_tokens`, `tools`) are accepted and have no effect; what would have to change the form of the answer (`n`,
`response_format`, a required tool) is refused, and so is everything that would send the server elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from .. import events as ev
from ..config import Config
from ..engine.strategies import BUILT_IN
from ..errors import NoSuchModel, RunFailed, TooLarge, Unprocessable
from ..fold import apply
from .auth import Principal, principal
from .log import EventLog
from .problems import documented, documented_headers
from .runs import RunRecord, Runs, TaskSpec
from .settings import ServerSettings
from .streams import SSE_SCHEMA

PREFIX: Final = "facilitair/"
STALLED_S: Final = 30.0
LEFT: Final = "the client left"
# An agent takes the floor from another with this many characters, or with the end of its turn.
_WORTH_A_TURN: Final = 280
_ELSEWHERE: Final = (
    "base_url",
    "api_base",
    "api_key",
    "api_version",
    "organization",
    "extra_headers",
    "headers",
)
_HEADERS: Final = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
_DONE: Final = b"data: [DONE]\n\n"
_log = logging.getLogger(__name__)


class Part(BaseModel):
    """A part of a message; only text is taken."""

    type: str
    text: str = ""


class Message(BaseModel):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """The message as text. Raises `Unprocessable` for a part that is none."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        for part in self.content:
            if part.type != "text":
                raise Unprocessable(f"messages: a part is {part.type[:40]!r}, but the agents read only text.")
        return "\n".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    include_usage: bool = False


class ResponseFormat(BaseModel):
    """The form of the answer; only text is given."""

    type: Literal["text"]


class Extras(BaseModel):
    """What a client can decide beyond OpenAI's fields; see the options of `/api/stream/task`."""

    model_config = ConfigDict(extra="forbid")

    preset: str | None = None
    models: str | dict[str, str] | None = None
    sections: list[str] | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None


class ChatRequest(BaseModel):
    """A request for an answer."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    response_format: ResponseFormat | None = None
    tool_choice: Literal["none", "auto"] | None = None
    facilitair: Extras = Extras()

    @model_validator(mode="before")
    @classmethod
    def _stays_here(cls, data: Any) -> Any:
        for name in _ELSEWHERE if isinstance(data, dict) else ():
            if name in data:
                raise ValueError(f"{name} is the server's own and cannot be given in a request; leave it out")
        return data

    def spec(self, strategy: str, most_characters: int) -> TaskSpec:
        """Return the task. Raises `Unprocessable` without a user message, `TooLarge`."""
        last = next((i for i in reversed(range(len(self.messages))) if self.messages[i].role == "user"), None)
        if last is None:
            raise Unprocessable("messages: there is no user message, so there is no task; add one.")
        characters = sum(len(message.text) for message in self.messages)
        if characters > most_characters:
            raise TooLarge(
                f"the messages have {characters:,} characters; at most {most_characters:,} are taken."
            )
        others = [
            {"role": message.role, "content": message.text}
            for place, message in enumerate(self.messages)
            if place != last and message.text
        ]
        return TaskSpec(
            task=self.messages[last].text,
            context={"conversation": others} if others else None,
            strategy=strategy,
            **self.facilitair.model_dump(),
        )


@dataclass(frozen=True, slots=True)
class Delta:
    """Text to append, to the debate or to the answer."""

    field: Literal["reasoning_content", "content"]
    text: str


class Transcript:
    """Turns the events of a run into text that is only ever appended to. Pure: no I/O, no clock."""

    def __init__(self) -> None:
        self.state = ev.RunState()
        self._told: dict[str, int] = {}  # by chunk: how much of its text has been told
        self._settled: dict[str, int] = {}  # by chunk: up to where its text stands in fragments
        self._speaker: str | None = None  # the chunk that has the floor
        self._sections = 0
        self._answer = ""

    def take(self, event: ev.AnyEvent) -> Iterator[Delta]:
        """Return what the event adds."""
        self.state = apply(self.state, event)
        match event:
            case ev.TaskStartedEvent(simulated=True):
                yield from self._note("the models of this run are simulated: their text is scripted")
            case ev.SystemMessageEvent(level="warning" | "error"):
                yield from self._note(event.message)
            case ev.TokenStreamEvent() if event.keep is not None:
                yield from self._cut(event.chunk_id, event.keep, "begins anew here")
            case ev.FragmentEvent():
                self._settled[event.chunk_id] = event.end
                yield from self._tell(event.chunk_id, last=False)
            case ev.FragmentsRetractedEvent():
                yield from self._cut(event.chunk_id, event.keep, f"takes this back: {event.reason}")
            case ev.ChunkCompletedEvent():
                self._settled[event.chunk_id] = len(event.content)
                yield from self._tell(event.chunk_id, last=True)
            case ev.StateSnapshotEvent():
                for chunk_id, chunk in self.state.chunks.items():
                    self._settled[chunk_id] = len(chunk.text)
                    self._told[chunk_id] = min(self._told.get(chunk_id, 0), len(chunk.text))
                yield from self._stand()
            case ev.SynthesisCompletedEvent() | ev.TaskProgressEvent():
                yield from self._stand()
            case ev.TaskCompletedEvent():
                yield from self._finish(event.content)
            case _:
                pass

    def _tell(self, chunk_id: str, *, last: bool) -> Iterator[Delta]:
        chunk = self.state.chunks.get(chunk_id)
        if chunk is None:
            return
        new = chunk.text[self._told.get(chunk_id, 0) : self._settled[chunk_id]]
        interrupts = self._speaker not in (None, chunk_id)
        if not new.strip() or (interrupts and not last and len(new) < _WORTH_A_TURN):
            return
        self._told[chunk_id] = self._settled[chunk_id]
        if self._speaker != chunk_id:
            new = self._label(chunk) + new.lstrip("\n")
            self._speaker = chunk_id
        yield Delta("reasoning_content", new)

    def _label(self, chunk: ev.ChunkState) -> str:
        title = next((s.title for s in self.state.sections if s.id == chunk.section), None)
        place = f" ({title})" if title is not None and len(self.state.sections) > 1 else ""
        return f"\n\n**{chunk.agent}**{place}:\n"

    def _cut(self, chunk_id: str, keep: int, what: str) -> Iterator[Delta]:
        self._settled[chunk_id] = min(self._settled.get(chunk_id, 0), keep)
        if self._told.get(chunk_id, 0) <= keep:
            return
        self._told[chunk_id] = keep
        if chunk := self.state.chunks.get(chunk_id):
            yield from self._note(f"{chunk.agent} {what}")

    def _note(self, text: str) -> Iterator[Delta]:
        self._speaker = None
        yield Delta("reasoning_content", f"\n\n[{' '.join(text.split())}]\n\n")

    def _stand(self) -> Iterator[Delta]:
        """Tell the next sections whose synthesis stands."""
        for section in self.state.sections[self._sections :]:
            synthesis = self.state.syntheses.get(section.id)
            if synthesis is None or synthesis.status != "completed":
                return
            self._sections += 1
            if synthesis.text:
                yield from self._append(f"\n\n{synthesis.text}" if self._answer else synthesis.text)

    def _finish(self, content: str) -> Iterator[Delta]:
        if content.startswith(self._answer):
            yield from self._append(content[len(self._answer) :])
        else:
            yield from self._append(
                f"\n\n---\n\n**The answer was corrected while it was written. In full:**\n\n{content}"
            )

    def _append(self, text: str) -> Iterator[Delta]:
        self._answer += text
        if text:
            yield Delta("content", text)


async def deltas(log: EventLog, transcript: Transcript) -> AsyncGenerator[Delta]:
    """Yield what there is to append, until the run has ended."""
    after = 0
    while True:
        events = log.read(after)
        for event in events:
            after = event.seq
            for delta in transcript.take(event):
                yield delta
            if isinstance(event, ev.TERMINAL):
                return
        if not events:
            await log.wait(after)


def router(runs: Runs, settings: ServerSettings, config: Config) -> APIRouter:
    """Return the routes of `/v1`; the strategies that ship and those of `config` are the models."""
    routes = APIRouter(
        prefix="/v1", tags=["OpenAI"], responses=documented(400, 401, 403, 422, 429, openai=True)
    )
    strategies = tuple(dict.fromkeys((config.default_strategy, *BUILT_IN, *config.strategy)))
    since = int(time.time())

    def card(name: str) -> dict[str, Any]:
        return {"id": PREFIX + name, "object": "model", "created": since, "owned_by": "facilitair"}

    def known(model: str) -> str:
        name = model.removeprefix(PREFIX)
        if name not in strategies:
            names = ", ".join(PREFIX + strategy for strategy in strategies)
            raise NoSuchModel(f"there is no model {model[:80]!r}; there are {names}.")
        return name

    @routes.get("/models", summary="The strategies, as models")
    async def models(who: Annotated[Principal, Depends(principal)]) -> dict[str, Any]:
        who.check_may_act()
        return {"object": "list", "data": [card(name) for name in strategies]}

    @routes.get(
        "/models/{model:path}", summary="One strategy, as a model", responses=documented(404, openai=True)
    )
    async def model(model: str, who: Annotated[Principal, Depends(principal)]) -> dict[str, Any]:
        who.check_may_act()
        return card(known(model))

    @routes.post(
        "/chat/completions",
        summary="Let the agents of a strategy answer",
        response_class=JSONResponse,
        responses={
            200: {
                "description": "A chat completion, or with `stream` its chunks and `[DONE]`.",
                "content": {"text/event-stream": {"itemSchema": SSE_SCHEMA}},
                "headers": documented_headers(
                    {"X-Facilitair-Stream": "The stream with all events of the run."}
                ),
            },
            **documented(402, 404, 413, 502, 503, 504, openai=True),
        },
    )
    async def chat(
        body: ChatRequest, request: Request, who: Annotated[Principal, Depends(principal)]
    ) -> Response:
        who.check_may_act()
        strategy = known(body.model)
        record = await runs.start(body.spec(strategy, settings.max_task_characters), who.id)
        reply = Reply(record, PREFIX + strategy)
        if body.stream:
            usage = body.stream_options is not None and body.stream_options.include_usage
            return OwnedStream(record, reply.stream(include_usage=usage), settings.heartbeat_s)
        return await _whole(reply, request)

    return routes


class Reply:
    """A run in OpenAI's words."""

    def __init__(self, record: RunRecord, model: str) -> None:
        self.record = record
        self._transcript = Transcript()
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{record.stream_id}",
            "created": int(record.created),
            "model": model,
        }

    async def whole(self) -> dict[str, Any]:
        """Return the completion, once the run has ended. Raises `RunFailed`."""
        texts: dict[str, list[str]] = {"reasoning_content": [], "content": []}
        async with aclosing(deltas(self.record.log, self._transcript)) as pieces:
            async for piece in pieces:
                texts[piece.field].append(piece.text)
        if failed := self._failure():
            raise failed
        message = {"role": "assistant", **{name: "".join(pieces) for name, pieces in texts.items()}}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage()}

    async def stream(self, *, include_usage: bool) -> AsyncGenerator[bytes]:
        """Yield the server-sent events of the completion; a failure is an error object before the end."""
        more: dict[str, Any] = {"usage": None} if include_usage else {}
        yield self._chunk({"role": "assistant", "content": ""}, None, more)
        async with aclosing(deltas(self.record.log, self._transcript)) as pieces:
            async for piece in pieces:
                yield self._chunk({piece.field: piece.text}, None, more)
        if failed := self._failure():
            yield _data({"error": failed.as_openai()})
        else:
            yield self._chunk({}, "stop", more)
            if include_usage:
                yield _data(
                    {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()}
                )
        yield _DONE

    def _chunk(self, delta: dict[str, str], finish: str | None, more: dict[str, Any]) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**self._head, "object": "chat.completion.chunk", "choices": [choice], **more})

    def _failure(self) -> RunFailed | None:
        state = self._transcript.state
        match state.status:
            case "completed":
                return None
            case "failed":
                return RunFailed(state.error_code or "internal", state.error_message or "the run failed.")
            case _:
                return RunFailed("cancelled", f"the run was stopped: {state.error_message}.")

    def _usage(self) -> dict[str, Any] | None:
        """Return what the whole run used. OpenAI's form has no word for "nobody said" but leaving it out."""
        usage = self._transcript.state.usage
        if usage is None or usage.input_tokens is None or usage.output_tokens is None:
            return None
        return {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens or 0},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        }


class OwnedStream(Response):
    """A stream whose end, however it comes, is the end of the run too; comments while there is nothing to say."""

    media_type = "text/event-stream"

    def __init__(self, record: RunRecord, pieces: AsyncGenerator[bytes], heartbeat_s: float) -> None:
        super().__init__(headers={**_HEADERS, "X-Facilitair-Stream": record.stream_id})
        del self.headers["content-length"]
        self._record = record
        self._pieces = pieces
        self._heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the stream until its end, or until the client leaves or reads nothing any more."""
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            self._record.cancel(LEFT)
            writing.cancel()
            leaving.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with (
            aclosing(self._pieces) as pieces,
            aclosing(_with_signs_of_life(pieces, self._heartbeat_s)) as bodies,
        ):
            async for body in bodies:
                try:
                    async with asyncio.timeout(STALLED_S):
                        await send({"type": "http.response.body", "body": body, "more_body": True})
                except TimeoutError:
                    _log.warning(
                        "stream %s: the client read nothing for %g s", self._record.stream_id, STALLED_S
                    )
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _with_signs_of_life(pieces: AsyncGenerator[bytes], heartbeat_s: float) -> AsyncGenerator[bytes]:
    """Yield the pieces, and a comment whenever none comes for a while."""
    while True:
        piece = asyncio.ensure_future(anext(pieces, None))
        try:
            while not (await asyncio.wait((piece,), timeout=heartbeat_s))[0]:
                yield b": keep-alive\n\n"
        finally:
            if not piece.done():
                piece.cancel()
                await asyncio.gather(piece, return_exceptions=True)
        body = piece.result()
        if body is None:
            return
        yield body


async def _whole(reply: Reply, request: Request) -> Response:
    """Answer when the run has ended; stop it when the client leaves before."""
    answer = asyncio.create_task(reply.whole())
    gone = asyncio.create_task(_left(request.receive))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return JSONResponse(await answer, headers={"X-Facilitair-Stream": reply.record.stream_id})
        return Response(status_code=HTTPStatus.NO_CONTENT)  # to nobody
    finally:
        reply.record.cancel(LEFT)
        for task in (answer, gone):
            task.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _data(value: dict[str, Any]) -> bytes:
    # In ASCII, because some clients take U+2028 for the end of a line.
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()
