"""Where a continuation meets the text it continues: what is repeated is cut, and every seam is a line of its own.

A chat model that is asked to go on from its own text does not: it begins anew, greets, opens its code fence once more,
or repeats what it wrote last. So it is asked to begin with the last words of its text, the anchor, and its reply is
held back until they are found (askalf/dario#1286 measured that; that overlap alone cannot tell a continuation from a
restart is in OmniRoute#11152). All of this happens once a reply, at its head.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, Protocol

import msgspec

from facilitair_rust import Block, ChunkText, Control

from .control import VERBS

ANCHOR: Final = 40  # characters of the own text that a continuation is asked to begin with
_SHORTEST_ANCHOR: Final = 12  # a shorter last line takes the lines above it along
_HELD: Final = 240  # characters in which the anchor must begin
_RESTART: Final = 200  # repeated characters of the own beginning that make a restart, or its first prose
_BEYOND: Final = 24  # characters more, where the text also ends as it begins
_REWRITE: Final = 0.8  # share of the first block's words that a restart in other words has in common with it
_GLANCE: Final = 60  # characters after which a rewrite can be ruled out
_SENTENCE: Final = 20  # a shorter last sentence that comes again is meant
_SENTENCE_END: Final = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+")
_FEW: Final = 8  # words; fewer are alike by chance
_WORD: Final = re.compile(r"\w+")
_NAME: Final = re.compile(r"\w*\d\w*|`[^`\n]+`")
_FENCE: Final = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([^\n`]*)")
_STRUCTURE: Final = re.compile(r"[ \t]*(?:[-*+][ \t]|\d{1,9}[.)][ \t]|\||#{1,6}[ \t]|`{3}|~{3}|[ \t]{4})")
_PREAMBLE_LINES: Final = 3
_ITEM: Final = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])\s|\s*\|")
_ANSWERS: Final = ("done", "add", "retract", "verdict")
_DECORATION: Final = " \t\n`*_>"
_QUOTES: Final = ("**", '"', "'", "`", "“", "„", "*", "_")
_CLOSING: Final = {"“": "”", "„": "“"}  # where the mark that closes is another


class Passage(msgspec.Struct, frozen=True):
    """What a seam gives: `text` that belongs to the own text, which is first cut to `keep` code points, if given.

    Where the reply says first what it is, that stands in `orders`; `rest` follows them, and is to be fed to the seam
    that the turn has then.
    """

    text: str = ""
    keep: int | None = None
    orders: tuple[Control, ...] = ()
    rest: str = ""


class Outcome(Enum):
    """What a reply turned out to be."""

    OPEN = auto()  # not known yet
    TEXT = auto()  # goes on
    MISSED = auto()  # does not begin as it was asked to; nothing of it was released
    NOTHING = auto()  # ended without a word that is new
    UNORDERED = auto()  # the reply to a last request does not say what it is


class Seam(Protocol):
    """Takes a reply as it comes and gives what belongs to the text."""

    @property
    def outcome(self) -> Outcome:
        """What is known of the reply until now."""
        ...

    def feed(self, text: str) -> Passage:
        """Return what of the reply so far can be released."""
        ...

    def end(self, *, whole: bool) -> Passage:
        """Return what was still held when the reply ended; `whole`: its model had finished."""
        ...


class FirstSeam:
    """The beginning of a text: blank lines in front of it are no part of it, and alone they are no answer. Neither is
    the `heading` that stands above it already."""

    def __init__(self, heading: str = "") -> None:
        self._held: str | None = ""
        self._heading = heading

    @property
    def outcome(self) -> Outcome:
        """Whether text has come."""
        return Outcome.OPEN if self._held is not None else Outcome.TEXT

    def feed(self, text: str) -> Passage:
        """Hold leading blanks until text follows, then release the indent of its line."""
        if self._held is None:
            return Passage(text)
        held = self._held + text
        if held.isspace() or not held:
            self._held = held
            return _NOTHING
        text = without_heading(held, self._heading)
        if self._heading and (not text.strip() or (text.lstrip()[0] == "#" and "\n" not in text.lstrip())):
            self._held = held  # it may become that heading, or is nothing else
            return _NOTHING
        self._held = None
        blanks = len(text) - len(text.lstrip())
        return Passage(text[text.rfind("\n", 0, blanks) + 1 :])

    def end(self, *, whole: bool) -> Passage:  # noqa: ARG002 - as every seam
        """Drop blanks that nothing followed."""
        text = without_heading(self._held or "", self._heading).strip()
        if text:
            self._held = None
        return Passage(text)


class OpenSeam:
    """Nothing to mend in a reply that goes on: its author has only just written what stands before."""

    def __init__(self) -> None:
        self.outcome = Outcome.OPEN

    def feed(self, text: str) -> Passage:
        """Return `text`."""
        if text.strip():
            self.outcome = Outcome.TEXT
        return Passage(text)

    def end(self, *, whole: bool) -> Passage:  # noqa: ARG002 - as every seam
        """Return nothing: nothing is ever held."""
        return _NOTHING


class LineSeam:
    """Text that begins a line of its own: a block behind prose, the next line of code inside a fence."""

    def __init__(self, own: str, *, fenced: bool) -> None:
        self._fenced = fenced
        self._gap = gap(own, fenced=fenced)
        self._held = ""
        self._open = True

    @property
    def outcome(self) -> Outcome:
        """Whether text has come."""
        return Outcome.OPEN if self._open else Outcome.TEXT

    def feed(self, text: str) -> Passage:
        """Put the gap before the first text that is not blank, and drop a fence opened where one is open."""
        if not self._open:
            return Passage(text)
        self._held += text
        body = self._held.lstrip()
        if not body or (self._fenced and body[0] in "`~" and "\n" not in body):
            return _NOTHING
        return self._release()

    def end(self, *, whole: bool) -> Passage:  # noqa: ARG002 - as every seam
        """Release a line without its end; blanks alone are nothing."""
        return self._release() if self._open and self._held.strip() else _NOTHING

    def _release(self) -> Passage:
        self._open = False
        blanks = len(self._held) - len(self._held.lstrip())
        begun = self._held.rfind("\n", 0, blanks) + 1
        text = self._held[begun if begun or self._fenced else blanks :]
        self._held = ""
        fence = _FENCE.match(text) if self._fenced else None
        if fence is not None and fence[2].strip():
            text = text[fence.end() :].removeprefix("\n")
        return Passage(self._gap + text)


class ContinuationSeam:
    """A reply that was asked to go on from `own`, of which `anchor` is the end to be repeated; `None`: a server goes on
    in place. Where the reply does not begin so, it is tested for a restart; `patient`, a miss may be asked again.
    """

    def __init__(
        self, own: str, *, nonce: str, anchor: str | None, fenced: bool = False, patient: bool = True
    ) -> None:
        self._own = own
        self._nonce = nonce
        self._anchor = None if anchor is None else _spaced(anchor)
        self._fenced = fenced
        self._patient = patient
        self._blocks = blocks_of(own, nonce)
        self._repeatable = self._repetitions()
        self._head = ""
        self._restart: int | None = None  # where in the own text the reply began anew
        self._least = 0  # characters that it then takes at least to repeat the rest
        self._line: LineSeam | None = None  # once the reply goes on
        self.outcome = Outcome.OPEN

    def feed(self, text: str) -> Passage:
        """Hold the reply until it is known where it goes on, then release what does."""
        if self._line is not None:
            return self._line.feed(text)
        if self.outcome is Outcome.MISSED:
            return _NOTHING
        self._head += text
        return self._decide(final=False)

    def end(self, *, whole: bool) -> Passage:
        """Release what is held and belongs to the text. A reply that is not whole replaces nothing, and its head alone
        is nothing."""
        if self._line is None and self.outcome is Outcome.OPEN:
            released = self._decide(final=True) if whole else _NOTHING
        else:
            released = _NOTHING
        if self._line is not None:
            last = self._line.end(whole=whole)
            released = Passage(released.text + last.text, released.keep)
            if self._line.outcome is Outcome.OPEN:
                self.outcome = Outcome.NOTHING
        elif self.outcome is Outcome.OPEN:
            self.outcome = Outcome.NOTHING
        return released

    # --- where the reply goes on -----------------------------------------------------------------------------------

    def _decide(self, *, final: bool) -> Passage:
        if self._restart is not None:
            return self._follow(self._restart, final=final)
        order = self._order(final=final)
        if order is None:
            return _NOTHING
        if order in ("retract", "object", "verdict"):
            return self._go_on(0)  # it takes back, objects or judges before it goes on
        said = self._plain(self._head)
        if not said:
            return _NOTHING
        for repeated, place in self._repeatable:
            if len(said) < len(repeated) and repeated.startswith(said) and not final:
                return _NOTHING  # it may become one
            if _begins(said, repeated):
                return self._begin_anew(place, final=final)
        if self._anchor is None:
            return self._without_anchor(final=final)
        if (end := self._anchored(final=final)) is not None:
            return self._go_on(end)
        if len(self._head) < _HELD + ANCHOR and not final:
            return _NOTHING
        return self._without_anchor(final=final)

    def _order(self, *, final: bool) -> str | None:
        """Return the verb of the control line that the reply begins with, empty for other text; `None`: that is not
        known yet."""
        head, mark = self._head.lstrip(_DECORATION), f"@@{self._nonce} "
        if not head.startswith(mark):
            return None if mark.startswith(head) and not final else ""
        if "\n" not in head and not final:
            return None
        return (head[len(mark) :].split() or [""])[0].strip(_DECORATION + ":").lower()

    def _without_anchor(self, *, final: bool) -> Passage:
        rewrite = self._is_rewrite(final=final)
        if rewrite is None:
            return _NOTHING
        if rewrite and (self._anchor is None or not self._patient):
            return self._begin_anew(0, final=final)
        if self._anchor is not None and self._patient:
            self.outcome, self._head = Outcome.MISSED, ""
            return _NOTHING
        return self._go_on(0)

    def _anchored(self, *, final: bool) -> int | None:
        """Return where the reply goes on behind the anchor, if it stands near its head: behind a greeting, a fence
        opened once more, or more of the own text's end. Elsewhere it is a line that only reads the same."""
        for found in re.finditer(self._anchor or "", self._head[: _HELD + 2 * ANCHOR]):
            before = self._head[: found.start()]
            if found.start() > _HELD or not (self._repeats(before, found[0]) or _is_preamble(before)):
                continue
            end = found.end()
            mark = next((mark for mark in _QUOTES if before.endswith(mark)), "")
            closing = _CLOSING.get(mark, mark)
            if len(self._head) < end + len(closing) and not final:
                return None  # the mark that closes may be still to come
            return end + len(closing) if self._head.startswith(closing, end) else end
        return None

    def _repeats(self, before: str, anchor: str) -> bool:
        """Whether `before` and the anchor are the end of the own text."""
        return self._plain(self._own).endswith(self._plain(before + anchor))

    def _go_on(self, start: int) -> Passage:
        text, self._head, self.outcome = self._head[start:], "", Outcome.TEXT
        self._line = LineSeam(self._own, fenced=self._fenced)
        return self._line.feed(text)

    # --- restarts ----------------------------------------------------------------------------------------------------

    def _repetitions(self) -> list[tuple[str, int]]:
        """Return what a reply may begin with again, blanks aside, and where it stands in the own text: the beginning,
        the last block, the last sentence. A single row or item may well be meant."""
        found: list[tuple[str, int]] = []
        first = next((b for b in self._blocks if b.kind != "heading"), None)
        if first is not None:
            whole = self._plain(self._own)
            prose = self._plain(self._own[: first.end]) if first.kind != "code" else whole
            size = min(len(prose), _RESTART)
            if whole.endswith(prose) and len(prose) < len(whole):
                size = (
                    len(prose) + _BEYOND
                )  # a refrain: the end repeated as it was asked for begins like this as well
            found.append((whole[:size], 0))
        last = self._blocks[-1] if self._blocks else None
        if last is not None and not _is_single(self._own[last.start : last.end]):
            found.append((self._plain(self._own[last.body : last.end]), last.body))
            if not self._fenced and last.kind == "prose":
                sentence = _SENTENCE_END.split(self._own[last.body : last.end].strip())[-1]
                if len(sentence) >= _SENTENCE:
                    found.append((self._plain(sentence), self._own.rstrip().rfind(sentence)))
        return [(text, place) for text, place in found if text]

    def _begin_anew(self, place: int, *, final: bool) -> Passage:
        self._restart = place
        self._least = sum(not c.isspace() for c in self._own[place:])
        return self._follow(place, final=final)

    def _follow(self, place: int, *, final: bool) -> Passage:
        """Go along with a reply that repeats the own text from `place` on: to its end, where it goes on, or to where
        it differs."""
        if final or len(self._head) >= self._least:
            own = self._plain(self._own[place:])
            if _begins(self._plain(self._head), own) and (end := self._end_of(own)) is not None:
                return self._go_on(end)
        return self._rewritten() if final else _NOTHING

    def _rewritten(self) -> Passage:
        """Return what replaces the own text from the first block that differs on."""
        place = self._restart or 0
        text = self._head
        own = [b for b in self._blocks if b.end > place]
        new = [b for b in blocks_of(text, self._nonce) if self._plain(text[b.start : b.end])]
        said, stands = self._plain(text), self._plain(self._own[place:])
        self.outcome = Outcome.NOTHING
        if stands.startswith(said):
            return _NOTHING
        same = 0
        for old, block in zip(own, new, strict=False):
            if self._plain(self._own[max(old.start, place) : old.end]) != self._plain(
                text[block.start : block.end]
            ):
                break
            same += 1
        keep = own[same].start if same < len(own) else len(self._own)
        begun = new[same].start if same < len(new) else len(text)
        rest = text[begun:].lstrip("\n")
        if not rest.strip():
            return _NOTHING
        self.outcome = Outcome.TEXT
        return Passage(rest, keep)

    def _is_rewrite(self, *, final: bool) -> bool | None:
        """Whether the reply begins the own text anew in other words; `None`: that is not known yet.

        What has other numbers or names is about something else, as parts of one text are that begin alike.
        """
        first = next((b for b in self._blocks if b.kind not in ("heading", "code")), None)
        if first is None or self._blocks[0].kind == "code":
            return False
        own, text = self._own[: first.end], without_control_lines(self._head, self._nonce)
        closed = blocks_of(text, self._nonce)
        if final or len(closed) > 1:
            said = text[: closed[0].end] if closed else ""
            return _names(said) == _names(own) and _alike(_words(said), _words(own)) >= _REWRITE
        words = _words(text)[:-1]
        if len(text) < _GLANCE:
            return None
        return None if _common(words, _words(own)) >= _REWRITE * len(words) else False

    def _end_of(self, words: str) -> int | None:
        """Return where the reply has said `words`, blanks and control lines aside."""
        ink = "".join(words.split())
        said = at = 0
        for line in self._head.splitlines(keepends=True):
            if not _is_control(line, self._nonce):
                for offset, c in enumerate(line):
                    if said == len(ink):
                        return at + offset
                    if not c.isspace():
                        if c != ink[said]:
                            return None
                        said += 1
            at += len(line)
        return at if said == len(ink) else None

    def _plain(self, text: str) -> str:
        return " ".join(without_control_lines(text, self._nonce).split())


class LastSeam:
    """The reply to a last request: nothing of it is text before a line has said what it is."""

    def __init__(self, own: str, *, nonce: str) -> None:
        self._own = own
        self._nonce = nonce
        self._scratch = ChunkText(nonce, VERBS)
        self._line = ""
        self._added: ContinuationSeam | None = None
        self._over = False
        self.said = ""  # of it, without what it adds
        self.outcome = Outcome.OPEN

    def feed(self, text: str) -> Passage:
        """Hold the reply until it says what it is; then release what it adds."""
        if self._added is not None:
            return self._released(self._added.feed(text))
        if self._is_over():
            return _NOTHING  # it took back what is not there; had it been, its text would go on through another seam
        self._line += text
        orders: tuple[Control, ...] = ()
        while "\n" in self._line and not self._is_over() and self._added is None:
            line, end, self._line = self._line.partition("\n")
            orders += self._obeyed(self._read(line + end))
        rest = ""
        if self._is_over() or self._added is not None:
            rest, self._line = self._line, ""
        return Passage(orders=orders, rest=rest)

    def end(self, *, whole: bool) -> Passage:
        """Read the last line, unless it was cut off."""
        if self._added is not None:
            return self._released(self._added.end(whole=whole))
        orders: tuple[Control, ...] = ()
        if whole and not self._is_over():
            last, self._line = self._line, ""
            orders = self._obeyed(self._read(last))
            orders += self._obeyed(tuple(s for s in self._scratch.flush() if isinstance(s, Control)))
        if self.outcome is Outcome.OPEN:
            self.outcome = Outcome.UNORDERED
        return Passage(orders=orders)

    def _is_over(self) -> bool:
        """Whether what follows is no part of this reply's answer."""
        return self._over

    def _read(self, line: str) -> tuple[Control, ...]:
        self.said += line
        return tuple(s for s in self._scratch.feed(line) if isinstance(s, Control))

    def _obeyed(self, orders: tuple[Control, ...]) -> tuple[Control, ...]:
        """Take what `orders` say of the reply, and return those that the turn has to obey."""
        for order in orders:
            if order.verb in _ANSWERS:
                self.outcome = Outcome.TEXT
            if order.verb == "add" and self._added is None:
                self._added = ContinuationSeam(self._own, nonce=self._nonce, anchor=None)
            elif order.verb == "retract":
                self._over = True
        return tuple(o for o in orders if o.verb in ("done", "verdict", "retract", "object"))

    def _released(self, passage: Passage) -> Passage:
        if self._added is not None and self._added.outcome is not Outcome.OPEN:
            self.outcome = self._added.outcome
        return passage


def _is_preamble(before: str) -> bool:
    """Whether the reply may say `before` to whoever asked it, and then begin a line of its text."""
    text, _, line = before.rpartition("\n")
    lines = [said for said in text.split("\n") if said.strip()]
    if lines and _FENCE.fullmatch(lines[-1]):
        lines.pop()  # the fence that it opens once more
    if line.strip("".join(_QUOTES) + " \t>"):
        return False
    return len(lines) <= _PREAMBLE_LINES and not any(_STRUCTURE.match(said) for said in lines)


def gap(own: str, *, fenced: bool) -> str:
    """Return the line ends that must follow `own`, so that what comes then begins a block, or a line of code."""
    if not own:
        return ""
    breaks = len(own) - len(own.rstrip("\n"))
    return "\n" * max(0, (1 if fenced else 2) - breaks)


def anchor_of(own: str) -> str:
    """Return the end of `own` that a continuation is to begin with: of its last line, or of its last lines."""
    text = own.rstrip()
    start = text.rfind("\n") + 1
    while start and len(" ".join(text[start:].split())) < _SHORTEST_ANCHOR:
        start = text.rfind("\n", 0, start - 1) + 1
    tail = text[start:]
    if len(tail) > ANCHOR:
        cut = tail[-ANCHOR:]
        blank = re.search(r"\s\S", cut)
        tail = cut[blank.start() + 1 :] if blank and blank.start() < ANCHOR - _SHORTEST_ANCHOR else cut
    return tail.strip()


def without_heading(text: str, heading: str) -> str:
    """Return `text` without a first line that is `heading`, whatever its level and its marks."""
    first, end, rest = text.lstrip().partition("\n")
    if heading and end and first.startswith("#") and _title(first) == _title(heading):
        return rest
    return text


def _title(heading: str) -> str:
    return re.sub(r"^\d+(?:\.\d+)*[.)]?\s+", "", heading.strip().strip("#*_: \t")).strip("*_: \t").casefold()


def blocks_of(text: str, nonce: str) -> list[Block]:
    """Return the blocks that `text` consists of."""
    scratch = ChunkText(nonce, ["-"])
    return [s for s in (*scratch.feed(text), *scratch.flush()) if isinstance(s, Block)]


def without_control_lines(text: str, nonce: str) -> str:
    """Return `text` without the lines that are, or may become, control lines of this run."""
    if "@@" not in text:
        return text
    return "".join(line for line in text.splitlines(keepends=True) if not _is_control(line, nonce))


def _is_control(line: str, nonce: str) -> bool:
    ink, mark = line.strip(_DECORATION), f"@@{nonce} "
    return ink.startswith(mark) or (line[-1:] != "\n" and bool(ink) and mark.startswith(ink))


_NOTHING: Final = Passage()


def _spaced(text: str) -> str:
    """Return a pattern for `text` with any blanks between its words."""
    return r"\s+".join(map(re.escape, text.split()))


def _begins(said: str, with_: str) -> bool:
    return bool(with_) and said.startswith(with_)


def _is_single(block: str) -> bool:
    lines = block.strip().split("\n")
    return len(lines) == 1 and _ITEM.match(lines[0]) is not None


def _words(text: str) -> Sequence[str]:
    return _WORD.findall(text.lower())


def _names(text: str) -> set[str]:
    return set(_NAME.findall(text))


def _alike(some: Sequence[str], others: Sequence[str]) -> float:
    longest = max(len(some), len(others))
    return _common(some, others) / longest if longest >= _FEW else 0.0


def _common(some: Sequence[str], others: Sequence[str]) -> int:
    left = list(others)
    count = 0
    for word in some:
        if word in left:
            left.remove(word)
            count += 1
    return count
