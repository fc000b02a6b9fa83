"""When a model that is writing is shown its peers' news, and what is worth telling one that has ended.

An interruption costs a prompt and a wait for the first word, and late news costs a model that reasons its accuracy
(https://arxiv.org/abs/2510.11713). So news must concern what the author has already written and change it: be about
the same thing, and differ in numbers, negation, or the names of code. What does not waits, or is never told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Protocol

import msgspec

_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_DENSE: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}")
_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME: Final = re.compile(
    r"`([^`\n]{2,60})`|\b(\w*[a-z0-9]_\w+|[a-z]+[A-Z]\w*|[A-Z][a-z0-9]+[A-Z]\w*|[A-Z]{2,}\w*|\w+(?=\())"
)
_NEGATION: Final = re.compile(
    r"\b(?:not?|never|none|without|cannot|\w+n['\u2019]t|nicht|keine?[mnrs]?|nie|niemals|ohne|tidak|bukan|jangan|belum|tanpa)\b|"
    r"[不没無无勿]|非(?!常)",
    re.I,
)
_ALIKE: Final = 0.34  # share of the words of the shorter text
_LEAST: Final = 3  # words in common


class Attention(msgspec.Struct):
    """How often, and when last, an author's attention was called to its peers' news."""

    interrupts: int = 0
    own_since: int = 0  # own blocks since the last exposure
    last: bool = False  # has had its last request


class Situation(msgspec.Struct, frozen=True, gc=False):
    """How an author stands whose text may end here."""

    interrupts: int  # interruptions of this chunk so far
    own_since: int  # own blocks since the last exposure
    reasons: bool  # whether the author's model thinks anew before it goes on


class Likeness(Protocol):
    """Tells whether two texts are about the same thing."""

    def alike(self, one: str, other: str) -> bool:
        """Return whether they are."""
        ...


class Policy(Protocol):
    """Decides whether news is worth telling."""

    def allows(self, situation: Situation) -> bool:
        """Return whether the author may be stopped now, if there is news that concerns its text."""
        ...

    def concerns(self, news: Sequence[str], own: Sequence[str]) -> bool:
        """Return whether the fragments `news` of peers concern what the author wrote, the fragments `own`."""
        ...


class Overlap:
    """Alike is what shares a third of its words; where words are not spaced, pairs of characters."""

    def alike(self, one: str, other: str) -> bool:
        """Return whether enough words are common to both."""
        some, others = _words(one), _words(other)
        common = len(some & others)
        return common >= _LEAST and common >= _ALIKE * min(len(some), len(others))


class ConcernedPolicy(msgspec.Struct, frozen=True):
    """At most `max_interrupts`, none for a model that reasons, each after `cooldown` own blocks, for news that is alike
    to something of the author's own and changes it."""

    max_interrupts: int = 1
    cooldown: int = 2
    likeness: Likeness = Overlap()

    def allows(self, situation: Situation) -> bool:
        """Return whether an interruption is left, cooled down, and worth its price."""
        if situation.reasons or situation.interrupts >= self.max_interrupts:
            return False
        return situation.own_since >= self.cooldown

    def concerns(self, news: Sequence[str], own: Sequence[str]) -> bool:
        """Return whether any of `news` is about something in `own` and differs from it."""
        written = "\n".join(own)
        return any(
            self.likeness.alike(piece, passage) and changes(piece, passage, written)
            for piece in news
            for passage in own
        )


def changes(news: str, passage: str, written: str) -> bool:
    """Whether `news` differs from `passage` in numbers, negation or the names of code; what stands elsewhere in the
    author's text (`written`) is no news. Names of people and places are not known from other words."""
    numbers = _numbers(news)
    if numbers and _numbers(passage) and not numbers <= _numbers(written):
        return True
    if _negates(news) != _negates(passage):
        return True
    return bool(_names(passage)) and any(name not in written for name in _names(news))


# Each piece of news is held against each passage, and the same ones again at the next block.
@lru_cache(maxsize=4096)
def _numbers(text: str) -> frozenset[str]:
    return frozenset(_NUMBER.findall(text))


@lru_cache(maxsize=4096)
def _negates(text: str) -> bool:
    return _NEGATION.search(text) is not None


@lru_cache(maxsize=4096)
def _names(text: str) -> frozenset[str]:
    return frozenset(quoted or plain for quoted, plain in _NAME.findall(text))


@lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    words = set(_WORD.findall(text.lower()))
    for run in _DENSE.findall(text):
        words.discard(run)
        words.update(run[i : i + 2] for i in range(len(run) - 1))
    return frozenset(words)
