"""The end of a growing text, wrapped for a panel: what is new is looked at once, the rest never again.

All rows but the last are final, because a word that grows moves at most itself. So a text that gets longer only
adds rows, and what is on the screen never jumps. A text that was cut, or a panel of another size, is wrapped again
from near its end. Sanitising happens here, per text, so that an escape sequence split over pieces is seen as one.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from rich.cells import cell_len, chop_cells

from .sanitize import Sanitizer

_WORDS = re.compile(r"\s+|\S+")
_TAB: Final = "    "
_MARKS_PER_CELL: Final = 8  # combining characters take no room, but they take memory and time


class Tail:
    """The last rows of one text."""

    def __init__(self) -> None:
        self._size = (0, 0)
        self._rows: deque[str] = deque()
        self._open = ""
        self._seen = 0
        self._sanitizer = Sanitizer()

    def cut(self, keep: int) -> None:
        """The text was cut to `keep` code points, and may have grown again since."""
        if keep < self._seen:
            self._size = (0, 0)

    def rows(self, text: str, width: int, height: int) -> list[str]:
        """Return the last `height` rows of `text`, none wider than `width` cells."""
        most = 2 * width * height + 200
        if (width, height) != self._size or not self._seen <= len(text) <= self._seen + most:
            self._begin(text, width, height, most)
        if len(text) > self._seen:
            self._take(text[self._seen :], width)
            self._seen = len(text)
        rows = [*self._rows, self._open.rstrip()]
        while rows and not rows[-1]:
            rows.pop()
        shown = rows[-height:]
        return shown[1:] if shown and not shown[0] else shown

    def _begin(self, text: str, width: int, height: int, most: int) -> None:
        self._size = (width, height)
        self._rows, self._open, self._sanitizer = deque(maxlen=height), "", Sanitizer()
        start = max(len(text) - most, 0)
        line = (
            text.find("\n", start) + 1
        )  # the beginning of a line, where there is one, wraps as it always did
        self._seen = line if start and 0 < line < len(text) - most // 2 else start

    def _take(self, new: str, width: int) -> None:
        new = self._sanitizer.feed(new).replace("\t", _TAB)
        *whole, self._open = (self._open + new).split("\n")
        for line in whole:
            self._push(*(row.rstrip() for row in wrap(line, width)))
        *final, self._open = wrap(self._open, width)
        self._push(*final)

    def _push(self, *rows: str) -> None:
        for row in rows:
            if row or (self._rows and self._rows[-1]):  # one blank row is enough
                self._rows.append(row)


def wrap(line: str, width: int) -> list[str]:
    """Return `line` as rows of at most `width` cells, broken at spaces where possible; at least one row.

    The last one, which may grow, keeps its spaces at the end, also one that does not fit.
    """
    rows, row = [], ""
    for word in _WORDS.findall(line):
        if word.isspace():
            # What does not fit goes with the row's end; one is kept, or a row that grows would forget its break.
            row += " " * (min(cell_len(word), width - cell_len(row)) or 1)
            continue
        for part in _parts(word, width):
            # Joiners make widths of parts that do not add up.
            if cell_len(row + part) > width:
                rows.append(row.rstrip())
                row = ""
            row += part
    return [*rows, row]


def _parts(word: str, width: int) -> Iterator[str]:
    """Yield `word` in pieces that fit a row, without marks piled higher than anybody can see."""
    for part in [word] if cell_len(word) <= width else chop_cells(word, width):
        rest = part[: width * _MARKS_PER_CELL]
        # Behind doubled joiners the pieces come out wider than was asked for.
        while len(rest) > 1 and cell_len(rest) > width:
            end = max((end for end in range(1, len(rest)) if cell_len(rest[:end]) <= width), default=1)
            yield rest[:end]
            rest = rest[end:]
        yield rest
