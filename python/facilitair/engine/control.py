"""Control lines: what an author says to the engine and not to its readers, read into values.

`ChunkText` takes each line `@@<nonce> <verb> <rest>` out of the text. What the rest of a verb means is read here;
whether its author may say it, and what follows, is decided in `run`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

MAX_TITLE_CHARACTERS: Final = 80  # of a section; the rest of the line is left out
_VERDICT_CHARACTERS: Final = 200  # that can decide
_APPROVALS: Final = ("approve", "approved", "approves")
_CONDITIONS: Final = (
    "after", "assuming", "but", "conditional", "conditionally", "except", "if", "once", "only", "pending", "provided",
    "subject", "unless", "when", "with",
)  # fmt: skip
_REVISION: Final = re.compile(
    r"(?<!no )(?<!not )(?<!without )\b(?:revise|needs? (?:a )?revisions?|changes requested)\b", re.I
)
_APPROVAL: Final = re.compile(r"\bapprov", re.I)
# A fragment as prompts show it: "[#2]", "#2", "task/coder.1#2", also in backticks or with a colon behind it.
_NAMED: Final = re.compile(
    r"[\s\[(`*]*(?:fragment\s+)?((?:[\w./-]*#)?\d+)(?![\w-])[\])`*:,;.]*(?=\s|$)(.*)", re.I | re.S
)


class OutlineTitle(msgspec.Struct, frozen=True):
    """A section that the outline names."""

    title: str


class Verdict(msgspec.Struct, frozen=True):
    """What a review came to. `words` are the whole line, its reason included."""

    decision: Literal["approve", "revise", "other"]
    words: str


class Retract(msgspec.Struct, frozen=True):
    """The author takes back its own fragment of that name. `reason` may be empty."""

    fragment: str
    reason: str


class Done(msgspec.Struct, frozen=True):
    """The answer to a last request: nothing changes."""


class Add(msgspec.Struct, frozen=True):
    """The answer to a last request: what follows is added to the text."""


class Include(msgspec.Struct, frozen=True):
    """The answer takes over an agent's work: all its files, the one of that name, or its fragments `first` to
    `last`. `words` are the line."""

    agent: str
    words: str
    file: str | None = None
    first: int | None = None
    last: int | None = None


class Object(msgspec.Struct, frozen=True):
    """The author finds a peer's fragment wrong. `reason` may be empty."""

    fragment: str
    reason: str


ControlLine: TypeAlias = OutlineTitle | Verdict | Retract | Done | Add | Include | Object


def read_control(verb: str, rest: str) -> ControlLine | None:
    """Return what the line says, or `None` when it lacks what its verb needs, or the verb is not known."""
    reader = _READERS.get(verb)
    return None if reader is None else reader(rest)


def _outline_title(rest: str) -> OutlineTitle | None:
    title = " ".join(rest.split())[:MAX_TITLE_CHARACTERS]
    return OutlineTitle(title) if title else None


def _verdict(rest: str) -> Verdict:
    """Read a verdict. Only a plain approval approves: one under conditions asks for a revision."""
    words = rest.strip()
    said = re.findall(r"\w+", words.lower()[:_VERDICT_CHARACTERS])
    first, second = (*said[:2], "", "")[:2]
    if first in _APPROVALS and second != "or":  # "approve or revise" only repeats the request
        return Verdict("revise" if second in _CONDITIONS else "approve", words)
    if first == "approval" and (
        second in ("", "granted", "given") or re.match(r"\W*approval\W*[:.,;]", words, re.I)
    ):
        return Verdict("approve", words)
    if first.startswith("revis") or (_REVISION.search(words) and not _APPROVAL.search(words)):
        return Verdict("revise", words)
    return Verdict("other", words)


def verdict_in(text: str) -> Verdict | None:
    """Return the verdict that the last line of `text` that is prose comes to, where it was not put as asked."""
    lines = [line for line in text.split("\n") if re.search(r"\w", line)]
    words = (
        re.sub(r"^\W*(?:(?:final |my )?verdict|recommendation)\W+", "", lines[-1].strip("*_` "), flags=re.I)
        if lines
        else ""
    )
    verdict = _verdict(words.strip("*_`# "))
    return None if verdict.decision == "other" else verdict


def _retract(rest: str) -> Retract | None:
    named = _NAMED.match(rest)
    return None if named is None else Retract(named[1], named[2].strip())


def _object(rest: str) -> Object | None:
    named = _NAMED.match(rest)
    return None if named is None else Object(named[1], named[2].strip())


def _include(rest: str) -> Include | None:
    words = rest.replace("`", "").split()
    if not words:
        return None
    agent = words[0].strip("[]*,:")
    numbers = re.findall(r"#(\d+)", rest)
    if numbers:
        return Include(agent, rest, first=int(numbers[0]), last=int(numbers[-1]))
    return Include(agent, rest, file=words[1].strip("[]*,:\"'") if len(words) > 1 else None)


_READERS: Final[Mapping[str, Callable[[str], ControlLine | None]]] = {
    "section": _outline_title,
    "verdict": _verdict,
    "retract": _retract,
    "object": _object,
    "include": _include,
    "done": lambda _: Done(),
    "add": lambda _: Add(),
}
VERBS: Final = tuple(_READERS)
