"""Finding and reading the files, `facilitair.toml` and `.env`, and putting them together.

The nearest file wins key by key; a `[strategy.NAME]` table is taken whole, because half of one graph and half of
another is neither. `.env` is read without changing the process's own environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ..errors import ConfigError, ConfigKeyError
from ..keys import Secret
from .checking import check_layer, check_references
from .config import Config
from .explaining import shown
from .schema import ProviderConfig

FILE_NAME: Final = "facilitair.toml"


def load_config(directory: Path | None = None, env: Mapping[str, str] | None = None) -> Config:
    """Read the configuration that holds in `directory` (the working directory by default).

    `facilitair.toml` and `.env` are searched from there upwards to the root of the repository, else to the home
    directory; outside of both only there. The user's own file is in the platform's configuration directory; with an
    explicit `env` it is looked for under its `XDG_CONFIG_HOME` only. Raises `ConfigError`.
    """
    try:
        start = (directory or Path.cwd()).absolute()
    except FileNotFoundError:
        raise ConfigError("the working directory no longer exists; change to one that does") from None
    if not start.is_dir():
        raise ConfigError(f"{start}: is not a directory, so no configuration can be read from it")
    places = _search_path(start)
    user_file = _user_file(os.environ if env is None else env, explicit=env is not None)
    found = _first_file(places, FILE_NAME)
    project_file = None if found == user_file else found

    user = _read_layer(user_file)
    project = _read_layer(project_file)
    # To convert takes msgspec 5 ms of looking at all the types, even when there is nothing to convert.
    config: Config = msgspec.convert(_merge(user, project), Config) if user or project else Config()
    files = tuple(
        path for path, layer in ((project_file, project), (user_file, user)) if path and layer is not None
    )
    config = msgspec.structs.replace(
        config,
        files=files,
        dotenv=_read_dotenv(_first_file(places, ".env")),
        project_providers=_providers(project),
    )
    try:
        check_references(config)
    except ConfigKeyError as mistake:
        where = ", ".join(map(str, config.files))
        raise ConfigError(f"{where}: {_told(mistake)}") from None
    return config


def _providers(layer: dict[str, Any] | None) -> dict[str, ProviderConfig]:
    tables = (layer or {}).get("providers")
    return msgspec.convert(tables, dict[str, ProviderConfig]) if tables else {}


def _search_path(start: Path) -> list[Path]:
    upwards = [start, *start.parents]
    for depth, place in enumerate(upwards, 1):
        if _exists(place / ".git"):
            return upwards[:depth]
    # Outside of home anybody may have put a file into a parent directory (/tmp), so only the directory itself counts.
    home = _home()
    return upwards[: upwards.index(home) + 1] if home is not None and home in upwards else [start]


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def _first_file(places: Iterable[Path], name: str) -> Path | None:
    return next((place / name for place in places if _exists(place / name)), None)


def _user_file(env: Mapping[str, str], *, explicit: bool) -> Path | None:
    base = env.get("XDG_CONFIG_HOME", "")
    if base and Path(base).is_absolute():
        return Path(base) / "facilitair" / FILE_NAME
    if explicit:
        return None
    home = _home()
    if sys.platform == "linux" and not base and home is not None and "ANDROID_ROOT" not in env:
        return (
            home / ".config" / "facilitair" / FILE_NAME
        )  # what platformdirs says, and takes 10 ms to import
    from platformdirs import user_config_path

    return user_config_path("facilitair", appauthor=False) / FILE_NAME


def _read_layer(path: Path | None) -> dict[str, Any] | None:
    if path is None or not _exists(path):
        return None
    import tomllib  # only where there is a file

    try:
        with path.open("rb") as file:
            layer = tomllib.load(file)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); check that it is a readable file"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {shown(str(error))}") from None
    try:
        check_layer(layer)
    except ConfigKeyError as mistake:
        raise ConfigError(f"{path}: {_told(mistake)}") from None
    return layer


def _told(mistake: ConfigKeyError) -> str:
    return f"{shown(mistake.key)}: {shown(mistake.problem)}"


def _read_dotenv(path: Path | None) -> dict[str, Secret]:
    if path is None:
        return {}
    from dotenv import dotenv_values  # only needed where there is a file

    try:
        values = dotenv_values(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); check that it is a readable file"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    return {name: Secret(value) for name, value in values.items() if value}


def _merge(base: dict[str, Any] | None, nearer: dict[str, Any] | None) -> dict[str, Any]:
    merged = dict(base or {})
    for key, value in (nearer or {}).items():
        if not (isinstance(value, dict) and isinstance(merged.get(key), dict)):
            merged[key] = value
        elif key == "strategy":
            merged[key] = {**merged[key], **value}
        else:
            merged[key] = _merge(merged[key], value)
    return merged
