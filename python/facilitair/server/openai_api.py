"""`/v1`: each strategy as a model of an OpenAI-compatible server.

The last user message is the task; the messages around it are told to the agents as the context's `conversation`. The
debate streams as `reasoning_content`, the answer as `content`; how a run becomes text that is only appended to stands
in `transcript`.

The client is the owner: when it leaves, the run is stopped. Fields of OpenAI's that steer one model (`temperature`,
`max_tokens`, `tools`) are accepted and have no effect; what would have to change the form of the answer (`n`,
`response_format`, a required tool) is refused, and so is everything that would send the server elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from ..config import Config
from ..engine.strategies import BUILT_IN
from ..errors import Gone, NoSuchModel, NotFound, RunFailed
from ..finish import as_openai
from .auth import Principal, principal
from .directory import RunRecord
from .openai_schemas import (
    CachedTokens,
    ChatChoice,
    ChatCompletion,
    ChatRequest,
    ChatUsage,
    ModelCard,
    ModelList,
    ReasoningTokens,
    SaidMessage,
)
from .problems import documented, documented_headers
from .runs import Runs, digest
from .schemas import Call
from .settings import ServerSettings
from .side import OFF, side_options
from .sse import SCHEMA, EventStreamResponse, left
from .transcript import Addition, Transcript

PREFIX: Final = "facilitair/"
STREAM_HEADER: Final = "X-Facilitair-Stream"
LEFT: Final = "the client left"
_DONE: Final = b"data: [DONE]\n\n"
PATIENCE_S: Final = 20.0  # then an answer that is not streamed shows signs of life
REPEATED_S: Final = 60.0  # as long, the same request gets the same failure
_FAILURES_KEPT: Final = 256


def router(runs: Runs, settings: ServerSettings, config: Config) -> APIRouter:
    """Return the routes of `/v1`; the strategies that ship and those of `config` are the models."""
    routes = APIRouter(
        prefix="/v1", tags=["OpenAI"], responses=documented(400, 401, 403, 422, 429, openai=True)
    )
    strategies = tuple(dict.fromkeys((config.default_strategy, *BUILT_IN, *config.strategy)))
    since = int(time.time())
    failures = Failures()

    def card(name: str) -> ModelCard:
        return ModelCard(id=PREFIX + name, created=since)

    def known(model: str) -> str:
        name = model.removeprefix(PREFIX)
        if name not in strategies:
            names = ", ".join(PREFIX + strategy for strategy in strategies)
            raise NoSuchModel(f"there is no model {model[:80]!r}; there are {names}.")
        return name

    @routes.get("/models", summary="The strategies, as models")
    async def models(who: Annotated[Principal, Depends(principal)]) -> ModelList:
        who.check_may_act()
        return ModelList(data=[card(name) for name in strategies])

    @routes.get(
        "/models/{model:path}", summary="One strategy, as a model", responses=documented(404, openai=True)
    )
    async def model(model: str, who: Annotated[Principal, Depends(principal)]) -> ModelCard:
        who.check_may_act()
        return card(known(model))

    @routes.post(
        "/chat/completions",
        summary="Let the agents of a strategy answer",
        response_class=JSONResponse,
        responses={
            200: {
                "model": ChatCompletion,
                "description": "A chat completion, or with `stream` its chunks and `[DONE]`.",
                "content": {"text/event-stream": {"schema": SCHEMA}},
                "headers": documented_headers({STREAM_HEADER: "The stream with all events of the run."}),
            },
            **documented(402, 404, 413, 502, 503, 504, openai=True),
        },
    )
    async def chat(
        body: ChatRequest, request: Request, who: Annotated[Principal, Depends(principal)]
    ) -> Response:
        who.check_may_act()
        strategy = known(body.model)
        call = body.call(strategy, settings.max_task_characters)
        if settings.side_model != OFF and body.is_side:
            call = call._replace(options=side_options(call.options, settings.side_model))
        failures.check(who.id, call)
        record = await runs.start(call, who.id)
        completion = Completion(record, PREFIX + strategy, lambda failed: failures.add(who.id, call, failed))

        async def stop() -> None:
            with suppress(Gone, NotFound):  # forgotten already, so it has ended
                await runs.directory.cancel(record.stream_id, who.id, LEFT)

        if not body.stream:
            return await _whole(completion, request, stop)
        usage = body.stream_options is not None and body.stream_options.include_usage
        pieces = completion.stream(settings.heartbeat_s, include_usage=usage)
        # The client owns the run: the end of the stream, however it comes, is that of the run.
        return EventStreamResponse(pieces, {STREAM_HEADER: record.stream_id}, at_end=stop)

    return routes


class Completion:
    """A run in OpenAI's words. `failed` is told how it failed, if it does."""

    def __init__(
        self, record: RunRecord, model: str, failed: Callable[[RunFailed], None] = lambda _: None
    ) -> None:
        self.record = record
        self._failed = failed
        self._transcript = Transcript()
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{record.stream_id}",
            "created": int(record.created),
            "model": model,
        }

    async def whole(self) -> ChatCompletion:
        """Return the completion, once the run has ended. Raises `RunFailed`."""
        texts: dict[str, list[str]] = {"reasoning_content": [], "content": []}
        async for addition in self._additions(None):
            if addition is not None:
                texts[addition.field].append(addition.text)
        if failed := self._failure():
            self._failed(failed)
            raise failed
        debate, answer = ("".join(texts[name]) for name in ("reasoning_content", "content"))
        message = SaidMessage(reasoning_content=debate, content=answer)
        choice = ChatChoice(message=message, finish_reason=self._finish_reason())
        return ChatCompletion(**self._head, choices=[choice], usage=self._usage())

    async def stream(self, heartbeat_s: float, *, include_usage: bool) -> AsyncGenerator[bytes]:
        """Yield the server-sent events of the completion, and comments while there is nothing to say; a failure is an
        error object before the end."""
        more: dict[str, Any] = {"usage": None} if include_usage else {}
        yield self._chunk({"role": "assistant", "content": ""}, None, more)
        async with aclosing(self._additions(heartbeat_s)) as additions:
            async for addition in additions:
                if addition is None:
                    yield b": keep-alive\n"  # no blank line: some readers take that for an event
                else:
                    yield self._chunk({addition.field: addition.text}, None, more)
        if failed := self._failure():
            self._failed(failed)
            yield _data({"error": failed.as_openai()})
        else:
            yield self._chunk({}, self._finish_reason(), more)
            if include_usage:
                usage = self._usage()
                said = usage and usage.model_dump()
                yield _data({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": said})
        yield _DONE

    async def _additions(self, idle_s: float | None) -> AsyncGenerator[Addition | None]:
        """Yield what there is to append until the run has ended; `None` when nothing came for `idle_s` seconds."""
        said = time.monotonic()
        async with aclosing(self.record.log.follow(0, idle_s)) as batches:
            async for batch in batches:
                for event in batch.events:
                    for addition in self._transcript.take(event):
                        said = time.monotonic()
                        yield addition
                # Events come that say nothing here: heartbeats, fragments of agents who have not the floor.
                if idle_s is not None and time.monotonic() - said >= idle_s:
                    said = time.monotonic()
                    yield None

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

    def _finish_reason(self) -> str:
        """Return why the answer ends: every section's text has its own reason."""
        syntheses = self._transcript.state.syntheses.values()
        return as_openai(synthesis.finish_reason or "stop" for synthesis in syntheses)

    def _usage(self) -> ChatUsage | None:
        """Return what the whole run used. OpenAI's form has no word for "nobody said" but leaving it out."""
        usage = self._transcript.state.usage
        if usage is None or usage.input_tokens is None or usage.output_tokens is None:
            return None
        return ChatUsage(
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
            prompt_tokens_details=CachedTokens(cached_tokens=usage.cached_input_tokens or 0),
            completion_tokens_details=ReasoningTokens(reasoning_tokens=usage.reasoning_tokens or 0),
        )


class Failures:
    """How runs failed in the last `REPEATED_S` seconds. Clients repeat a request that failed by themselves, some of
    them whatever they are told; the run would be paid for again, and fail again."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[float, RunFailed]] = {}

    def add(self, owner: str, call: Call, failed: RunFailed) -> None:
        """Keep how the run of a call failed, unless somebody stopped it."""
        if failed.name != "cancelled":
            self._kept[owner, digest(call)] = time.monotonic(), failed
        if len(self._kept) > _FAILURES_KEPT:
            del self._kept[next(iter(self._kept))]

    def check(self, owner: str, call: Call) -> None:
        """Raise the `RunFailed` with which the run of the same call ended just now."""
        at, failed = self._kept.get((owner, digest(call)), (0.0, None))
        if failed is not None and time.monotonic() - at < REPEATED_S:
            raise RunFailed(failed.name, failed.detail)


async def _whole(completion: Completion, request: Request, stop: Callable[[], Awaitable[None]]) -> Response:
    """Answer when the run has ended; stop it when the client leaves before. After `PATIENCE_S` the answer begins with
    blanks, which JSON may: clients and proxies give up what says nothing for minutes."""
    headers = {STREAM_HEADER: completion.record.stream_id}
    answer = asyncio.create_task(completion.whole())
    gone = asyncio.create_task(left(request.receive))
    goes_on = False
    try:
        await asyncio.wait((answer, gone), timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return JSONResponse((await answer).model_dump(), headers=headers)
        if gone.done():
            return Response(status_code=HTTPStatus.NO_CONTENT)  # to nobody
        goes_on = True
        return EventStreamResponse(_patiently(answer), headers, at_end=stop, media_type="application/json")
    finally:
        gone.cancel()
        if not goes_on:
            answer.cancel()
        await asyncio.gather(*([gone] if goes_on else [answer, gone]), return_exceptions=True)
        if not goes_on:
            await stop()


async def _patiently(answer: asyncio.Task[ChatCompletion]) -> AsyncGenerator[bytes]:
    """Yield blanks until the answer is there, then the answer, or what went wrong."""
    try:
        while not answer.done():
            yield b" "
            await asyncio.wait((answer,), timeout=PATIENCE_S)
        try:
            said = answer.result().model_dump()
        except RunFailed as failed:  # the status has gone out, so that only the body can say it
            said = {"error": failed.as_openai()}
        yield json.dumps(said).encode()
    finally:
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)


def _data(value: dict[str, Any]) -> bytes:
    # In ASCII, because some clients take U+2028 for the end of a line.
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()
