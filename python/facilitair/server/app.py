"""The application: settings and a client in, a FastAPI application out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from ..client import Client
from ..errors import TooLarge
from . import metrics, openai_api, problems, sockets, streams
from .auth import install_doors, ticket_router
from .directory import MemoryDirectory
from .logging_setup import RunLog
from .paths import PlainPaths
from .reporting import ErrorHook, Reporter
from .runs import Runs
from .settings import ServerSettings
from .tracing import Tracing


class Health(BaseModel):
    """That the server answers; `closing` while it shuts down."""

    status: str
    version: str


class BodyLimit:
    """ASGI middleware: refuses bodies of more than `most` bytes, told by their length or found on the way."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        length = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        if length.isdigit() and int(length) > self._most:
            refusal = TooLarge(f"the body is larger than the {self._most:,} bytes that are taken.")
            await problems.response_to(refusal, scope["path"])(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most:
                # Of the framework's own kind, since it takes others for a body that cannot be parsed.
                raise HTTPException(413, f"the body is larger than the {self._most:,} bytes that are taken.")
            return message

        await self._app(scope, counted if scope["type"] == "http" else receive, send)


class Reports:
    """ASGI middleware: reports what breaks a WebSocket, whose errors are answered by nobody."""

    def __init__(self, app: ASGIApp, reporter: Reporter) -> None:
        self._app = app
        self._reporter = reporter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a connection through."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if scope["type"] == "websocket" and not isinstance(error, WebSocketDisconnect):
                self._reporter.failed_request(error, scope["path"])
            raise


def create_app(settings: ServerSettings, client: Client, on_error: ErrorHook | None = None) -> FastAPI:
    """Return the application. Its lifespan opens and closes `app.state.runs`; the client stays the caller's.

    `on_error` is called with each exception that is a mistake of ours and where it happened (`kind` is "run" or
    "request", beside it `stream_id` or `path`); never for what is refused.
    """
    counters, reporter = metrics.Metrics(), Reporter(on_error)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        try:
            async with runs:
                yield
        finally:
            directory.close()

    app = FastAPI(
        title="Facilitair",
        summary="Several language models work on one task at the same time, and you watch every one of them think.",
        version=version("facilitair"),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        # Its spans and logs would repeat queries and bodies, and with them tasks and tickets; see `tracing`.
        telemetry={"tracing": False, "logs": False},
    )
    problems.install(app, reporter)
    app.add_middleware(BodyLimit, most=settings.max_body_bytes)
    directory = MemoryDirectory(settings)
    install_doors(app, settings, directory)
    app.add_middleware(Reports, reporter=reporter)
    app.add_middleware(PlainPaths)
    runs = Runs(client, settings, directory, [counters, RunLog(), Tracing()], reporter)
    app.state.runs = runs
    counters.observe(runs)

    @app.get("/healthz", tags=["operation"], responses=problems.documented(400, 403))
    async def health() -> Health:
        """Say that the server is up. Needs no key and tells nothing about anybody."""
        return Health(status="closing" if runs.closing else "ok", version=app.version)

    app.include_router(streams.router(runs, settings))
    app.include_router(sockets.router(runs))
    app.include_router(ticket_router(directory, settings))
    app.include_router(openai_api.router(runs, settings, client.config))
    app.include_router(metrics.router(counters))
    return app
