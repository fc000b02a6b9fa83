"""The role that a name means: a shipped one with the user's changes, or one of the user's own."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..errors import UsageError
from ..roles import Role, built_in_roles
from .schema import RoleConfig


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
