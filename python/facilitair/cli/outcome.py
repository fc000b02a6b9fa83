"""What a watched run leaves here: its events on the screen and in a recording, its answer or what there is of it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..events import TaskCompletedEvent, TaskErrorEvent, TerminalEvent
from ..recording import Recorder
from .exit_codes import ExitCode, for_outcome
from .files import write_whole
from .messages import say
from .render.sanitize import clean
from .session import print_answer, renderer_for, show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..events import AnyEvent, UnknownEvent
    from .output import Output


async def watch(
    output: Output, events: AsyncIterator[AnyEvent | UnknownEvent]
) -> tuple[TerminalEvent | None, bool]:
    """Show the events, and record them if that is asked for; return as `show`."""
    renderer = renderer_for(output)
    if output.record is None:
        return await show(events, renderer)
    with Recorder(output.record) as recorder:
        return await show(events, renderer, recorder)


def conclude(output: Output, end: TerminalEvent | None, *, recorded: bool) -> int:
    """Deliver the answer, or save what there is of it."""
    code = for_outcome(end)
    kept = True
    if end is None:
        say("the run broke off without an end; please report this")
    elif isinstance(end, TaskCompletedEvent):
        if output.answer is not None:
            kept = _save(output.answer, end.content)
        if not output.json:
            print_answer(end.content, formatted=output.formats_answer)
    else:
        why = end.code if isinstance(end, TaskErrorEvent) else end.reason
        kept = _keep_partial(output.answer, end.stream_id, f"<!-- partial: {why} -->", end.partial)
    return ExitCode.FAILED if code is ExitCode.OK and not (recorded and kept) else code


def _keep_partial(answer: Path | None, stream_id: str, mark: str, partial: str) -> bool:
    if not partial.strip():
        say("nothing of the answer had been written yet, so nothing was saved")
        return True
    name = f"facilitair-partial-{re.sub(r'[^A-Za-z0-9_-]', '_', stream_id)}.md"
    places = [answer] if answer is not None else [Path(name), Path(tempfile.gettempdir()) / name]
    for place in places:
        if _save(place, f"{mark}\n{partial}"):
            say(f"the partial answer is in {place}")
            return True
    return False


def _save(path: Path, text: str) -> bool:
    try:
        write_whole(path, clean(text).rstrip("\n") + "\n")
    except OSError as error:
        say(f"cannot write {str(path)!r}: {error.strerror}")
        return False
    return True
