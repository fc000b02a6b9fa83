"""How a value becomes what its table asks for, and what is said when it cannot, in the words of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from ..errors import ConfigKeyError
from ..keys import redact

_WORDS: Final = {
    r"\| null": "",
    "`": "",
    r"\bobject\b": "a table",
    r"\barray\b": "a list",
    r"\bstr\b": "text",
    r"\bfloat\b": "a number",
    r"\bint\b": "a whole number",
    r"\bbool\b": "true or false",
    r" \| ": " or ",
    r" +(?=[ ,]|$)": "",
}


def convert(value: Any, kind: Any, path: str) -> Any:
    """Convert as msgspec does, one entry of a table at a time, so that the path names the entry.

    Raises `ConfigKeyError` for what cannot be converted.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is dict and isinstance(value, dict) and args[1] is not Any:
        return {key: convert(inner, args[1], f"{path}.{quoted(key)}") for key, inner in value.items()}
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        place = place.removesuffix("`").partition("[...]")[0]
        raise ConfigKeyError(path + place, _explained(text, kind, place)) from None


def _explained(text: str, kind: Any, place: str) -> str:
    if surplus := re.fullmatch(r"Object contains unknown field `(.*)`", text):
        fields = getattr(_kind_at(kind, place), "__struct_encode_fields__", ())
        return unknown("key", surplus[1], fields)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text):
        return f"has no {missing[1]}; add it"
    if re.match(r"Invalid enum value", text):
        allowed = _literals(_kind_at(kind, place))
        return f"{text.removeprefix('Invalid enum value ')} is not known; use one of {listed(allowed)}"
    for word, better in _WORDS.items():
        text = re.sub(word, better, text)
    return text[0].lower() + text[1:]


def _kind_at(kind: Any, place: str) -> Any:
    """Return the type at a msgspec path such as `.agents[0].name`."""
    for step in re.findall(r"\.([^.\[]+)|(\[\d+\])", place):
        kind = _plain(kind)
        if step[0]:
            names = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
            kind = get_type_hints(kind, include_extras=True)[names[step[0]]]
        else:
            kind = get_args(kind)[0]
    return _plain(kind)


def _plain(kind: Any) -> Any:
    """Return a type without `Annotated` and without `| None`."""
    while get_origin(kind) in (Annotated, Union, UnionType):
        kind = next(arg for arg in get_args(kind) if arg is not type(None))
    return kind


def _literals(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return that a name is not known, and the one that was probably meant or those that are."""
    names = sorted(known)
    from difflib import get_close_matches  # only where something is wrong

    near = get_close_matches(name, names, n=1)
    advice = f"did you mean {near[0]}?" if near else f"use one of {listed(names)}"
    return f"{what} {name!r} is not known; {advice}"


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence lists them."""
    return ", ".join(names)


def quoted(key: str) -> str:
    """Return a key as TOML writes it."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'


def shown(text: str) -> str:
    """Return text of a file as it can be shown: on one line, without control characters, without keys."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in redact(text))
