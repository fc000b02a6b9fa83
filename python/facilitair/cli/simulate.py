"""`facilitair simulate`: the scripted provider as a server of its own, until it is stopped."""

from __future__ import annotations

import asyncio
import signal
import sys

from ..simulator.server import serve
from .commands import Simulate
from .exit_codes import ExitCode
from .messages import say

_HOST = "127.0.0.1"


def run(command: Simulate) -> ExitCode:
    """Serve until Ctrl-C or SIGTERM, which is the normal end. Raises `UsageError` for a port that is taken."""
    asyncio.run(_serve(command))
    return ExitCode.OK


async def _serve(command: Simulate) -> None:
    serving = asyncio.create_task(serve(_HOST, command.port, command.speed, _announce))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, serving.cancel)
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()


def _announce(base_url: str) -> None:
    print(base_url, flush=True)  # noqa: T201
    if sys.stderr.isatty():
        say("scripted models, nothing is real; Ctrl-C stops it. In another terminal:")
        say(f"curl {base_url}/models")
