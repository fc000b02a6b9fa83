"""Roles: what an agent is told to be, and how it is shown. Shipped in `roles.toml`, extended by the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import msgspec

from .errors import UsageError

if TYPE_CHECKING:
    from .config import RoleConfig

Duty = Literal["outline", "verdict"]


class Role(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role. `duty` is the structured line it owes beside its prose."""

    title: str
    prompt: str
    icon: str = "•"
    duty: Duty | None = None


@cache
def built_in_roles() -> Mapping[str, Role]:
    """Return the roles that ship, by name."""
    return msgspec.toml.decode((files(__package__) / "roles.toml").read_bytes(), type=dict[str, Role])


def find_role(name: str, own: Mapping[str, RoleConfig]) -> Role:
    """Return the role of that name with the user's changes. Raises `UsageError` when it is unknown or has no prompt."""
    shipped, changes = built_in_roles().get(name), own.get(name)
    if shipped is None and changes is None:
        known = ", ".join(sorted({*own, *built_in_roles()}))
        raise UsageError(
            f"unknown role {name!r}; known: {known}. Define it in [roles.{name}] of facilitair.toml."
        )
    base = shipped or Role(title=name.replace("-", " ").replace("_", " ").capitalize(), prompt="")
    given = {k: v for k, v in msgspec.structs.asdict(changes).items() if v is not None} if changes else {}
    role = msgspec.structs.replace(base, **given)
    if not role.prompt:
        raise UsageError(f"role {name!r} has no prompt; add `prompt` to [roles.{name}] of facilitair.toml.")
    return role
