"""Runs on a server, shown here: where the server is, and what Ctrl-C means for a run that is elsewhere."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from typing import TYPE_CHECKING

from ..errors import FacilitairError, ServerError
from .messages import say
from .outcome import watch

if TYPE_CHECKING:
    import argparse

    from ..events import TerminalEvent
    from ..options import RunOptions
    from ..remote import RemoteClient, RemoteRun
    from .request import Request

ADDRESS_VARIABLES = ("FAC_API_BASE", "FACILITAIR_API_BASE")
KEY_VARIABLE = "FAC_API_KEY"


def server_of(args: argparse.Namespace) -> str | None:
    """Return the address of the server that was asked for, by `--server` or the environment; `None`: none was."""
    places: list[str | None] = [args.server, *map(os.environ.get, ADDRESS_VARIABLES)]
    return next((place for place in places if place), None)


def client_of(server: str) -> RemoteClient:
    """Return a client of `server` with the key of the environment. Raises `ConfigError`."""
    from ..remote import RemoteClient

    return RemoteClient(server, os.environ.get(KEY_VARIABLE))


async def collaborate(
    args: argparse.Namespace, request: Request, options: RunOptions, server: str
) -> tuple[TerminalEvent | None, bool]:
    """Run `request` on `server` and return as `show`. The first interrupt cancels the run there.

    Raises `FacilitairError`, and `CancelledError` when the run could not be cancelled.
    """
    from .signals import Interrupts

    watching = asyncio.current_task()
    assert watching is not None  # noqa: S101 (a coroutine always runs in a task)
    stopping: list[asyncio.Task[None]] = []
    async with client_of(server) as client:
        run = client.collaborate(request.task, request.context, **options)
        with Interrupts(lambda: stopping.append(asyncio.create_task(_cancel(run, watching)))):
            try:
                stream_id = await run.start()
                if args.verbosity != "quiet":
                    say(f"the run is {stream_id}; `facilitair attach {stream_id}` watches it from elsewhere")
                return await view(args, run)
            finally:
                await asyncio.gather(*stopping)


async def view(args: argparse.Namespace, run: RemoteRun) -> tuple[TerminalEvent | None, bool]:
    """Show a run of a server and return as `show`; when the server is lost, say how to come back."""
    try:
        async with aclosing(aiter(run)) as events:
            return await watch(args, events)
    except ServerError:
        if run.state.seq:
            say(f"the run may go on; `facilitair attach {run.stream_id}` watches it")
        raise


async def _cancel(run: RemoteRun, watching: asyncio.Task[object]) -> None:
    try:
        await run.cancel("interrupted")
    except FacilitairError as error:
        if not watching.done():
            say(f"the run could not be cancelled and may go on: {error}")
            watching.cancel()
