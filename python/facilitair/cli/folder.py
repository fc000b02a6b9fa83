"""The files of an answer in a folder: never outside of it, and over nothing that is there unless that was asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .files import write_whole
from .messages import say

if TYPE_CHECKING:
    from ..events import TaskCompletedEvent


@dataclass(frozen=True, slots=True)
class Folder:
    """Where `--write` puts files; with `force`, over those that are there."""

    path: Path
    force: bool = False

    def check(self) -> None:
        """Raise `UsageError` when nothing can be written there."""
        try:
            place = self.path
            while not place.exists():
                place = place.parent
            if not place.is_dir():
                raise UsageError(
                    f"--write {str(self.path)!r}: {str(place)!r} is no directory; name a directory"
                )
            if not os.access(place, os.W_OK | os.X_OK):
                raise UsageError(f"--write {str(self.path)!r} cannot be written: {str(place)!r} is read-only")
        except (OSError, ValueError) as error:
            raise UsageError(f"--write {str(self.path)!r} cannot be used: {error}") from error

    def write(self, end: TaskCompletedEvent) -> bool:
        """Write the files of the answer, say what was done, and return whether all were written."""
        if not end.artifacts:
            say("the answer has no named files, so none were written")
            return True
        written = [a.name for a in end.artifacts if self._write(a.name, end.content[a.start : a.end])]
        if written:
            say(f"wrote {', '.join(written)} in {self.path}")
        return len(written) == len(end.artifacts)

    def _write(self, name: str, text: str) -> bool:
        place = self.path / name
        try:
            # What a link leads to counts: a name from a model must not reach out of the folder through one.
            if (
                not place.resolve().is_relative_to(self.path.resolve())
                or place.resolve() == self.path.resolve()
            ):
                say(f"{name!r} is not written: it would be outside of {self.path}")
                return False
            if os.path.lexists(place) and not self.force:
                say(f"{name!r} is not written: it is there already; --force writes over it")
                return False
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, text)
        except OSError as error:
            say(f"{name!r} cannot be written: {error.strerror}")
            return False
        return True
