"""What a narrator asks of whatever it writes on: plain lines or a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from .weaver import Piece

# By a speaker's number; every terminal has these.
COLOURS: Final = ("cyan", "green", "magenta", "yellow", "blue", "bright_red", "bright_cyan", "bright_green")

Tone = Literal["state", "good", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks: the name as shown, an icon, a number that picks the colour, and the section where there are
    several (`place`)."""

    name: str
    icon: str
    number: int
    place: str = ""

    def called(self, mark: str = "") -> str:
        """Return the name and the section, `mark` between them: `Coder: [Design] `."""
        return f"{self.name}{mark} [{self.place}] " if self.place else f"{self.name}{mark} "


class Pen(Protocol):
    """Writes what happened. Text may come from models: a pen lets no control sequence through."""

    def line(self, ts: float, speaker: Speaker | None, text: str, tone: Tone = "state") -> None:
        """Write one line about a speaker, or about the run."""
        ...

    def speech(self, speaker: Speaker, piece: Piece) -> None:
        """Write what a speaker says; the next piece of the same chunk goes on where this one stops."""
        ...

    def struck(self, ts: float, speaker: Speaker, lead: str, text: str) -> None:
        """Write that text which was shown is taken back."""
        ...

    def box(self, ts: float, title: str, body: str, foot: tuple[str, ...]) -> None:
        """Write a section's synthesis."""
        ...
