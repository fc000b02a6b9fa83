"""`facilitair replay`: a recorded run shown through the same renderers, at the speed it had or another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from ..events import AnyEvent, UnknownEvent
from ..recording import Recording, read_recording
from .commands import Replay
from .exit_codes import ExitCode
from .messages import say
from .presentation import Presentation
from .signals import Interrupts

_LONGEST_GAP_S: Final = 30.0  # heartbeats come more often; a damaged time must not stop the show


def run(command: Replay) -> ExitCode:
    """Show the recording. Raises `RecordingError` for what is no recording."""
    try:
        return asyncio.run(_replay(command))
    except asyncio.CancelledError:
        return ExitCode.INTERRUPTED


async def _replay(command: Replay) -> ExitCode:
    recording = read_recording(command.file)
    presentation = Presentation(command.output)
    with Interrupts():
        await presentation.show(paced(recording, command.speed))
    if recording.truncated:
        say("the recording's last line was cut off; everything before it was shown")
    if presentation.end is None:
        say("the recording stops before the run ended")
    presentation.print_answer()
    return ExitCode.OK


async def paced(recording: Recording, speed: float) -> AsyncGenerator[AnyEvent | UnknownEvent]:
    """Yield the events of `recording` when they came, `speed` times as fast. Raises `RecordingError`.

    Times count from the first event on, so that what showing takes does not add up; a gap that is too long moves all
    that follows.
    """
    loop = asyncio.get_running_loop()
    began, shown, due = loop.time(), 0.0, 0.0
    for event in recording:
        if not isinstance(event, UnknownEvent):
            due += min(max(event.ts - shown, 0.0), _LONGEST_GAP_S) / speed
            shown = max(shown, event.ts)
            await asyncio.sleep(max(0.0, began + due - loop.time()))
        yield event
