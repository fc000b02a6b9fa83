"""`facilitair attach`: a run of a server, watched from here. Leaving leaves it running."""

from __future__ import annotations

import asyncio

from .commands import Attach
from .exit_codes import ExitCode
from .messages import say
from .presentation import Presentation
from .remote import connect, watch
from .signals import Interrupts


def run(command: Attach) -> ExitCode:
    """Watch the run to its end. Raises `FacilitairError` when there is no such run or server."""
    try:
        return asyncio.run(_attach(command))
    except asyncio.CancelledError:
        say("detached; the run goes on")
        return ExitCode.INTERRUPTED


async def _attach(command: Attach) -> ExitCode:
    presentation = Presentation(command.output)
    with Interrupts():
        async with connect(command.server) as client:
            await watch(client.attach(command.stream_id, command.after), presentation)
    if presentation.end is None:
        say("the run had ended before that event; attach without --after to see it")
        return ExitCode.FAILED
    return presentation.conclude()
