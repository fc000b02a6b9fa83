"""`facilitair collaborate`: one run, watched, recorded, and brought to its end whatever happens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import FacilitairError, UnreachableError
from .commands import ADDRESS_VARIABLES, Collaborate, Server
from .exit_codes import ExitCode
from .messages import say
from .presentation import Presentation
from .remote import connect, watch
from .signals import Interrupts

if TYPE_CHECKING:
    from ..remote import RemoteRun


def run(command: Collaborate) -> ExitCode:
    """Run the collaboration that was asked for. Raises `FacilitairError` when it cannot begin or its server is lost."""
    server = command.server
    try:
        return asyncio.run(_here(command) if server is None else _elsewhere(command, server))
    except asyncio.CancelledError:  # interrupted before the run had begun, or it could not be cancelled
        return ExitCode.INTERRUPTED


async def _here(command: Collaborate) -> ExitCode:
    from ..client import Client  # the whole engine, which a run elsewhere does without
    from ..providers.catalog import SIMULATE_VARIABLE

    presentation = Presentation(command.output)
    if command.output.streams.out_is_terminal:
        # Somebody sees that it is simulated. In a file or a pipe it would pass for an answer.
        os.environ.setdefault(SIMULATE_VARIABLE, "1")
    with Interrupts() as interrupts:
        async with Client() as client:
            run = client.collaborate(command.task, command.context, **command.options)
            interrupts.stop = lambda: run.cancel("interrupted")
            await presentation.show(aiter(run), lambda: run.cancel("nobody reads the events"))
        return presentation.conclude(interrupted=interrupts.pressed)


async def _elsewhere(command: Collaborate, server: Server) -> ExitCode:
    """As `_here`, on a server: an interrupt cancels the run there, and its end comes back as any event does."""
    presentation = Presentation(command.output)
    stopping: list[asyncio.Task[None]] = []
    with Interrupts() as interrupts:
        leave = interrupts.stop
        async with connect(server) as client:
            run = client.collaborate(command.task, command.context, **command.options)
            interrupts.stop = lambda: stopping.append(asyncio.create_task(_cancel(run, presentation, leave)))
            try:
                stream_id = await _started(run)
                if command.output.verbosity != "quiet":
                    say(f"the run is {stream_id}; `facilitair attach {stream_id}` watches it from elsewhere")
                await watch(run, presentation)
            finally:
                await asyncio.gather(*stopping)
        return presentation.conclude(interrupted=interrupts.pressed)


async def _started(run: RemoteRun) -> str:
    try:
        return await run.start()
    except UnreachableError as error:
        names = " or ".join(ADDRESS_VARIABLES)
        raise UnreachableError(
            f"{error} (The address is from --server or {names}; --server none runs it here.)"
        ) from None


async def _cancel(run: RemoteRun, presentation: Presentation, leave: Callable[[], object]) -> None:
    try:
        await run.cancel("interrupted")
    except FacilitairError as error:
        if presentation.end is None:
            say(f"the run could not be cancelled and may go on: {error}")
            leave()
