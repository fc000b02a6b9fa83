"""`facilitair attach`: a run of a server, watched from here. Leaving leaves it running."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .exit_codes import ExitCode
from .messages import say
from .outcome import conclude
from .remote import client_of, view
from .signals import Interrupts

if TYPE_CHECKING:
    from .commands import Attach


def run(command: Attach) -> int:
    """Watch the run; return the exit code. Raises `FacilitairError` when there is no such run or server."""
    try:
        return asyncio.run(_attach(command))
    except asyncio.CancelledError:
        say("detached; the run goes on")
        return ExitCode.INTERRUPTED


async def _attach(command: Attach) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine always runs in a task)
    with Interrupts(task.cancel):
        async with client_of(command.server) as client:
            end, recorded = await view(command.output, client.attach(command.stream_id, command.after))
    if end is None:
        say("the run had ended before that event; attach without --after to see it")
        return ExitCode.FAILED
    return conclude(command.output, end, recorded=recorded)
