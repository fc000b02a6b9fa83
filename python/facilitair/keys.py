"""Keys that cannot be printed by accident, and text with the keys taken out.

A `Secret` shows `***` wherever Python turns it into text and refuses to be pickled; only `reveal` gives the value,
and only the code that writes a request header calls it. `redact` is the second line of defence, for text that others
wrote (error bodies, TOML messages): it removes known values, and anything that has the shape of a usual key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NoReturn

MASK: Final = "***"

# Servers without keys are given placeholders such as "EMPTY" or "none"; removing those would only shred the text.
_SHORTEST_REMOVED: Final = 8

# `re` compiles these when they are first needed, and keeps them: most runs read no text that could hold a key.
_KEY_SHAPES: Final = (
    r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai|hf|pplx|csk|nvapi|tgp_v1|r8|fw|ghp|gho|ghs|github_pat|glpat)[-_][A-Za-z0-9_\-]{12,}"
    r"|AIza[A-Za-z0-9_\-]{30,}"
    r"|AKIA[A-Z0-9]{16}"
    r"|eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]+)?"
)
_BEARER: Final = r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/\-]{8,}=*"


class Secret:
    """A value that is never shown. `str`, `repr` and formatting give `***`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        from hmac import compare_digest  # it brings OpenSSL along, and nearly nothing compares keys

        return compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: its value would be written in the clear")


def looks_like_key(text: str) -> bool:
    """Return whether the text has the shape of a usual API key or token."""
    return re.search(_KEY_SHAPES, text) is not None


def redact(text: str, secrets: Iterable[Secret] = ()) -> str:
    """Return the text with each known value (of 8 characters and more), each usual key shape and each
    `Bearer` credential replaced by `***`."""
    values = sorted({secret.reveal() for secret in secrets}, key=len, reverse=True)
    for value in values:
        if len(value) >= _SHORTEST_REMOVED:
            text = text.replace(value, MASK)
    text = re.sub(_KEY_SHAPES, MASK, text)
    return re.sub(_BEARER, lambda match: f"{match[1]} {MASK}", text)
