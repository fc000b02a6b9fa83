"""`facilitair replay`: a recorded run shown through the same renderers, at the speed it had or another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from ..events import AnyEvent, TaskCompletedEvent, UnknownEvent
from ..recording import Recording, read_recording
from .exit_codes import ExitCode
from .messages import say
from .session import check_view, print_answer, renderer_for, show

if TYPE_CHECKING:
    import argparse

_LONGEST_GAP_S: Final = 30.0  # heartbeats come more often; a damaged time must not stop the show


def run(args: argparse.Namespace) -> int:
    """Show the recording; return the exit code. Raises `RecordingError` for what is no recording."""
    check_view(args.view, json=args.json, verbosity=args.verbosity)
    return asyncio.run(_replay(args))


async def _replay(args: argparse.Namespace) -> int:
    recording = read_recording(args.file)
    renderer = renderer_for(json=args.json, verbosity=args.verbosity, view=args.view)
    end, _ = await show(_paced(recording, args.speed), renderer)
    if recording.truncated:
        say("the recording's last line was cut off; everything before it was shown")
    if end is None:
        say("the recording stops before the run ended")
    elif isinstance(end, TaskCompletedEvent) and not args.json:
        print_answer(end.content)
    return ExitCode.OK


async def _paced(recording: Recording, speed: float) -> AsyncIterator[AnyEvent | UnknownEvent]:
    shown = 0.0
    for event in recording:
        if not isinstance(event, UnknownEvent):
            gap = min(max(event.ts - shown, 0.0), _LONGEST_GAP_S)
            shown = max(shown, event.ts)
            await asyncio.sleep(gap / speed)
        yield event
