"""`facilitair collaborate`: one run, watched, recorded, and brought to its end whatever happens."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING

from .exit_codes import ExitCode
from .outcome import check_files, conclude, watch
from .remote import server_of
from .request import Request, request_from
from .session import check_view
from .signals import Interrupts

if TYPE_CHECKING:
    import argparse

    from ..options import RunOptions


def run(args: argparse.Namespace) -> int:
    """Run the collaboration that `args` ask for; return the exit code. Raises `FacilitairError` before it begins."""
    check_view(args.view, json=args.json, verbosity=args.verbosity)
    check_files(args)
    request = request_from(args, sys.stdin)
    server = server_of(args)
    collaboration = _collaborate(args, request) if server is None else _elsewhere(args, request, server)
    try:
        return asyncio.run(collaboration)
    except asyncio.CancelledError:  # interrupted before the run had begun
        return ExitCode.INTERRUPTED


async def _collaborate(args: argparse.Namespace, request: Request) -> int:
    from ..client import Client  # the whole engine: wrong arguments are reported without it

    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine always runs in a task)
    with Interrupts(task.cancel) as interrupts:
        async with Client() as client:
            collaboration = client.collaborate(request.task, request.context, **_options(args, request))
            interrupts.stop = lambda: collaboration.cancel("interrupted")
            async with aclosing(aiter(collaboration)) as events:
                end, recorded = await watch(args, events)
        return conclude(args, end, recorded=recorded)


async def _elsewhere(args: argparse.Namespace, request: Request, server: str) -> int:
    """As `_collaborate`, on a server."""
    from . import remote

    end, recorded = await remote.collaborate(args, request, _options(args, request), server)
    return conclude(args, end, recorded=recorded)


def _options(args: argparse.Namespace, request: Request) -> RunOptions:
    return {
        "strategy": args.strategy,
        "preset": args.preset,
        "models": request.models,
        "sections": args.section or None,
        "max_cost": args.max_cost,
        "max_tokens": args.max_tokens,
        "timeout": args.timeout,
        "cache": not args.no_cache,
    }
