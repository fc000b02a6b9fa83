"""Text from models, made harmless for a terminal.

Whatever a model writes may end in a terminal that obeys escape sequences: they can move the cursor, rename the
window or write the clipboard. Here all C0 and C1 controls but line feed and tab go, and with them the whole
sequence they introduce (ESC, CSI, OSC, DCS, SOS, PM, APC), also when it arrives in pieces. Bidirectional
overrides and isolates go because they make text read differently from what it is, and so does the block of
invisible tag characters. Other invisible characters (joiners, variation selectors) stay: scripts and emoji need
them.

A control string that is never ended stops at the end of its line, so that one stray introducer cannot hide the
rest of an answer.
"""

from __future__ import annotations

import re
from enum import Enum, auto

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
_STRING_INTRODUCERS_7BIT = frozenset("PX]^_")
_STRING_INTRODUCERS_8BIT = frozenset("\x90\x98\x9d\x9e\x9f")
_STRING_ENDS = frozenset("\x07\x18\x1a\x9c")


class _State(Enum):
    GROUND = auto()
    ESCAPE = auto()
    CSI = auto()
    STRING = auto()


class Sanitizer:
    """Cleans one text that arrives in pieces: the pieces' outputs joined are the whole text's output."""

    def __init__(self) -> None:
        self._state = _State.GROUND

    def feed(self, text: str) -> str:
        """Return what of `text` can be shown."""
        if self._state is _State.GROUND and not _UNSAFE.search(text):
            return text
        return "".join([char for char in text if self._passes(char)])

    def _passes(self, char: str) -> bool:
        match self._state:
            case _State.ESCAPE:
                self._state, consumed = _after_escape(char)
            case _State.CSI:
                self._state, consumed = _after_csi(char)
            case _State.STRING:
                self._state, consumed = _after_string(char)
            case _:
                consumed = False
        if consumed:
            return False
        if not _UNSAFE.match(char):
            return True
        self._state = _introduced_by(char)
        return False


def _introduced_by(control: str) -> _State:
    if control == "\x1b":
        return _State.ESCAPE
    if control == "\x9b":
        return _State.CSI
    return _State.STRING if control in _STRING_INTRODUCERS_8BIT else _State.GROUND


def _after_escape(char: str) -> tuple[_State, bool]:
    if char == "[":
        return _State.CSI, True
    if char in _STRING_INTRODUCERS_7BIT:
        return _State.STRING, True
    if " " <= char <= "/":
        return _State.ESCAPE, True
    return _State.GROUND, "0" <= char <= "~"


def _after_csi(char: str) -> tuple[_State, bool]:
    if " " <= char <= "?":
        return _State.CSI, True
    return _State.GROUND, "@" <= char <= "~"


def _after_string(char: str) -> tuple[_State, bool]:
    if char in _STRING_ENDS:
        return _State.GROUND, True
    return (_State.GROUND, False) if char in "\n\x1b" else (_State.STRING, True)


def clean(text: str) -> str:
    """Return a whole text without anything a terminal would obey."""
    return Sanitizer().feed(text)


def one_line(text: str, limit: int = 200) -> str:
    """Return `text` cleaned, on one line, at most `limit` characters with an ellipsis where it was cut."""
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
