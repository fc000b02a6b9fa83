"""Faults on demand, asked for in the model name: `<script>[+<fault>[x<times>][=<value>]]...`.

`coder+429x2` answers the first two requests with 429; `reviewer+slow=20` waits 20 s for its first token. A fault
applies to the first `times` requests for that exact model name; where several apply, the first one named wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..errors import FaultError
from .manners import MANNERS, MOODY


@dataclass(frozen=True, slots=True)
class FaultKind:
    """What a fault does, and what its numbers mean.

    `times` is how many requests it hits unless the name says so (`None`: all); `value` the default of the number
    after `=`, `unit` its meaning (empty: it takes none).
    """

    does: str
    times: int | None = None
    value: float = 0.0
    unit: str = ""


_SHARE: Final = "share of the text sent before"


def _mid_text(does: str) -> FaultKind:
    return FaultKind(does, value=1 / 3, unit=_SHARE)


FAULTS: Final[dict[str, FaultKind]] = {
    "429": FaultKind("answers 429 with Retry-After", times=1, value=1.0, unit="seconds in Retry-After"),
    "500": FaultKind("answers 500", times=1),
    "529": FaultKind("answers 529, overloaded", times=1),
    "refused": FaultKind("resets the connection before any byte"),
    "slow": FaultKind("sends its first token late", value=90.0, unit="seconds to the first token"),
    "stall": _mid_text("stops in mid-text and sends only signs of life from then on, one every 5 s"),
    "silent": _mid_text("stops in mid-text and sends nothing from then on"),
    "cut": _mid_text("drops the connection in mid-text"),
    "error": _mid_text("sends an error object in mid-text and ends"),
    "malformed": _mid_text("sends broken JSON in mid-text"),
    "huge": FaultKind("sends one huge event before its text", value=9.0, unit="MiB of that event"),
    "bytes": FaultKind("writes every byte on its own"),
    "u2028": FaultKind("adds U+2028, U+2029, U+0085 and emoji to its text"),
    "dupdone": FaultKind("sends its end twice"),
    "length": FaultKind("stops with finish_reason length", value=0.5, unit=_SHARE),
    "nousage": FaultKind("never reports its usage"),
}
MID_TEXT: Final = ("stall", "silent", "cut", "error", "malformed", "huge")

_TOKEN: Final = re.compile(r"([a-z0-9]+?)(?:x(\d{1,6}))?(?:=(\d{1,6}(?:\.\d{1,6})?))?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault asked for."""

    name: str
    times: int | None
    value: float

    def applies(self, request: int) -> bool:
        """Say whether it hits the `request`-th request (from 1) for its model name."""
        return self.times is None or request <= self.times


def parse_faults(names: Iterable[str]) -> tuple[Fault, ...]:
    """Return the faults named, in that order. Raises `FaultError`."""
    return tuple(_parse(name) for name in names)


def _parse(text: str) -> Fault:
    match = _TOKEN.fullmatch(text)
    kind = FAULTS.get(match[1]) if match else None
    if match is None or kind is None:
        known = ", ".join((*FAULTS, *MANNERS, MOODY))
        raise FaultError(f"there is no fault or manner {text[:40]!r}; there are: {known}")
    name, times, value = match.groups()
    if times is not None and int(times) == 0:
        raise FaultError(f"the fault {text!r} would never happen; give at least x1")
    if value is not None and not kind.unit:
        raise FaultError(f"the fault {name!r} takes no value, but {text!r} gives one")
    if value is not None and kind.unit == _SHARE and float(value) > 1:
        raise FaultError(f"the value of {text!r} is a {kind.unit}: give 0 to 1")
    return Fault(
        name=name,
        times=kind.times if times is None else int(times),
        value=kind.value if value is None else float(value),
    )
