"""Roles: what an agent is told to be, and how it is shown. Those that ship stand in `roles.toml`,
which is read as JSON (`scripts/tables.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

Duty = Literal["outline", "verdict"]


class Role(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role. `duty` is the structured line it owes beside its prose, `max_output_tokens` what one answer may have at
    most."""

    title: str
    prompt: str
    icon: str = "•"
    duty: Duty | None = None
    max_output_tokens: int | None = None


@cache
def built_in_roles() -> Mapping[str, Role]:
    """Return the roles that ship, by name."""
    return msgspec.json.decode(Path(__file__).with_name("roles.json").read_bytes(), type=dict[str, Role])
