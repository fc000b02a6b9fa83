"""Where a continuation meets the text it continues: restored blanks, and a repeated overlap cut away.

A model that goes on from its own text either gets it as a prefill whose trailing blanks were cut (many servers
refuse or mistreat them), or as an earlier turn, and then often repeats its last words before it goes on. Both
are mended on the fly; text is held back only as long as it may still be such a repetition.
"""

from __future__ import annotations

from typing import Final, Protocol

_TAIL: Final = 400  # code points of the own text in which a repetition is looked for
_SHORTEST: Final = 5  # a shorter repetition is more likely meant than a stutter
_SHORTEST_INSIDE: Final = 12  # the same for one that begins inside a word


class Seam(Protocol):
    """Takes the continuation as it comes and gives what belongs to the text."""

    def feed(self, text: str) -> str:
        """Return what of the continuation so far can be released."""
        ...

    def flush(self) -> str:
        """Return what was still held when the continuation ended."""
        ...


class NoSeam:
    """Nothing to mend: who goes on has only just written what stands before."""

    def feed(self, text: str) -> str:
        """Return `text`."""
        return text

    def flush(self) -> str:
        """Return nothing: nothing is ever held."""
        return ""


class FirstSeam:
    """The beginning of a text: blank lines in front of it are no part of it, and alone they are no answer."""

    def __init__(self) -> None:
        self._held: str | None = ""

    def feed(self, text: str) -> str:
        """Hold leading blanks until text follows, then release the indent of its line."""
        if self._held is None:
            return text
        held = self._held + text
        if held.isspace() or not held:
            self._held = held
            return ""
        self._held = None
        blanks = len(held) - len(held.lstrip())
        return held[held.rfind("\n", 0, blanks) + 1 :]

    def flush(self) -> str:
        """Drop blanks that nothing followed."""
        return ""


class BlankSeam:
    """A prefill whose trailing blanks were cut: the continuation's leading blanks repeat them, or replace them by
    more line ends or another indent, which are then added."""

    def __init__(self, own: str) -> None:
        self._cut = own[len(own.rstrip()) :]
        self._held = ""
        self._open = bool(self._cut)

    def feed(self, text: str) -> str:
        """Hold leading blanks until text follows, then release of them what the own text does not have."""
        if not self._open:
            return text
        self._held += text
        body = self._held.lstrip()
        if not body:
            return ""
        self._open = False
        return _missing(self._cut, self._held[: len(self._held) - len(body)]) + body

    def flush(self) -> str:
        """Drop blanks that nothing followed."""
        return ""


class ParagraphSeam:
    """An addition to a text that had ended: it begins a paragraph of its own."""

    def __init__(self, own: str) -> None:
        breaks = len(own) - len(own.rstrip("\n"))
        self._gap = "\n" * max(0, 2 - breaks) if own else ""
        self._open = True

    def feed(self, text: str) -> str:
        """Put the gap before the first text that is not blank."""
        if not self._open:
            return text
        body = text.lstrip()
        if not body:
            return ""
        self._open = False
        return self._gap + body

    def flush(self) -> str:
        """Return nothing: blanks alone are no addition."""
        return ""


class OverlapSeam:
    """An own earlier turn: cut the longest repetition of its end with which the continuation begins, then let the
    blanks meet. After the end of a sentence a blank that the model left out is put in."""

    def __init__(self, own: str) -> None:
        tail = own.rstrip()[-_TAIL:]
        self._candidates = [tail[i:] for i in range(len(tail)) if _may_repeat(tail, i)]
        self._blanks = BlankSeam(own)
        self._last = own[-1:]
        self._held = ""
        self._cut = 0
        self._open = True

    def feed(self, text: str) -> str:
        """Hold `text` while it may still turn out to be a repetition."""
        if not self._open:
            return self._blanks.feed(text)
        self._held += text
        for candidate in self._candidates:
            if self._held.startswith(candidate):
                self._cut = max(self._cut, len(candidate))
        held = len(self._held)
        self._candidates = [c for c in self._candidates if len(c) > held and c.startswith(self._held)]
        return "" if self._candidates or held == self._cut else self._release()

    def flush(self) -> str:
        """Release what is held, less the repetition found."""
        return self._release() + self._blanks.flush()

    def _release(self) -> str:
        released = self._held[self._cut :]
        if self._open and not self._cut and _needs_space(self._last, released):
            released = f" {released}"
        self._held, self._candidates, self._open = "", [], False
        return self._blanks.feed(released)


def _may_repeat(tail: str, start: int) -> bool:
    whole_word = start == 0 or tail[start - 1].isspace()
    return len(tail) - start >= (_SHORTEST if whole_word else _SHORTEST_INSIDE)


def _needs_space(last: str, text: str) -> bool:
    """Whether `text` begins a sentence of its own after one that ends in `last`; "foo." and "bar()" belong together."""
    return bool(text) and text[0].isupper() and last in (".", "!", "?")


def _missing(cut: str, blanks: str) -> str:
    """Return what of the continuation's leading `blanks` the own text, which ends in the blanks `cut`, lacks."""
    if blanks.startswith(cut):
        return blanks[len(cut) :]
    lines = max(0, blanks.count("\n") - cut.count("\n"))
    begins_line = "\n" in blanks or cut.endswith("\n")
    indent = blanks.rpartition("\n")[2] if begins_line else ""
    has_indent = "\n" in cut and bool(cut.rpartition("\n")[2])
    return "\n" * lines + ("" if has_indent and not lines else indent)
