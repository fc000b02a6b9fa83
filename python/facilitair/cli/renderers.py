"""Who shows a run: what every renderer does, and which one an output asks for. Each is loaded when it is wanted."""

from __future__ import annotations

import sys
from typing import Protocol

from ..events import AnyEvent, UnknownEvent
from .output import Output


class Renderer(Protocol):
    """Shows events as they come."""

    @property
    def period(self) -> float:
        """How many seconds pass between two ticks."""
        ...

    def handle(self, event: AnyEvent | UnknownEvent, now: float) -> None:
        """Show `event`; `now` is monotonic seconds."""
        ...

    def tick(self, now: float) -> None:
        """Show what has waited long enough for others."""
        ...

    def close(self) -> None:
        """Give back what was taken of the terminal, however the run ended."""
        ...


def renderer_for(output: Output) -> Renderer:
    """Return the renderer that shows a run as `output` says, on the process's standard streams."""
    match output.style:
        case "json":
            from .render.json_lines import JsonLines

            return JsonLines(sys.stdout.buffer)
        case "live":
            from .render.live import LiveView
            from .render.terminal import TerminalPen, console_for

            pen = TerminalPen(console_for(sys.stderr))
            streams = output.streams
            return LiveView(sys.stderr, pen, colours=streams.colours, answer_follows=streams.out_is_terminal)
        case "coloured":
            from .render.narrator import Narrator
            from .render.terminal import TerminalPen, console_for

            pen = TerminalPen(console_for(sys.stderr))
            follows = output.streams.out_is_terminal
            return Narrator(pen, output.verbosity, whole_lines=False, answer_follows=follows)
        case "plain":
            from .render.narrator import Narrator
            from .render.plain import PlainPen

            return Narrator(PlainPen(sys.stderr), output.verbosity, whole_lines=True, answer_follows=False)
