"""A terminal: times, icons, colours, text as it comes, a box for each synthesis.

Everything scrolls; nothing is drawn again, so no line is lost or doubled in the scrollback whatever the size of
the window. What is written never passes as markup: it becomes `Text` or goes through `Clean`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TextIO

from rich.cells import cell_len, chop_cells
from rich.console import Console, Group
from rich.markdown import Markdown
from rich.panel import Panel
from rich.segment import Segment
from rich.text import Text

from . import words
from .pen import COLOURS, Speaker, Tone
from .sanitize import clean, one_line
from .weaver import Piece

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType, RenderResult

_STYLES: Final[dict[Tone, str]] = {"state": "dim", "good": "green", "warning": "yellow", "error": "bold red"}
_GUTTER: Final = "│ "
_TAB: Final = "    "
_INDENT: Final = "    "
_NARROWEST: Final = 24
_WORDS = re.compile(r"\n|[^\S\n]+|\S+")


class Clean:
    """A renderable whose output lost every control sequence that rendering itself did not make.

    Markdown decodes entities (`&#x202e;`), so cleaning its source is not enough.
    """

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(clean(segment.text), segment.style)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # rich calls this while it handles the error, and would exit with a code of its own


def console_for(out: TextIO) -> Console:
    """Return a console that writes to the terminal `out`."""
    return _Console(file=out, highlight=False, markup=False, emoji=False)


def markdown(text: str) -> Clean:
    """Return an answer as Markdown that cannot hide where a link leads."""
    return Clean(Markdown(clean(text), hyperlinks=False))


class TerminalPen:
    """Writes to a terminal through rich."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._chunk: str | None = None  # whose speech the cursor stands in
        self._column = 0
        self._breaks = 0  # line ends of the speech not written yet
        self._wraps = False  # the line is full

    def line(self, ts: float, speaker: Speaker | None, text: str, tone: Tone = "state") -> None:
        """Write one line; a speech it interrupts goes on under a new head."""
        head = self._head(ts, speaker)
        self._print(head.append(one_line(text, 1000), _STYLES[tone]))

    def speech(self, speaker: Speaker, piece: Piece) -> None:
        """Write the piece where the speech stopped, wrapped at words as far as they are known."""
        text, out = piece.text, Text()
        if self._chunk != piece.chunk_id:
            text = text.lstrip("\n") if piece.starts_line else text.lstrip(" ")
            if not text.strip():
                return
            self.end_speech()
            self._chunk = piece.chunk_id
            out = self._head(piece.ts, speaker, ":")
            self._column = out.cell_len
            self._breaks = int(piece.starts_line and text[0] in " \t")
        for word in _WORDS.findall(text):
            self._place(word, out, _colour(speaker))
        self._console.print(out, end="", soft_wrap=True)

    def struck(self, ts: float, speaker: Speaker, lead: str, text: str) -> None:
        """Write what was taken back, struck out."""
        head = self._head(ts, speaker).append(f"{one_line(lead)}: ", _STYLES["warning"])
        self._print(head.append(one_line(text, 400), "dim strike"))

    def box(self, ts: float, title: str, body: str, foot: tuple[str, ...]) -> None:
        """Write a synthesis in a box."""
        items: list[RenderableType] = [markdown(body)] if body else []
        items += [Text(one_line(item, 400), "dim") for item in foot]
        heading = Text(f"{words.stamp(ts)} {one_line(title)}", "bold")
        self.end_speech()
        self._console.print(Panel(Group(*items), title=heading, title_align="left", border_style="green"))

    def _head(self, ts: float, speaker: Speaker | None, mark: str = "") -> Text:
        head = Text.assemble((words.stamp(ts), "dim"), " ")
        if speaker is None:
            return head
        head.append(f"{speaker.icon} ").append(speaker.called(mark), f"bold {_colour(speaker)}")
        return head

    def _print(self, line: Text) -> None:
        self.end_speech()
        first, *rest = line.wrap(self._console, max(self._console.width, _NARROWEST) - len(_INDENT))
        self._console.print(first)
        for more in rest:
            self._console.print(Text(_INDENT).append_text(more))

    def end_speech(self) -> None:
        """End the line a speech stands in, if there is one."""
        if self._chunk is not None:
            self._console.print()
        self._chunk, self._column, self._breaks, self._wraps = None, 0, 0, False

    def _place(self, word: str, out: Text, colour: str) -> None:
        if word == "\n":
            self._breaks += 1
            return
        width = max(self._console.width, _NARROWEST) - 1
        word = word.replace("\t", _TAB)
        if not self._breaks and self._column + cell_len(word) > width and self._column > len(_GUTTER):
            self._wraps = True
        if self._wraps and not self._breaks and word.isspace():
            return
        for part in chop_cells(word, width - len(_GUTTER)):
            self._begin_lines(out, colour)
            out.append(part)
            self._column += cell_len(part)
            self._wraps = self._column >= width

    def _begin_lines(self, out: Text, colour: str) -> None:
        if not (self._breaks or self._wraps):
            return
        blank = f"{_GUTTER.rstrip()}\n" if self._breaks > 1 else ""
        out.append("\n").append(blank + _GUTTER, colour)
        self._column, self._breaks, self._wraps = len(_GUTTER), 0, False


def _colour(speaker: Speaker) -> str:
    return COLOURS[speaker.number % len(COLOURS)]
