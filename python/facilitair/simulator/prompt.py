"""What a scripted agent understands of its messages: task, context, section, its nonce, peers' text, own text.

It reads by shape, not by meaning, so any wording does that keeps the shapes: `Task:`, `Context:` with a JSON object
(or `language: ...` lines), `Your part now: ...`, `@@<nonce> <verb>`, and quotes between two lines that begin with
the same word, of which the first names the fragments (`==x== begin: the architect wrote (a/architect.1#1 to ...)`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

_NONCE: Final = re.compile(r"@@([0-9A-Za-z]{8,16}) (section|verdict|retract|object|done|add|include)\b")
_GO_ON: Final = re.compile(
    r"\b(?:continue|go on|carry on|keep going|where you(?:r text)? (?:stopped|left off))\b", re.I
)
_QUOTE: Final = re.compile(
    r"(?P<fence>[^\w\s]{1,8}[0-9A-Za-z]{6,32}[^\w\s]{0,8})[ ][^\n]*?(?<![\w/.-])"
    r"(?P<first>[\w-]+/(?P<agent>[\w-]+)\.\d+#\d+)(?:[^\n]*?(?P<last>[\w-]+/[\w-]+\.\d+#\d+))?"
)
_TASK: Final = re.compile(
    r"task:\s*(?:[^\w\s]{1,8}[0-9A-Za-z]{6,32}[^\w\s]{0,8} [^\n]*\n\s*)(\S[^\n]*)", re.I
)
_CONTEXT: Final = re.compile(
    r"^context:\s*(?:[^\w\s]{1,8}[0-9A-Za-z]{6,32}[^\w\s]{0,8} [^\n]*\n\s*)?(?=\{)", re.I | re.M
)
_SECTION: Final = re.compile(
    r"^(?:your part now|section):[^\S\n]*([^\n]+?)(?:\. write only[^\n]*)?$", re.I | re.M
)
_CONTROL_LINE: Final = re.compile(r"@@[0-9A-Za-z]{8,16} [a-z]")
_MARK: Final = re.compile(r"\[#\d+\] ?")
_CODE_FENCE: Final = re.compile(r" {0,3}(?:```|~~~)")
_LONGEST_ANCHOR: Final = 40  # characters of the own text by which a place in the script is found again
_SHORTEST_ANCHOR: Final = 8
_ANCHOR_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Peer:
    """Fragments of one author, from `first` to `last`, as one update quotes them."""

    first: str
    last: str
    agent: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """The messages of one request, and what can be read in them."""

    turns: tuple[Turn, ...]

    @cached_property
    def task(self) -> str:
        """The first line of what is to be done; empty when there is none."""
        first = next((turn.content.strip() for turn in self.turns if turn.role == "user"), "")
        if fenced := _TASK.match(first):
            return fenced[1]
        return self._labelled("task") or first.partition("\n")[0]

    @cached_property
    def section(self) -> str:
        """The part of the task this request is about; empty when it is the whole."""
        matches = (_SECTION.search(turn.content) for turn in self._asking())
        return next((match[1].strip() for match in matches if match), "")

    @cached_property
    def language(self) -> str:
        """The programming language of the context; empty when nobody said."""
        return self._context("language", "preferred_language")

    @cached_property
    def framework(self) -> str:
        """The framework of the context; empty when nobody said."""
        return self._context("framework", "frameworks")

    @cached_property
    def nonce(self) -> str | None:
        """The word that makes a line a control line, or `None`."""
        return next(iter(self._control_lines.values()), None)

    @property
    def wants_outline(self) -> bool:
        """Whether the prompt shows how to write `@@<nonce> section <title>`."""
        return "section" in self._control_lines

    @property
    def wants_verdict(self) -> bool:
        """Whether the prompt shows how to write `@@<nonce> verdict approve|revise <reason>`."""
        return "verdict" in self._control_lines

    @property
    def include(self) -> str:
        """The line by which it may take over an agent's work, as it was shown; empty when it was shown none."""
        asking = (turn.content for turn in self.turns if turn.role != "assistant")
        found = (re.search(r"^@@[0-9A-Za-z]{8,16} include [\w-]+$", content, re.M) for content in asking)
        return next((line[0] for line in found if line), "")

    @property
    def is_last(self) -> bool:
        """Whether it is asked what the last news changes in a text that has ended, to be said with a control line."""
        asked = {m[2] for m in _NONCE.finditer(self.turns[-1].content)} if self._own_stands else set()
        return "add" in asked and bool(asked & {"done", "verdict"})

    @property
    def anchor(self) -> str:
        """The words, the end of its own text, that it is asked to begin with; empty when it is not."""
        own, lines = self.own.rstrip(), self.turns[-1].content.split("\n") if self._own_stands else []
        found = ""
        for start in range(len(lines)):
            for end in range(start + 1, min(start + _ANCHOR_LINES, len(lines)) + 1):
                words = "\n".join(lines[start:end]).strip()
                if len(found) < len(words) and own.endswith(words):
                    found = words
        return found

    @property
    def _own_stands(self) -> bool:
        return bool(self.own) and self.turns[-1].role == "user"

    @cached_property
    def peers(self) -> tuple[Peer, ...]:
        """What the prompt quotes of others, in order."""
        return tuple(peer for turn in self.turns for peer in _quotes(turn))

    @cached_property
    def own(self) -> str:
        """What the agent has written of this answer so far: its trailing turns, with nothing but requests to go on
        between and after them. Empty when the answer begins here."""
        pieces: list[str] = []
        for turn in reversed(self.turns):
            if turn.role == "assistant":
                pieces.append(turn.content)
            elif not (_GO_ON.search(turn.content) or "add" in {m[2] for m in _NONCE.finditer(turn.content)}):
                break
        return "".join(reversed(pieces))

    @property
    def prefilled(self) -> bool:
        """Whether the own text is to be continued in place, because it is the last message."""
        return bool(self.turns) and self.turns[-1].role == "assistant"

    def _asking(self) -> Iterator[Turn]:
        return (turn for turn in self.turns if turn.role == "user")

    @cached_property
    def _control_lines(self) -> Mapping[str, str]:
        """Nonces by verb. The system message is read last, so that nothing quoted outweighs it."""
        asking = [turn for turn in reversed(self.turns) if turn.role != "assistant"]
        return {m[2]: m[1] for turn in asking for m in _NONCE.finditer(turn.content)}

    @cached_property
    def _context_object(self) -> Mapping[str, object]:
        for turn in self._asking():
            if match := _CONTEXT.search(turn.content):
                try:
                    found, _ = json.JSONDecoder().raw_decode(turn.content, match.end())
                except (ValueError, RecursionError):
                    return {}  # not ours to judge: an agent reads past a context it cannot make out
                return found if isinstance(found, dict) else {}
        return {}

    def _context(self, *names: str) -> str:
        """Return what the context says under one of these names, or lines of the prompt when there is no object."""
        if not self._context_object:
            return next((said for name in names if (said := self._labelled(name))), "")
        value = next((value for name in names if (value := self._context_object.get(name))), "")
        said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        return " ".join(said.split())

    def _labelled(self, name: str) -> str:
        """Return what follows `name:` at the head of a line, on that line or the next."""
        pattern = re.compile(rf"^[^\w\n]{{0,6}}{name}\b[^\w\n]{{0,4}}?[:=]\s*(\S[^\n]*)", re.I | re.M)
        matches = (pattern.search(turn.content) for turn in self._asking())
        return next((match[1].strip("\"'`,[]{}* ") for match in matches if match), "")


def rest_of(whole: str, own: str) -> str:
    """Return what is still to be written of `whole` when `own` stands already.

    Blanks may differ, and `own` may lack control lines, as a reader sees it. A text that does not begin with `own`
    goes on after the last place where the end of `own` stands in it; one that has no such place is all still to be
    written.
    """
    if not own.strip():
        return whole[len(own) :] if whole.startswith(own) else whole
    seen, positions = _visible(whole)
    for text, where in ((whole, range(len(whole) + 1)), (seen, positions)):
        end = _aligned(text, own)
        if end is not None:
            return whole[where[end] :]
    for size in range(_LONGEST_ANCHOR, _SHORTEST_ANCHOR - 1, -1):
        anchor = own.rstrip()[-size:]
        place = whole.rfind(anchor)
        if place >= 0 and len(anchor) == size:
            return whole[place + size :]
    return whole


def _aligned(text: str, own: str) -> int | None:
    """Return where `text` goes on after `own`, or `None` when it does not begin with it, blanks aside."""
    place = 0
    for word in own.split():
        while text[place : place + 1].isspace():
            place += 1
        if not text.startswith(word, place):
            return None
        place += len(word)
    for blank in own[len(own.rstrip()) :]:
        if not text.startswith(blank, place):
            break
        place += 1
    return place


def _visible(text: str) -> tuple[str, list[int]]:
    """Return `text` without its control lines, and where each code point left stood (one more for the end)."""
    kept: list[str] = []
    positions: list[int] = []
    position, fenced = 0, False
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        fenced ^= bool(_CODE_FENCE.match(line))
        if fenced or not _CONTROL_LINE.match(line):
            kept.append(line)
            positions.extend(range(position, position + len(line)))
        position += len(line)
    return "".join(kept), [*positions, len(text)]


def _quotes(turn: Turn) -> Iterator[Peer]:
    """Yield what one message quotes."""
    if turn.role == "assistant":
        return
    lines = iter(turn.content.split("\n"))
    for line in lines:
        if head := _QUOTE.match(line):
            body: list[str] = []
            for quoted in lines:
                if quoted.startswith(head["fence"]):
                    break
                unmarked = _MARK.sub("", quoted)
                if unmarked or not quoted:
                    body.append(unmarked)
            yield Peer(head["first"], head["last"] or head["first"], head["agent"], "\n".join(body))
