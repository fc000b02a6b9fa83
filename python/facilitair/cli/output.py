"""How a run is shown and which files it leaves: what was asked for, and what the streams allow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TextIO

from ..errors import UsageError
from .files import check_writable
from .folder import Folder

if TYPE_CHECKING:
    from .render.narrator import Verbosity

View = Literal["auto", "live", "lines"]
Style = Literal["json", "live", "coloured", "plain"]


@dataclass(frozen=True, slots=True)
class Streams:
    """What standard output (`out`) and standard error (`err`) can show.

    A capable stream is a terminal that understands escape sequences; one that can be drawn on takes UTF-8 as well.
    """

    out_is_closed: bool = False
    out_is_terminal: bool = False
    out_is_capable: bool = False
    err_is_capable: bool = False
    err_is_drawable: bool = False
    colours: bool = True

    @classmethod
    def of(cls, out: TextIO, err: TextIO, env: Mapping[str, str]) -> Self:
        """Return what `out` and `err` can show, as far as `TERM` and `NO_COLOR` say it."""
        understands = env.get("TERM", "dumb").lower() not in {"dumb", "unknown", ""}
        capable = understands and err.isatty()
        return cls(
            out_is_closed=getattr(out, "name", None)
            == os.devnull,  # opened in its place when the process began
            out_is_terminal=out.isatty(),
            out_is_capable=understands and out.isatty(),
            err_is_capable=capable,
            err_is_drawable=capable and err.encoding.lower().replace("-", "") == "utf8",
            colours=not env.get("NO_COLOR"),
        )


@dataclass(frozen=True, slots=True)
class Output:
    """How a run is shown, and its files: `answer` gets the answer as well, `record` the events, `folder` the files of
    the answer."""

    json: bool = False
    verbosity: Verbosity = "full"
    view: View = "auto"
    answer: Path | None = None
    record: Path | None = None
    folder: Folder | None = None
    streams: Streams = Streams()

    @property
    def style(self) -> Style:
        """What the run is shown as: JSON, a live view, or lines with colours or without."""
        coloured = self.streams.err_is_capable and self.streams.colours
        if self.json:
            return "json"
        if self.view == "live":
            return "live"
        if self.view == "auto" and self.verbosity == "full" and coloured and self.streams.err_is_drawable:
            return "live"
        return "coloured" if coloured else "plain"

    @property
    def formats_answer(self) -> bool:
        """Whether the answer is printed as it looks and not as its Markdown is written."""
        return self.streams.out_is_capable and self.streams.colours

    def check(self) -> None:
        """Raise `UsageError` for what cannot be shown and for files that cannot be written."""
        if self.json and self.streams.out_is_closed:
            raise UsageError("--json writes to standard output, which is closed")
        if self.view == "live":
            self._check_live()
        for path, option in ((self.answer, "--output"), (self.record, "--record")):
            if path is not None:
                check_writable(path, option)
        if self.folder is not None:
            self.folder.check()
        if self.answer and self.record and os.path.realpath(self.answer) == os.path.realpath(self.record):
            raise UsageError("--output and --record name the same file; give each its own")

    def _check_live(self) -> None:
        if self.json or self.verbosity != "full":
            other = "--json" if self.json else f"--verbosity {self.verbosity}"
            raise UsageError(f"--view live shows everything; leave out {other}, or use --view lines")
        if not self.streams.err_is_drawable:
            raise UsageError(
                "--view live needs a UTF-8 terminal as standard error, and TERM naming it; leave it out, "
                "and the run is told in lines where there is none"
            )
