"""Runs on a server, shown here, and what Ctrl-C means for a run that is elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from ..errors import FacilitairError, ServerError
from .messages import say
from .outcome import watch

if TYPE_CHECKING:
    from ..events import TerminalEvent
    from ..remote import RemoteClient, RemoteRun
    from .commands import Collaborate, Server
    from .output import Output


def client_of(server: Server) -> RemoteClient:
    """Return a client of `server`. Raises `ConfigError` for an address that cannot be one."""
    from ..remote import RemoteClient

    return RemoteClient(server.url, server.key.reveal() if server.key else None)


async def collaborate(command: Collaborate, server: Server) -> tuple[TerminalEvent | None, bool]:
    """Run the collaboration on `server` and return as `show`. The first interrupt cancels the run there.

    Raises `FacilitairError`, and `CancelledError` when the run could not be cancelled.
    """
    from .signals import Interrupts

    watching = asyncio.current_task()
    assert watching is not None  # noqa: S101 (a coroutine always runs in a task)
    stopping: list[asyncio.Task[None]] = []
    async with client_of(server) as client:
        run = client.collaborate(command.task, command.context, **command.options)
        with Interrupts(lambda: stopping.append(asyncio.create_task(_cancel(run, watching)))):
            try:
                stream_id = await run.start()
                if command.output.verbosity != "quiet":
                    say(f"the run is {stream_id}; `facilitair attach {stream_id}` watches it from elsewhere")
                return await view(command.output, run)
            finally:
                await asyncio.gather(*stopping)


async def view(output: Output, run: RemoteRun) -> tuple[TerminalEvent | None, bool]:
    """Show a run of a server and return as `show`; when the server is lost, say how to come back."""
    try:
        async with aclosing(aiter(run)) as events:
            return await watch(output, events)
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
