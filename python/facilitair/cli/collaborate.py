"""`facilitair collaborate`: one run, watched, recorded, and brought to its end whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from .exit_codes import ExitCode
from .outcome import conclude, watch
from .signals import Interrupts

if TYPE_CHECKING:
    from .commands import Collaborate, Server


def run(command: Collaborate) -> int:
    """Run the collaboration that was asked for; return the exit code. Raises `FacilitairError` before it begins."""
    server = command.server
    collaboration = _collaborate(command) if server is None else _elsewhere(command, server)
    try:
        return asyncio.run(collaboration)
    except asyncio.CancelledError:  # interrupted before the run had begun
        return ExitCode.INTERRUPTED


async def _collaborate(command: Collaborate) -> int:
    from ..client import Client  # the whole engine: wrong arguments are reported without it

    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine always runs in a task)
    with Interrupts(task.cancel) as interrupts:
        async with Client() as client:
            collaboration = client.collaborate(command.task, command.context, **command.options)
            interrupts.stop = lambda: collaboration.cancel("interrupted")
            async with aclosing(aiter(collaboration)) as events:
                end, recorded = await watch(command.output, events)
        return conclude(command.output, end, recorded=recorded)


async def _elsewhere(command: Collaborate, server: Server) -> int:
    """As `_collaborate`, on a server."""
    from . import remote

    end, recorded = await remote.collaborate(command, server)
    return conclude(command.output, end, recorded=recorded)
