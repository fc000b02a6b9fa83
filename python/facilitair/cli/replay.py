"""`facilitair replay`: a recorded run shown through the same renderers, at the speed it had or another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from ..events import AnyEvent, TaskCompletedEvent, UnknownEvent
from ..recording import Recording, read_recording
from .exit_codes import ExitCode
from .messages import say
from .session import print_answer, renderer_for, show

if TYPE_CHECKING:
    from .commands import Replay

_LONGEST_GAP_S: Final = 30.0  # heartbeats come more often; a damaged time must not stop the show


def run(command: Replay) -> int:
    """Show the recording; return the exit code. Raises `RecordingError` for what is no recording."""
    return asyncio.run(_replay(command))


async def _replay(command: Replay) -> int:
    recording = read_recording(command.file)
    renderer = renderer_for(command.output)
    end, _ = await show(_paced(recording, command.speed), renderer)
    if recording.truncated:
        say("the recording's last line was cut off; everything before it was shown")
    if end is None:
        say("the recording stops before the run ended")
    elif isinstance(end, TaskCompletedEvent) and not command.output.json:
        print_answer(end.content, formatted=command.output.formats_answer)
    return ExitCode.OK


async def _paced(recording: Recording, speed: float) -> AsyncIterator[AnyEvent | UnknownEvent]:
    shown = 0.0
    for event in recording:
        if not isinstance(event, UnknownEvent):
            gap = min(max(event.ts - shown, 0.0), _LONGEST_GAP_S)
            shown = max(shown, event.ts)
            await asyncio.sleep(gap / speed)
        yield event
