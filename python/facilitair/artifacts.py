"""Files in a text: fenced code that has a name, from its info string, the line above it, or its first comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from .events import Artifact

_OPENING: Final = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*)")
_PATH: Final = re.compile(
    r"(?:[\w.@+-]+/)*(?:[\w@+-][\w.@+-]*\.[A-Za-z][\w+-]{0,15}|Makefile|Dockerfile|LICENSE|\.[a-z][\w.-]+)"
)
_KEYED: Final = re.compile(r"(?:title|file|filename|path|name)\s*[=:]\s*[\"']?([^\s\"'}]+)", re.I)
_LABEL: Final = re.compile(
    r"^(?:#{1,6}\s*)?(?:[-*+]\s+|\d{1,3}[.)]\s+)?(?:(?:file|datei|berkas|path)\s*:?\s*)?", re.I
)
_COMMENT: Final = re.compile(r"\s*(?://|#|--|;|<!--|/\*)\s*(?:(?:file|path)\s*:\s*)?(\S+?)\s*(?:-->|\*/)?\s*")
_MARKS: Final = "*`_\"' :\t"


class Fenced(msgspec.Struct, frozen=True):
    """Fenced code, in code points: its fence from `start` to `end`, its content from `body` to `body_end`.

    `name` is the file's, if it has one; `lead` is where the line above starts that says it, else `start`.
    """

    lead: int
    start: int
    body: int
    body_end: int
    end: int
    info: str
    name: str | None


def fenced_in(text: str) -> list[Fenced]:
    """Return the fenced code of `text`, in order. A fence that is not closed ends with the text."""
    found: list[Fenced] = []
    before: tuple[int, str] | None = None  # the last line that is no blank, and where it starts
    lines = _lines(text)
    for start, line in lines:
        opening = _OPENING.fullmatch(line.rstrip("\n"))
        if opening is None:
            before = (start, line) if line.strip() else before
            continue
        found.append(_fenced(text, start, opening, before, lines))
        before = None
    return found


def artifacts_in(text: str) -> tuple[Artifact, ...]:
    """Return the files in `text`; of several of one name, the last."""
    named = {code.name: code for code in fenced_in(text) if code.name is not None}
    return tuple(Artifact(name=name, start=code.body, end=code.body_end) for name, code in named.items())


def _lines(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield start, text[start:end]
        start = end


def _fenced(
    text: str,
    start: int,
    opening: re.Match[str],
    before: tuple[int, str] | None,
    lines: Iterator[tuple[int, str]],
) -> Fenced:
    """Return the fence that `opening` opens at `start`, and take its lines."""
    marks, info = opening[2], opening[3].strip()
    body = start + len(text[start:].partition("\n")[0]) + 1
    body_end = end = len(text)
    for at, line in lines:
        closing = line.strip()
        if closing.startswith(marks) and not closing.strip(marks[0]):
            body_end, end = at, at + len(line.rstrip("\n"))
            break
    body, body_end = min(body, body_end), max(body_end, min(body, body_end))
    name = _in_info(info)
    lead = start
    if name is None and before is not None and (name := _in_line(before[1])) is not None:
        lead = before[0]
    if name is None:
        comment = _COMMENT.fullmatch(text[body:body_end].partition("\n")[0])
        name = _path(comment[1]) if comment else None
    return Fenced(lead, start, body, body_end, end, info, name)


def _in_info(info: str) -> str | None:
    """Return the name that an info string gives: "ts title=a.ts", "ts:src/a.ts", "ts src/a.ts", "src/a.ts"."""
    if keyed := _KEYED.search(info):
        return _path(keyed[1])
    words = info.split()
    if not words:
        return None
    candidates = [words[0].partition(":")[2], *words[1:2], words[0] if "." in words[0] else ""]
    return next((path for word in candidates if (path := _path(word)) is not None), None)


def _in_line(line: str) -> str | None:
    """Return the name that a line which is nothing else gives: "**`src/a.ts`**", "### a.ts", "File: a.ts"."""
    rest = _LABEL.sub("", line.strip(), count=1)
    return _path(re.sub(r"\s*\([^)]*\)$", "", rest.strip(_MARKS)).strip(_MARKS))


def _path(text: str) -> str | None:
    """Return `text` if it is the name of a file, relative and within its folder."""
    name = text.strip(_MARKS).removeprefix("./")
    if not _PATH.fullmatch(name) or ".." in name.split("/"):
        return None
    return name
