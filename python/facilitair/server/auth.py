"""Who is asking, and whether a browser was tricked into asking.

Every request and every WebSocket shows a key, in `X-API-Key` or as `Authorization: Bearer`, or a ticket for one
stream (`tickets`). A key in a URL is not taken: URLs are written to logs. `principal` is the dependency that checks.

`Guard` stands before everything else: a page whose own name resolves to this machine (DNS rebinding) shows that name
as Host; a page of somebody else shows its Origin. Both are refused, for WebSockets too. An address as Host is no
danger: a page of that address is ours. A request whose end a proxy may see elsewhere than we do is refused with its
connection, so that its rest is not taken for another's request. Nothing here reads a body.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, Security, WebSocketException, status
from fastapi.security import APIKeyHeader, APIKeyQuery, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BadRequest, Forbidden, NotFound, Problem, Unauthorized
from ..keys import Secret
from .directory import Directory
from .problems import can_deny, documented, log_refusal, response_to
from .settings import ServerSettings

_LONGEST_KEY: Final = 4096
# Answers repeat what was asked; a browser shall never take one for a page, nor show one within a page.
_HARMLESS: Final = (
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)
_IN_URL: Final = frozenset(("key", "api_key", "apikey", "api-key", "x-api-key", "token", "access_token"))
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# What the API's description says about keys and tickets; `principal` itself reads and checks them.
_DESCRIBED: Final = (
    APIKeyHeader(name="X-API-Key", scheme_name="key", description="A key of the server.", auto_error=False),
    HTTPBearer(scheme_name="bearer", description="The same key.", auto_error=False),
)
TICKET: Final = APIKeyQuery(
    name="ticket", scheme_name="ticket", description="Opens one stream, for looking.", auto_error=False
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose key it is. `id` is derived from the key, tells nothing about it and may be logged. Who came with a
    ticket may only look at `stream`."""

    id: str
    stream: str | None = None

    def check_stream(self, stream_id: str) -> None:
        """Raise `NotFound` for a stream that a ticket does not open."""
        if self.stream not in (None, stream_id):
            raise NotFound("this ticket opens another stream; ask for one for this stream.")

    def check_may_act(self) -> None:
        """Raise `Forbidden` for somebody with a ticket, who may only look."""
        if self.stream is not None:
            raise Forbidden("a ticket opens one stream and does nothing else; send the key.")


class Keyring:
    """The keys of the server, as hashes."""

    def __init__(self, keys: Iterable[Secret]) -> None:
        self._salt = secrets.token_bytes(32)
        self._known = [(self._hashed(key.reveal()), Principal(principal_id(key))) for key in keys]

    def find(self, shown: str) -> Principal | None:
        """Return whose key was shown. The time taken says nothing about the keys."""
        found: Principal | None = None
        if len(shown) > _LONGEST_KEY:
            return None
        hashed = self._hashed(shown)
        for known, owner in self._known:
            if hmac.compare_digest(hashed, known):
                found = owner
        return found

    def _hashed(self, key: str) -> bytes:
        return hmac.digest(self._salt, key.encode(errors="replace"), "sha256")


def principal_id(key: Secret) -> str:
    """Return the name under which the owner of a key is known; the same in every process."""
    return hashlib.sha256(b"facilitair owner\0" + key.reveal().encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Doors:
    """What the dependencies of this module need; one for each application, in `app.state.doors`."""

    keyring: Keyring
    directory: Directory


def install_doors(app: FastAPI, settings: ServerSettings, directory: Directory) -> None:
    """Put `app.state.doors` in place, and the guard (with CORS inside, when configured) before all routes."""
    app.state.doors = Doors(Keyring(settings.keys), directory)
    if settings.cors_origins:
        from starlette.middleware.cors import CORSMiddleware

        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # clients send their own (x-stainless-...), and cookies are not taken
            expose_headers=["Location", "Retry-After", "X-Facilitair-Stream", "X-Should-Retry"],
        )
    app.add_middleware(Guard, settings=settings)


async def principal(
    connection: HTTPConnection,
    _key: Annotated[object, Security(_DESCRIBED[0])] = None,
    _bearer: Annotated[object, Security(_DESCRIBED[1])] = None,
) -> Principal:
    """FastAPI dependency, for requests and WebSockets: who is asking. Counts the request.

    Raises `Unauthorized` or `Busy`; before a WebSocket is accepted, that is a refusal of the handshake.
    """
    try:
        return await _admitted(connection)
    except Problem as problem:
        if connection.scope["type"] == "websocket" and not can_deny(connection.scope):
            log_refusal(problem, connection.scope["path"])
            raise WebSocketException(status.WS_1008_POLICY_VIOLATION, problem.detail) from None
        raise


async def _admitted(connection: HTTPConnection) -> Principal:
    doors: Doors = connection.app.state.doors
    owner = _shown_key(connection, doors) or await _shown_ticket(connection, doors)
    if owner is None:
        raise Unauthorized(_advice(connection))
    await doors.directory.count_request(owner.id)
    return owner


def _shown_key(connection: HTTPConnection, doors: Doors) -> Principal | None:
    """Proxies and clients add headers of their own, so that one right key is enough."""
    headers = connection.headers
    scheme, _, rest = headers.get("authorization", "").strip().partition(" ")
    bearer = rest if scheme.lower() == "bearer" else "" if rest else scheme
    shown = [key.strip() for key in (headers.get("x-api-key", ""), bearer) if key.strip()]
    return next((owner for key in shown if (owner := doors.keyring.find(key)) is not None), None)


async def _shown_ticket(connection: HTTPConnection, doors: Doors) -> Principal | None:
    """A ticket is for looking at one stream, which the path or the query names."""
    ticket = connection.query_params.get("ticket")
    looks = connection.scope["type"] == "websocket" or connection.scope["method"] == "GET"
    stream_id = connection.path_params.get("stream_id") or connection.query_params.get("stream_id")
    if not ticket or not looks or not stream_id:
        return None
    owner = await doors.directory.redeem_ticket(ticket, stream_id)
    return None if owner is None else Principal(owner, stream_id)


def _advice(connection: HTTPConnection) -> str:
    if connection.query_params.get("ticket"):
        return "this ticket is spent, too old or for another stream; ask for a new one."
    if any(name.lower() in _IN_URL for name in connection.query_params):
        return "a key in the URL is not taken, because URLs are written to logs; send it in X-API-Key."
    if "x-api-key" in connection.headers or "authorization" in connection.headers:
        return "this key is not one of the server's."
    return "send the server's key, in X-API-Key or as Authorization: Bearer."


class TicketRequest(BaseModel):
    """The stream that shall be opened."""

    model_config = ConfigDict(extra="forbid")

    stream_id: Annotated[str, Field(min_length=1, max_length=200)]


class TicketReply(BaseModel):
    """A ticket, for `?ticket=`, and for how many seconds it can be used."""

    ticket: str
    stream_id: str
    expires_in: float


def ticket_router(directory: Directory, settings: ServerSettings) -> APIRouter:
    """Return the route that gives tickets."""
    routes = APIRouter(tags=["streams"], responses=documented(400, 401, 403, 404, 410, 413, 422, 429))

    @routes.post("/api/stream/ticket", summary="Get a ticket that opens one stream without a key")
    async def ticket(body: TicketRequest, who: Annotated[Principal, Depends(principal)]) -> TicketReply:
        await directory.find(body.stream_id, who.id)
        text = await directory.issue_ticket(who.id, body.stream_id)
        return TicketReply(ticket=text, stream_id=body.stream_id, expires_in=settings.ticket_s)

    return routes


class Guard:
    """ASGI middleware: refuses foreign Hosts and foreign Origins, and tells browsers what answers are not."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._hosts = frozenset(
            name.lower() for name in ("localhost", settings.host, *settings.allowed_hosts)
        )
        self._origins = frozenset(
            _origin_key(origin) for origin in (*settings.allowed_origins, *settings.cors_origins)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a connection through, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_harmless(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HARMLESS:
                    headers.setdefault(name, value)
            await send(message)

        problem = self._refusal(Headers(scope=scope))
        if problem is None:
            await self._app(scope, receive, send_harmless)
        elif scope["type"] == "websocket":
            log_refusal(problem, scope["path"])
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            await response_to(problem, scope["path"])(scope, receive, send_harmless)

    def _refusal(self, headers: Headers) -> Problem | None:
        if "transfer-encoding" in headers and "content-length" in headers:
            return BadRequest(
                "Content-Length and Transfer-Encoding exclude each other; send one of them.",
                {"Connection": "close"},
            )
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._knows(hosts[0]):
            return Forbidden(
                "the server is not known by the name that was asked for; "
                "name it in allowed_hosts of [server], or use its address."
            )
        for origin in headers.getlist("origin"):
            key = _origin_key(origin)
            if key is None or (key[1:] != _split(hosts[0], key[0]) and key not in self._origins):
                return Forbidden(
                    "a page of another origin may not use this server; "
                    "name the origin in allowed_origins of [server] when it may."
                )
        return None

    def _knows(self, host: str) -> bool:
        parts = _split(host, "http")
        if parts is None:
            return False
        name = parts[0]
        if name in self._hosts or _is_address(name):
            return True
        return any(known.startswith("*.") and name.endswith(known[1:]) for known in self._hosts)


def _origin_key(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port; `None` for what is no web origin (`null`, extensions)."""
    scheme, separator, rest = origin.lower().partition("://")
    if not separator or scheme not in _DEFAULT_PORTS:
        return None
    parts = _split(rest, scheme)
    return None if parts is None else (scheme, *parts)


def _split(host: str, scheme: str) -> tuple[str, int] | None:
    """Return name and port of a Host header; `None` when it holds anything else."""
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        return None
    if parts.netloc != host or "@" in host or not parts.hostname or "%" in host:
        return None
    return parts.hostname.rstrip("."), _DEFAULT_PORTS[scheme] if port is None else port


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
