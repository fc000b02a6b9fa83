"""`facilitair attach`: a run of a server, watched from here. Leaving leaves it running."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..errors import UsageError
from .exit_codes import ExitCode
from .messages import say
from .outcome import check_files, conclude
from .remote import ADDRESS_VARIABLES, client_of, server_of, view
from .session import check_view
from .signals import Interrupts

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    """Watch the run; return the exit code. Raises `FacilitairError` when there is no such run or server."""
    check_view(args.view, json=args.json, verbosity=args.verbosity)
    check_files(args)
    server = server_of(args)
    if server is None:
        raise UsageError(f"which server? Give --server URL, or set {ADDRESS_VARIABLES[0]}")
    try:
        return asyncio.run(_attach(args, server))
    except asyncio.CancelledError:
        say("detached; the run goes on")
        return ExitCode.INTERRUPTED


async def _attach(args: argparse.Namespace, server: str) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine always runs in a task)
    with Interrupts(task.cancel):
        async with client_of(server) as client:
            end, recorded = await view(args, client.attach(args.id, args.after))
    if end is None:
        say("the run had ended before that event; attach without --after to see it")
        return ExitCode.FAILED
    return conclude(args, end, recorded=recorded)
