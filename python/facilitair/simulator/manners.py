"""How a chat model really goes on from its own text: manners on demand, asked for in the model name like faults.

`coder+preamble` greets before each continuation, `coder+restartx1` begins anew once, `coder+moody` draws a manner for
each reply. What a script would write is given; a manner says what is sent in its place.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ..errors import FaultError

Kind = Literal["goes on", "in place", "last", "begins"]
MOODY: Final = "moody"

_PREAMBLES: Final = (
    "Sure, here is the rest:",
    "Of course! Continuing from where I left off:",
    "Gern, hier kommt der Rest:",
    "Natürlich, ich mache dort weiter, wo ich aufgehört habe.",
    "Baik, berikut lanjutannya:",
    "Tentu, saya lanjutkan dari bagian terakhir.",
)
_ANSWERS: Final = (
    "Thanks for the update. I have taken the new points into account, and they fit well with the plan.",
    "Danke für den Hinweis, das passt gut zu dem, was ich bereits geschrieben habe.",
    "Terima kasih atas informasinya, semua poin sudah saya pertimbangkan.",
)
_CONTENT: Final = (
    "No changes needed.",
    "Everything looks good to me, nothing to add.",
    "Keine Änderungen nötig.",
    "Ich habe nichts hinzuzufügen.",
    "Tidak ada perubahan yang diperlukan.",
    "Semuanya sudah sesuai, tidak ada tambahan.",
)
REMARKS: Final = (*_PREAMBLES, *_ANSWERS, *_CONTENT)  # to whoever asks, and no part of a text
_LABELS: Final = ("Verdict: ", "**Fazit:** ", "Catatan: ", "- ", "> ")
_SYNONYMS: Final = {
    "the": "this", "is": "remains", "are": "remain", "every": "each", "small": "little", "one": "a single",
    "eine": "jede", "und": "sowie", "dan": "serta", "ist": "bleibt", "a": "one", "with": "having",
}  # fmt: skip
_CONTROL: Final = re.compile(r"^@@[0-9A-Za-z]{8,16} [a-z]+\b[^\n]*$", re.M)
_FENCE: Final = re.compile(r"^[ ]{0,3}(```|~~~)([^\n]*)$", re.M)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a reply is about: the text so far (`own`), all of it (`whole`) and what is missing (`rest`); the words that
    the reply was asked to begin with; the last control line that it owes."""

    kind: Kind
    own: str
    whole: str
    rest: str
    anchor: str
    nonce: str
    chance: random.Random


Manner = Callable[[Situation], str]


def as_asked(case: Situation) -> str:
    """Return what a model writes that does as it was asked."""
    if case.kind in ("goes on", "last"):
        return case.anchor + _line(case.own, case.rest) if case.anchor and case.rest.strip() else case.rest
    return case.rest


def _line(own: str, rest: str) -> str:
    """Return what follows the anchor: on a line of its own, as the text has it."""
    blanks = own[len(own.rstrip()) :]
    return ("" if rest[:1] == "\n" else blanks if "\n" in blanks else "\n\n") + rest


def _fresh(case: Situation) -> str:
    return case.rest.lstrip("\n") if case.own[-1:] == "\n" else case.rest.lstrip()


def _respaced(case: Situation) -> str:
    anchor = re.sub(r"\s+", lambda m: "\n" if case.chance.random() < 0.3 else m[0] + " ", case.anchor)
    return anchor + _line(case.own, case.rest)


def _reworded(case: Situation) -> str:
    first, gap, others = case.whole.partition("\n\n")
    words = first.split(" ")
    most = max(1, len(words) // 8)
    for place, word in enumerate(words):
        if most and word in _SYNONYMS and " " not in _SYNONYMS[word]:
            words[place], most = _SYNONYMS[word], most - 1
    return " ".join(words) + gap + others


def _preamble(case: Situation) -> str:
    return f"{case.chance.choice(_PREAMBLES)}\n\n{as_asked(case)}"


def _reopened(case: Situation, *, info: bool) -> str:
    opened = _open_fence(case.own)
    if opened is None:
        return as_asked(case)
    line = opened if info else opened[: len(opened) - len(opened.lstrip("`~"))] or "```"
    return f"{line if info else line.strip() or '```'}\n{as_asked(case)}"


def _open_fence(text: str) -> str | None:
    opened: str | None = None
    for match in _FENCE.finditer(text):
        opened = None if opened else match[0]
    return opened


def _last_sentence(case: Situation) -> str:
    sentence = re.split(r"(?<=[.!?。])\s+", case.own.rstrip())[-1]
    return sentence + _line(case.own, case.rest)


def _last_block(case: Situation) -> str:
    block = re.split(r"\n\s*\n", case.own.rstrip())[-1]
    return block + _line(case.own, case.rest)


def _decorated(mark: Callable[[str, random.Random], str]) -> Manner:
    def manner(case: Situation) -> str:
        return _CONTROL.sub(lambda m: mark(m[0], case.chance), as_asked(case))

    return manner


def _unruly(case: Situation) -> str:
    return re.sub(r"\n?" + _CONTROL.pattern + r"\n?", "\n", as_asked(case), flags=re.M)


@dataclass(frozen=True, slots=True)
class MannerKind:
    """What a manner does, to which replies, and how often unless the name says so (`None`: always)."""

    does: str
    manner: Manner
    kinds: tuple[Kind, ...]
    times: int | None = None


_ON: Final = ("goes on",)
_ALSO_IN_PLACE: Final = ("goes on", "in place")
_ANY: Final = ("goes on", "in place", "last", "begins")

MANNERS: Final[Mapping[str, MannerKind]] = {
    "unspaced": MannerKind("goes on without a blank, and without the words it was asked for", _fresh, _ON),
    "respaced": MannerKind("repeats the words it was asked for with other blanks", _respaced, _ON),
    "bare": MannerKind("goes on without the words it was asked for", lambda case: case.rest, _ON),
    "restart": MannerKind("begins its text anew", lambda case: case.whole, _ALSO_IN_PLACE),
    "reworded": MannerKind("begins its text anew, its first block in other words", _reworded, _ALSO_IN_PLACE),
    "preamble": MannerKind("greets before it goes on", _preamble, _ON),
    "reopened": MannerKind(
        "opens its code fence once more", lambda case: _reopened(case, info=True), _ALSO_IN_PLACE
    ),
    "refenced": MannerKind(
        "opens its code fence once more, without its language", lambda case: _reopened(case, info=False), _ON
    ),
    "sentence": MannerKind("repeats its last sentence", _last_sentence, _ON),
    "block": MannerKind("repeats its last block", _last_block, _ON),
    "answers": MannerKind(
        "answers the message in place of going on", lambda case: case.chance.choice(_ANSWERS), _ON, times=1
    ),
    "content": MannerKind(
        "says that nothing changes, in words",
        lambda case: case.chance.choice(_CONTENT),
        ("goes on", "last"),
        1,
    ),
    "rewrites": MannerKind(
        "writes its whole text anew when it is asked what changes", lambda c: c.whole, ("last",)
    ),
    "empty": MannerKind("answers with nothing", lambda _: "", ("goes on", "in place", "last"), times=1),
    "echo": MannerKind(
        "repeats the words it was asked for, and nothing else", lambda c: c.anchor, _ON, times=1
    ),
    "unruly": MannerKind("leaves control lines out", _unruly, _ANY),
    "ticks": MannerKind("puts control lines into backticks", _decorated(lambda line, _: f"`{line}`"), _ANY),
    "bold": MannerKind("writes control lines in bold", _decorated(lambda line, _: f"**{line}**"), _ANY),
    "indented": MannerKind("indents control lines", _decorated(lambda line, _: f"    {line}"), _ANY),
    "labelled": MannerKind(
        "puts a label before control lines", _decorated(lambda line, c: c.choice(_LABELS) + line), _ANY
    ),
    "fenced": MannerKind(
        "puts control lines into a fence of their own", _decorated(lambda line, _: f"```\n{line}\n```"), _ANY
    ),
    "rethinks": MannerKind("thinks before each continuation", as_asked, _ON),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One manner asked for."""

    name: str
    times: int | None


def is_manner(text: str) -> bool:
    """Whether `text` asks for a manner, and not for a fault."""
    name = re.match(r"[a-z]+(?=x\d+$|$)", text)
    return name is not None and (name[0] in MANNERS or name[0] == MOODY)


def parse_manners(names: Iterable[str]) -> tuple[Asked, ...]:
    """Return the manners named, in that order. Raises `FaultError`."""
    return tuple(map(_parse, names))


def _parse(text: str) -> Asked:
    match = re.fullmatch(r"([a-z]+?)(?:x(\d{1,6}))?", text)
    if match is None or match[2] == "0" or (match[1] not in MANNERS and match[1] != MOODY):
        raise FaultError(f"there is no manner {text[:40]!r}; there are: {', '.join((*MANNERS, MOODY))}")
    kind = MANNERS.get(match[1])
    return Asked(match[1], int(match[2]) if match[2] else kind.times if kind else None)


def drawn(kind: Kind, chance: random.Random) -> str | None:
    """Return a manner for a reply of that kind, by chance; `None` for one that does as it is asked."""
    names = [name for name, manner in MANNERS.items() if kind in manner.kinds]
    return chance.choice([None, *names])
