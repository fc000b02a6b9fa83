"""The application: settings and a client in, a FastAPI application out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from pydantic import BaseModel

from ..client import Client
from . import metrics, problems, sockets, streams
from .auth import install_doors
from .runs import Runs
from .settings import ServerSettings


class Health(BaseModel):
    """That the server answers; `closing` while it shuts down."""

    status: str
    version: str


def create_app(settings: ServerSettings, client: Client) -> FastAPI:
    """Return the application. Its lifespan opens and closes `app.state.runs`; the client stays the caller's."""
    counters = metrics.Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with runs:
            yield

    app = FastAPI(
        title="Facilitair",
        summary="Several language models work on one task at the same time, and you watch every one of them think.",
        version=version("facilitair"),
        lifespan=lifespan,
        max_body_size=settings.max_body_bytes,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
    )
    problems.install(app)
    doors = install_doors(app, settings)
    runs = Runs(client, settings, doors.limits, [counters])
    app.state.runs = runs
    counters.observe(runs)

    @app.get("/healthz", tags=["operation"])
    async def health() -> Health:
        """Say that the server is up. Needs no key and tells nothing about anybody."""
        return Health(status="closing" if runs.closing else "ok", version=app.version)

    app.include_router(streams.router(runs, settings))
    app.include_router(sockets.router(runs))
    app.include_router(metrics.router(counters))
    return app
