"""Chat streams through the `openai` SDK: for what only it can do, such as Azure identities and clients of one's own.

The SDK makes the request and reads the response, at some thirty times the cost; what it says is pushed into the same
`Mux`, so that the engine sees no difference. What the SDK leaves out is added here: a stream that ends without a
finish reason is truncated, and comments do not stop the clock of a stalled one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk

from facilitair_rust import PushStream, Timeouts, Usage

from ..keys import redact
from ..sources import pushed
from ..transport import HttpRequest

_RETRYABLE: Final = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
_MOST_SAID: Final = 500  # characters of an error


async def relay(client: openai.AsyncOpenAI, request: HttpRequest, stream: PushStream) -> None:
    """Send `request` with `client` and push what comes into `stream`, which ends with it. Raises nothing of the
    network's: that is how the stream ends. Cancelling it closes the connection."""
    clocks = _Clocks(request.timeouts)
    try:
        async with asyncio.timeout_at(clocks.end) as clocks.total, asyncio.timeout(None) as clocks.content:
            clocks.wait_for(request.timeouts.first_content)
            await _relay(client, request, stream, clocks)
    except TimeoutError:
        stream.fail(*clocks.ran_out(), retryable=not clocks.heard)
    except openai.APIStatusError as error:
        _refused(stream, error)
    except openai.APITimeoutError as error:
        stream.fail("connect_timeout", _said(error), retryable=True)
    except openai.APIConnectionError as error:
        code = "truncated" if clocks.heard else "connect_failed"
        stream.fail(code, _said(error.__cause__ or error), retryable=not clocks.heard)
    except (openai.OpenAIError, ValueError) as error:
        stream.fail("provider_error", _said(error))
    finally:
        stream.fail("truncated", "the request was given up before it ended")


class _Clocks:
    """The clocks of one stream that the SDK does not have."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self.end = self._loop.time() + timeouts.total
        self.total: asyncio.Timeout | None = None
        self.content: asyncio.Timeout | None = None
        self.heard = False

    def wait_for(self, seconds: float | None) -> None:
        """Let the next content come within `seconds`, from now."""
        assert self.content is not None  # noqa: S101 (entered before)
        self.content.reschedule(None if seconds is None else self._loop.time() + seconds)

    def got_content(self) -> None:
        """Start the clock between contents anew."""
        self.heard = True
        self.wait_for(self._timeouts.between_content)

    def ran_out(self) -> tuple[str, str]:
        """Return code and message of the clock that ran out."""
        if self.total is not None and self.total.expired():
            return "total_timeout", f"the response took longer than {self._timeouts.total:g} s"
        if self.heard:
            return "stall_timeout", f"no content for {self._timeouts.between_content:g} s"
        return "first_content_timeout", f"no content within {self._timeouts.first_content:g} s"


async def _relay(
    client: openai.AsyncOpenAI, request: HttpRequest, stream: PushStream, clocks: _Clocks
) -> None:
    body: dict[str, Any] = msgspec.json.decode(request.body)
    # Our retries know what was shown already; the SDK's do not. Everything else goes as it was composed.
    asked = client.with_options(max_retries=0, timeout=request.timeouts.total).chat.completions
    model, messages = body.pop("model"), body.pop("messages")
    del body["stream"]
    reason: str | None = None
    named: str | None = None
    usage: Usage | None = None
    async with await asked.create(model=model, messages=messages, stream=True, extra_body=body) as chunks:
        async for chunk in chunks:
            named, usage = chunk.model or named, _usage(chunk.usage) or usage
            for text, thought in _texts(chunk):
                reason = None  # one before more content was premature
                clocks.got_content()
                push = stream.push_reasoning if thought else stream.push
                if not push(text):
                    clocks.wait_for(None)  # the reader is slow, not the model
                    if not await pushed(stream, text, push):
                        return
                    clocks.got_content()
            if chunk.choices and chunk.choices[0].finish_reason:
                reason = chunk.choices[0].finish_reason
    if reason is None:
        stream.fail("truncated", "the response ended without a finish reason", usage=usage)
    else:
        stream.finish(reason, usage, named)


def _texts(chunk: ChatCompletionChunk) -> Iterator[tuple[str, bool]]:
    """Yield what the first choice says, and whether it is thought rather than said."""
    for choice in chunk.choices:
        if choice.index == 0:
            extra = choice.delta.model_extra or {}
            thought = extra.get("reasoning_content") or extra.get("reasoning")
            if isinstance(thought, str):
                yield thought, True
            if said := (choice.delta.content or "") + (choice.delta.refusal or ""):
                yield said, False


def _usage(usage: CompletionUsage | None) -> Usage | None:
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_input_tokens=prompt.cached_tokens if prompt else None,
        reasoning_tokens=completion.reasoning_tokens if completion else None,
    )


def _refused(stream: PushStream, error: openai.APIStatusError) -> None:
    status = error.status_code
    code = {401: "auth_failed", 403: "auth_failed", 429: "rate_limited"}.get(status, "http_status")
    wait = error.response.headers.get("retry-after", "")
    stream.fail(
        code,
        f"HTTP {status}: {_said(error)}",
        status=status,
        retry_after_s=float(wait) if wait.isascii() and wait.isdigit() else None,
        retryable=status in _RETRYABLE,
    )


def _said(error: BaseException) -> str:
    return redact(str(error) or type(error).__name__)[:_MOST_SAID]
