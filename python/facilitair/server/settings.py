"""What a server was told: `[server]` of `facilitair.toml`, then flags; its keys come from the environment or `.env`.

Nobody gets in without a key, not even on loopback, because every web page and every other user of the machine can
reach loopback too. On loopback a missing key is made here and printed once by whoever starts the server; beyond
loopback a missing key is an error.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

from ..config import Config, ServerConfig, is_host_pattern
from ..errors import ConfigError, UsageError
from ..keys import Secret

KEY_VARIABLE: Final = "FACILITAIR_SERVER_KEY"
SHORTEST_KEY: Final = 16


class ServerSettings(ServerConfig, frozen=True, kw_only=True):
    """The `[server]` table with the keys. `generated` says that the only key was made for this start."""

    keys: tuple[Secret, ...]
    generated: bool = False


def server_settings(
    config: Config,
    env: Mapping[str, str] | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    allowed_hosts: Sequence[str] = (),
) -> ServerSettings:
    """Return the settings of a server; `allowed_hosts` are added to the configured ones.

    Raises `UsageError` for an argument that cannot be used, `ConfigError` for a key that cannot be one and for a
    missing key when `host` is not loopback.
    """
    table = config.server
    for name in allowed_hosts:
        if not is_host_pattern(name):
            raise UsageError(
                f"{name!r} is not a host name; write it without scheme and port: ai.example.com."
            )
    if port is not None and not 0 <= port <= 65_535:
        raise UsageError(f"the port {port} cannot be; give one from 1 to 65535, or 0 for a free one.")
    fields: dict[str, Any] = {name: getattr(table, name) for name in ServerConfig.__struct_fields__}
    fields["host"] = table.host if host is None else host
    fields["port"] = table.port if port is None else port
    fields["allowed_hosts"] = (*table.allowed_hosts, *allowed_hosts)
    keys = _keys(config, os.environ if env is None else env)
    if keys:
        return ServerSettings(**fields, keys=keys)
    if not is_loopback(fields["host"]):
        raise ConfigError(
            f"a server on {fields['host']} can be reached from elsewhere, so it needs a key: "
            f"set {KEY_VARIABLE} to one of your own (at least {SHORTEST_KEY} characters), "
            "or listen on 127.0.0.1."
        )
    return ServerSettings(**fields, keys=(new_key(),), generated=True)


def new_key() -> Secret:
    """Return a new random key. It has the shape of a usual key, so that `keys.redact` knows it anywhere."""
    return Secret(f"sk-fac-{secrets.token_urlsafe(32)}")


def is_loopback(host: str) -> bool:
    """Return whether a server that listens on `host` can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _keys(config: Config, env: Mapping[str, str]) -> tuple[Secret, ...]:
    found: dict[Secret, None] = {}
    for variable in dict.fromkeys((KEY_VARIABLE, config.server.keys_env)):
        secret = Secret(env[variable]) if env.get(variable) else config.dotenv.get(variable)
        for key in re.split(r"[,\s]+", secret.reveal().strip()) if secret else ():
            if key:
                found[_checked(key, variable)] = None
    return tuple(found)


def _checked(key: str, variable: str) -> Secret:
    if len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"{variable}: a key of the server needs at least {SHORTEST_KEY} characters of printable ASCII; "
            "`openssl rand -hex 24` prints a good one."
        )
    return Secret(key)
