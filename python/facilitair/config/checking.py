"""What may stand in a file: the checks of its values, before and after the files are put together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_type_hints

from ..errors import ConfigKeyError
from ..keys import looks_like_key
from .addresses import check_base_url, is_host_pattern
from .explaining import convert, quoted, unknown
from .schema import BUILTIN_PRESETS, MODEL_SETTINGS, FileConfig, as_models

# What each key of the file holds.
KEYS: Final[Mapping[str, Any]] = get_type_hints(FileConfig, include_extras=True)

_LIKE_A_KEY: Final = (
    r"(?i)(.*[_-])?(api[_-]?key|key|secret|password|passwd|token|authorization|bearer|credentials?|cookie)"
)
_RESERVED_BODY: Final = ("model", "messages", "stream", "max_tokens", "max_completion_tokens")


def check_layer(layer: dict[str, Any]) -> None:
    """Check one file alone, so that a mistake names the file it is in. Raises `ConfigKeyError`."""
    for path, value in _strings(layer, ""):
        _check_not_secret(path, value)
    for key, value in layer.items():
        if key not in KEYS:
            raise ConfigKeyError(key, unknown("key", key, KEYS))
        convert(value, KEYS[key], key)
    for name, provider in layer.get("providers", {}).items():
        _check_provider(f"providers.{quoted(name)}", provider)
    for key in layer.get("pricing", {}):
        if "/" not in key:
            raise ConfigKeyError(f"pricing.{quoted(key)}", 'is not a model; write [pricing."provider/model"]')
    check_models("models", layer.get("models", {}))
    for name, preset in layer.get("presets", {}).items():
        check_models(f"presets.{quoted(name)}", preset)
    for name, strategy in layer.get("strategy", {}).items():
        for index, agent in enumerate(strategy["agents"]):
            if "model" in agent:
                check_models(f"strategy.{quoted(name)}.agents[{index}]", {"model": agent["model"]})
    _check_server(layer.get("server", {}))


def check_models(path: str, choices: Mapping[str, str | Sequence[str]]) -> None:
    """Check the models of a table at `path`, by role. Raises `ConfigKeyError`."""
    for key, choice in choices.items():
        if key in MODEL_SETTINGS and path == "models":
            if not isinstance(choice, str):
                raise ConfigKeyError(f"{path}.{key}", "expected a name, got a list")
        elif not choice or not all(
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*/\S+", name) for name in as_models(choice)
        ):
            raise ConfigKeyError(
                f"{path}.{quoted(key)}", 'expected a model written "provider/model", or a list of them'
            )


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}.{quoted(key)}" if path else quoted(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(inner, f"{path}[{index}]")


def _check_not_secret(path: str, value: str) -> None:
    # The user's own context is told to the models anyway and may well say `token = "JWT"`.
    named_like_one = not path.startswith("context.") and re.fullmatch(
        _LIKE_A_KEY, path.rsplit(".", 1)[-1].strip('"')
    )
    if named_like_one or looks_like_key(value):
        raise ConfigKeyError(
            path,
            "looks like a secret, and this file is no place for one; put the value into the environment or .env, "
            'and name its variable with api_key_env = "NAME"',
        )


def _check_provider(path: str, provider: dict[str, Any]) -> None:
    if "/" in path:
        raise ConfigKeyError(
            path, "a provider's name cannot hold a slash, because models are written provider/model"
        )
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", provider.get("api_key_env", "X")):
        raise ConfigKeyError(
            f"{path}.api_key_env", "expected the name of an environment variable, such as ACME_API_KEY"
        )
    if "base_url" in provider:
        try:
            check_base_url(provider["base_url"], allow_http=provider.get("allow_http", False))
        except ValueError as error:
            raise ConfigKeyError(f"{path}.base_url", str(error)) from None
    for name, value in provider.get("headers", {}).items():
        if (
            not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name)
            or not value.isprintable()
            or not value.isascii()
        ):
            raise ConfigKeyError(f"{path}.headers.{quoted(name)}", "is not an HTTP header of printable ASCII")
    for name in _RESERVED_BODY:
        if name in provider.get("body", {}):
            raise ConfigKeyError(f"{path}.body.{name}", "is set by Facilitair itself; leave it out")


def _check_server(table: dict[str, Any]) -> None:
    # A project's file may not turn a variable that others know, such as HOME, into a key.
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*_KEYS?", table.get("keys_env", "A_KEY")):
        raise ConfigKeyError(
            "server.keys_env", "expected the name of an environment variable that ends in _KEY or _KEYS"
        )
    for index, name in enumerate(table.get("allowed_hosts", ())):
        if not is_host_pattern(name):
            raise ConfigKeyError(
                f"server.allowed_hosts[{index}]",
                "expected a host name without port, such as ai.example.com or *.example.com",
            )
    for key in ("allowed_origins", "cors_origins"):
        for index, origin in enumerate(table.get(key, ())):
            if not re.fullmatch(
                r"https?://[A-Za-z0-9.\-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?", origin
            ):
                raise ConfigKeyError(
                    f"server.{key}[{index}]", "expected an origin, such as https://app.example.com"
                )


def check_references(config: FileConfig) -> None:
    """Check the names that another table, or another file, may explain: presets and roles. Raises `ConfigKeyError`."""
    presets = (*BUILTIN_PRESETS, *config.presets)
    if config.preset not in presets:
        raise ConfigKeyError("models.preset", unknown("preset", config.preset, presets))
    roles = {*config.role_names(), "default"}
    tables = {"models": set(config.models) - set(MODEL_SETTINGS)}
    tables |= {f"presets.{quoted(name)}": set(preset) for name, preset in config.presets.items()}
    for table, used in tables.items():
        for role in sorted(used - roles):
            raise ConfigKeyError(f"{table}.{quoted(role)}", unknown("role", role, roles))
