"""Plain lines: for logs, pipes and NO_COLOR. Whole lines only, no escape sequence, each with its time and name."""

from __future__ import annotations

from typing import TextIO

from . import words
from .pen import Speaker, Tone
from .sanitize import clean, one_line
from .weaver import Piece

_MARKS: dict[Tone, str] = {"state": "", "good": "", "warning": "Warning: ", "error": "Error: "}


class PlainPen:
    """Writes lines to a text stream."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def line(self, ts: float, speaker: Speaker | None, text: str, tone: Tone = "state") -> None:
        """Write one line."""
        subject = speaker.called() if speaker else ""
        self._write(f"{words.stamp(ts)} {_MARKS[tone]}{subject}{one_line(text, 1000)}")

    def speech(self, speaker: Speaker, piece: Piece) -> None:
        """Write each line of the piece; blank ones are left out."""
        text = piece.text if piece.starts_line else piece.text.lstrip(" ")
        for line in text.split("\n"):
            if line.strip():
                self._write(f"{words.stamp(piece.ts)} {speaker.called(':')}{line.rstrip()}")

    def struck(self, ts: float, speaker: Speaker, lead: str, text: str) -> None:
        """Write what was taken back as a quote."""
        self._write(f"{words.stamp(ts)} {speaker.called()}{one_line(lead)}: “{one_line(text, 400)}”")

    def box(self, ts: float, title: str, body: str, foot: tuple[str, ...]) -> None:
        """Write a headline and the lines under it, set off by a bar."""
        self._write(f"{words.stamp(ts)} {one_line(title)}")
        for line in (*clean(body).split("\n"), *(one_line(item, 400) for item in foot)):
            self._write(f"  | {line}".rstrip())

    def _write(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()
