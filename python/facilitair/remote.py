"""A client for a Facilitair server: the same runs and the same events as `Client`, made and kept elsewhere.

A broken connection is taken up again where it was, with the id of the last event received (`Last-Event-ID`), so no
event is lost or seen twice. Leaving the loop leaves only the view: the run goes on until `cancel`. A start is sent
with an `Idempotency-Key`, so sending it again after a broken connection never starts a second run.

Lines are split by httpx2's `EventSource`, at CR and LF only; its `aiter_lines` would also cut JSON at U+2028.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Annotated, Any, Final, Self, TypeVar, Unpack
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

from . import events as ev
from .config import is_private_host
from .errors import (
    BrokenError,
    BusyError,
    ConfigError,
    FacilitairError,
    RunGoneError,
    SequenceError,
    ServerError,
    UnreachableError,
    UsageError,
)
from .keys import Secret, redact
from .options import RunOptions, check_names, check_values
from .result import Result, result_of
from .stream import EventStream

_CONNECT_S: Final = 10.0
_SILENCE_S: Final = 45.0  # the server sends a ping at least every 15 s
_GIVE_UP_AFTER: Final = 12  # attempts in a row without a single event: about 30 s
_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 5.0
_STARTS: Final = 4
_LARGEST_EVENT: Final = 64 * 1024 * 1024  # a snapshot holds a whole run
_LARGEST_ANSWER: Final = 1024 * 1024
_LONGEST_DETAIL: Final = 1000
_T = TypeVar("_T")


class RemoteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says about a run. `last_seq` is the newest event."""

    stream_id: str
    status: ev.RunStatus
    last_seq: int


class RemoteClient:
    """Runs on the server at `base_url`; an async context manager, or call `aclose`.

    `base_url` is such as `https://host` or `http://127.0.0.1:8420`; plain http is taken for this machine and private
    networks only, because it shows the key to the network. Raises `ConfigError`.
    """

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        self._base_url = _checked_url(base_url)
        self._key = Secret(api_key) if api_key else None
        self._http = httpx2.AsyncClient(
            headers=_headers(self._key),
            timeout=httpx2.Timeout(_CONNECT_S, read=_SILENCE_S),
            limits=httpx2.Limits(max_connections=None),
            follow_redirects=False,  # the key is for this host
            trust_env=not _is_here(urlsplit(self._base_url).hostname or ""),  # a proxy is elsewhere
        )

    def __repr__(self) -> str:
        return f"RemoteClient({self._base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections. Runs go on."""
        await self._http.aclose()

    def collaborate(
        self, task: str, context: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
    ) -> RemoteRun:
        """Return a run of `task`; iterate it, or await its `start`, to make it go. Options as for `Client`; a
        strategy is a name that the server knows.

        Raises `UsageError` for what cannot be sent.
        """
        return RemoteRun(self, body=_encoded(task, context, options))

    def attach(self, stream_id: str, after: int = 0) -> RemoteRun:
        """Return a view of a run that is there already, from the event after `after` on."""
        return RemoteRun(self, stream_id=stream_id, after=after)

    async def status(self, stream_id: str) -> RemoteStatus:
        """Return how a run stands. Raises `UsageError`, `ConfigError`, `ServerError`."""
        answer = await self._answer("GET", _path("status", stream_id))
        return _decoded(answer, RemoteStatus)

    async def cancel(self, stream_id: str, reason: str = "cancelled by the client") -> None:
        """Stop a run; its viewers get `task_cancelled`. Raises `UsageError`, `ConfigError`, `ServerError`."""
        await self._answer("POST", _path("cancel", stream_id), msgspec.json.encode({"reason": reason}))

    async def _start(self, body: bytes, idempotency_key: str) -> str:
        for attempt in range(_STARTS):
            try:
                answer = await self._answer("POST", "/api/stream/task", body, idempotency_key)
            except BrokenError:
                if attempt == _STARTS - 1:
                    raise
                await asyncio.sleep(_delay(attempt))
            else:
                return _decoded(answer, _Started).stream_id
        raise AssertionError("unreachable")

    async def _answer(
        self, method: str, path: str, body: bytes | None = None, idempotency_key: str | None = None
    ) -> bytes:
        """Return the body of a good answer."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        async with self._exchange(method, path, body, headers) as response:
            return await _limited(response)

    async def _events(
        self, stream_id: str, after: int, last_id: str | None
    ) -> AsyncGenerator[httpx2.ServerSentEvent]:
        """Yield what one connection brings, after `last_id`, or the sequence number `after`."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        path = _path("events", stream_id) + ("" if last_id is not None else f"?after={after}")
        async with self._exchange("GET", path, None, headers) as response:
            if response.status_code == httpx2.codes.NO_CONTENT:
                return
            async for event in httpx2.EventSource(response, max_event_size=_LARGEST_EVENT):
                yield event

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request and give the response; what goes wrong becomes one of our errors."""
        try:
            async with self._http.stream(
                method, self._base_url + path, content=body, headers=dict(headers)
            ) as response:
                if not response.is_success:
                    raise self._refusal(response, await _limited(response))
                yield response
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise UnreachableError(
                f"cannot reach {self._base_url}: {self._shown(str(error))}. Is the server running there?"
            ) from None
        except httpx2.SSEError as error:
            raise ServerError(
                f"{self._base_url} sent no stream of events: {self._shown(str(error))}"
            ) from None
        except httpx2.HTTPError as error:
            what = self._shown(str(error)) or type(error).__name__
            raise BrokenError(f"the connection to {self._base_url} broke: {what}") from None

    def _refusal(self, response: httpx2.Response, body: bytes) -> FacilitairError:
        """Return the package's error for an answer of 3xx, 4xx or 5xx (RFC 9457, or whatever it is)."""
        status, detail = response.status_code, self._shown(_detail(response, body))
        if status in (401, 403):
            return ConfigError(f"{self._base_url} refuses: {detail} Is the key in FAC_API_KEY the server's?")
        if 400 <= status < 500 and status not in (408, 425, 429):
            return RunGoneError(detail) if status in (404, 410) else UsageError(detail)
        wait = _seconds(response.headers.get("retry-after"))
        later = "" if wait is None else f" Try again in {wait:g} s."
        kind = BusyError if status in (408, 425, 429, 502, 503, 504) else ServerError
        return kind(f"{self._base_url} answered {status}: {detail}{later}", retry_after=wait)

    def _shown(self, text: str) -> str:
        """Return text of the other side as it can be shown: one line, of a bounded length, without our key."""
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return redact(line, [] if self._key is None else [self._key])[:_LONGEST_DETAIL]


class RemoteRun:
    """A run on a server. Iterate it once, or await `result`; leaving the loop does not stop the run."""

    def __init__(
        self, client: RemoteClient, *, body: bytes = b"", stream_id: str | None = None, after: int = 0
    ) -> None:
        self._client = client
        self._body = body
        self._stream_id = stream_id
        self._last_id: str | None = None
        self._events = EventStream(stream_id or "", after=after)
        self._key = str(uuid.uuid4())
        self._starting = asyncio.Lock()
        self._refusal: FacilitairError | None = None
        self._begun = False

    @property
    def stream_id(self) -> str | None:
        """What the server named the run; `None` until it has started."""
        return self._stream_id

    @property
    def state(self) -> ev.RunState:
        """The run as folded from the events seen; partial when it was attached to after its beginning."""
        return self._events.state

    async def start(self) -> str:
        """Start the run, if it was not yet, and return its id. Raises `UsageError`, `ConfigError`, `ServerError`."""
        async with self._starting:
            if self._refusal is not None:
                raise self._refusal
            if self._stream_id is None:
                try:
                    self._stream_id = await self._client._start(self._body, self._key)
                except FacilitairError as error:
                    self._refusal = error  # who waits to cancel must not start it after all
                    raise
            return self._stream_id

    async def cancel(self, reason: str = "cancelled by the client") -> None:
        """Stop the run on the server; the iteration then ends with `task_cancelled`. Raises as `start`."""
        await self._client.cancel(await self.start(), reason)

    async def __aiter__(self) -> AsyncGenerator[ev.AnyEvent | ev.UnknownEvent]:
        """Yield the events; the last is terminal. Without one the view was asked for after the end of the run.

        Raises `UsageError`, `ConfigError` and `ServerError`.
        """
        if self._begun:
            raise UsageError("a run can be iterated once; attach again for another view of it.")
        self._begun = True
        stream_id = await self.start()
        failures, seen = 0, False
        while True:
            broken: ServerError | None = None
            try:
                async with aclosing(
                    self._client._events(stream_id, self._events.last_seq, self._last_id)
                ) as source:
                    async for sent in source:
                        failures, seen = 0, True
                        event = self._received(sent)
                        if event is None:
                            continue
                        yield event
                        if isinstance(event, ev.TERMINAL):
                            return
                if await self._has_ended(stream_id):
                    return
            except (BrokenError, BusyError) as error:
                broken = error
            except UnreachableError as error:
                if not seen and failures == 0:
                    raise
                broken = error
            except RunGoneError as error:
                if not seen:
                    raise
                raise ServerError(f"the server no longer has the run: {error}") from None
            failures += 1
            if failures > _GIVE_UP_AFTER:
                raise broken or ServerError(f"the server ends the stream of {stream_id} before its end.")
            await asyncio.sleep(max(_delay(failures - 1), _asked_wait(broken)))

    def _received(self, sent: httpx2.ServerSentEvent) -> ev.AnyEvent | ev.UnknownEvent | None:
        """Return the event that was sent, folded; `None` for one that has been seen."""
        if not sent.data:
            return None
        try:
            event = ev.decode(sent.data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ServerError(
                f"the server sent what is no event: {self._client._shown(str(error))}"
            ) from None
        if sent.id:
            self._last_id = sent.id
        try:
            return event if self._events.take(event) else None
        except SequenceError as error:
            raise ServerError(f"the server's stream is not whole: {error}") from None

    async def _has_ended(self, stream_id: str) -> bool:
        """Whether there is nothing after what was seen."""
        status = await self._client.status(stream_id)
        return status.status != "running" and status.last_seq <= self._events.last_seq

    async def result(self) -> Result:
        """Watch the run to its end and return the result; once it has ended, return it again.

        Raises `RunError` with the partial result when the run fails, and what iterating raises.
        """
        if self.state.status == "running":
            async with aclosing(self.__aiter__()) as events:
                async for _ in events:
                    pass
        return result_of(self.state)


class _Started(msgspec.Struct):
    stream_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]  # it is shown on terminals


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError(
            "the server's address is no URL; write something like https://host or http://127.0.0.1:8420."
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            "the server's address holds a user name or password; give a key in FAC_API_KEY instead."
        )
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in url):
        raise ConfigError(
            "the server's address holds a query, a fragment or blanks; write only https://host/path."
        )
    if parts.scheme == "http" and not is_private_host(parts.hostname):
        raise ConfigError(
            f"http://{parts.hostname} would show the key and the texts to the network; use https."
        )
    return url.rstrip("/")


def _is_here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _headers(key: Secret | None) -> dict[str, str]:
    if key is None:
        return {}
    value = key.reveal()
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError("the server's key is not printable ASCII without blanks; check FAC_API_KEY.")
    return {"Authorization": f"Bearer {value}"}  # the one header that httpx2 leaves out of its `repr`


def _encoded(task: str, context: Mapping[str, Any] | None, options: RunOptions) -> bytes:
    check_names(options)
    if not isinstance(options.get("strategy"), str | None):
        raise UsageError("strategy: a server takes the name of a strategy that it knows, not a graph.")
    check_values(options)
    body = {"task": task, "context": context, **options}
    try:
        return msgspec.json.encode({name: value for name, value in body.items() if value is not None})
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the task, its context and options must be what JSON can hold: {error}") from None


def _path(what: str, stream_id: str) -> str:
    if not stream_id or stream_id in (".", ".."):
        raise UsageError(f"{stream_id!r} is no id of a run.")
    return f"/api/stream/{what}/{quote(stream_id, safe='')}"


async def _limited(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > _LARGEST_ANSWER:
            raise ServerError(f"the server's answer is larger than {_LARGEST_ANSWER} bytes.")
    return bytes(body)


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""


def _detail(response: httpx2.Response, body: bytes) -> str:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, RecursionError):
        problem = _Problem()
    return problem.detail or problem.title or f"HTTP {response.status_code} {response.reason_phrase}."


def _decoded(answer: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ServerError(
            f"the server's answer is not understood: {error}. Is it a Facilitair server?"
        ) from None


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _asked_wait(error: ServerError | None) -> float:
    return min((error and error.retry_after) or 0.0, _SILENCE_S)


def _delay(attempt: int) -> float:
    # Many viewers lose their server at once and must not come back at once.
    return min(_FIRST_DELAY_S * 2.0**attempt, _LONGEST_DELAY_S) * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
