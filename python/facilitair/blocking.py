"""The blocking twins: the same runs for programs without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from typing import Any, Unpack

from . import client
from . import events as ev
from .errors import UsageError
from .options import RunOptions
from .result import Result


def run_sync(task: str, context: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]) -> Result:
    """Run `task` to its end and return the result; as `run`, without an event loop."""
    with _runner("run") as runner:
        return runner.run(client.run(task, context, **options))


def collaborate_sync(
    task: str, context: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
) -> Generator[ev.AnyEvent]:
    """Yield the events of a run of `task`; as `collaborate`, without an event loop.

    The run goes on only while the next event is asked for, so take them promptly. Closing the generator stops it.
    """
    with _runner("collaborate") as runner:
        events = client.collaborate(task, context, **options)
        try:
            while (event := runner.run(anext(events, None))) is not None:
                yield event
        finally:
            runner.run(events.aclose())


def _runner(twin: str) -> asyncio.Runner:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.Runner()
    raise UsageError(f"an event loop is running here; use the async form, facilitair.{twin}(...).")
