"""What the user decided: `facilitair.toml` of the project over the user's own over the defaults, and `.env`.

The nearest file wins key by key; a `[strategy.NAME]` table is taken whole, because half of one graph and half of
another is neither. Arguments of a call come on top through `Config.with_overrides`. Every mistake is one
`ConfigError` of one line that names the file, the key and what is allowed. Keys never stand in a TOML file: they come
from the environment, then from `.env`, which is read without changing the process's own environment.

This module holds data and knows neither providers nor strategies: `providers.catalog` finds the models, the engine
checks that a strategy's graph can run.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    Union,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from .errors import ConfigError, ConfigKeyError, UsageError
from .options import Count, Dollars, Models, RunOptions, Seconds
from .roles import built_in_roles
from .secrets import Secret, looks_like_key, redact

FILE_NAME: Final = "facilitair.toml"
BUILTIN_PRESETS: Final = ("fast", "balanced", "quality", "budget")

Tier = Literal["prefill", "resume", "none"]
Wire = Literal["openai", "anthropic"]
Dialect = Literal["trailing", "vllm", "llamacpp", "deepseek", "mistral"]
Rate = Annotated[float, Meta(ge=0, le=1_000_000)]
Times = Annotated[int, Meta(ge=0, le=100)]
Text = Annotated[str, Meta(min_length=1)]
# One model "provider/name", or several: first choice, then fallbacks.
ModelChoice: TypeAlias = str | tuple[str, ...]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class TimeoutsConfig(_Table, frozen=True):
    """`[timeouts]` and `[providers.NAME.timeouts]`: the clocks of one stream, in seconds. `None` is "as outside"."""

    connect: Seconds | None = None
    first_content: Seconds | None = None
    first_content_reasoning: Seconds | None = None
    between_content: Seconds | None = None
    total: Seconds | None = None


class ProviderConfig(_Table, frozen=True):
    """`[providers.NAME]`: a provider of the user's own, or changes to a known one. `None` is "as built in"."""

    base_url: Text | None = None
    api_key_env: Text | None = None
    headers: dict[str, str] = {}
    body: dict[str, Any] = {}
    wire: Wire | None = None
    tier: Tier | None = None
    dialect: Dialect | None = None
    reasoning: tuple[Text, ...] | None = None
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    include_usage: bool | None = None
    local: bool | None = None
    free: bool | None = None
    allow_http: bool = False
    timeouts: TimeoutsConfig = TimeoutsConfig()


class AgentConfig(_Table, frozen=True):
    """An agent of a strategy. `prompt` replaces its role's, `model` its role's model."""

    name: Text
    role: Text
    prompt: Text | None = None
    model: Text | None = None


class EdgeConfig(_Table, frozen=True):
    """An edge of a strategy: `after` starts when the other has finished, `live` on its first fragments."""

    from_: Text = msgspec.field(name="from")
    to: Text
    kind: Literal["after", "live"] = "after"


class LoopConfig(_Table, frozen=True):
    """The reviewer -> refiner loop of a strategy, ended by the reviewer's verdict or after `max_rounds`."""

    reviewer: Text
    refiner: Text
    max_rounds: Times | None = None


class StrategyConfig(_Table, frozen=True):
    """`[strategy.NAME]`: the agents and edges of a graph. `synthesizer` names the agent that writes the answer,
    `synthesis` says when it may begin: on the first heads, when its section is done, or when all are. Or `answer` names
    the agent whose text the answer is. `deliverables` are chains of agents' names, as in `engine.graph`."""

    agents: Annotated[tuple[AgentConfig, ...], Meta(min_length=1)]
    edges: tuple[EdgeConfig, ...] = ()
    loop: LoopConfig | None = None
    synthesizer: Text | None = None
    synthesis: Literal["live", "section", "end"] = "live"
    answer: Text | None = None
    deliverables: tuple[tuple[Text, ...], ...] | None = None


class RoleConfig(_Table, frozen=True):
    """`[roles.NAME]`: a role of the user's own, or changes to a shipped one. `None` is "as shipped"."""

    prompt: Text | None = None
    title: Text | None = None
    icon: Text | None = None
    duty: Literal["outline", "verdict"] | None = None


class LimitsConfig(_Table, frozen=True):
    """`[limits]`: what a run may use. `None` is no limit."""

    max_cost: Dollars | None = None
    max_tokens: Count | None = None
    timeout: Seconds | None = None
    max_rounds: Times = 2
    max_interrupts: Times = 2
    max_rollbacks: Times = 2
    quorum: Annotated[float, Meta(gt=0, le=1)] = 0.5
    max_streams: Annotated[int, Meta(ge=1, le=1024)] = 16
    max_sections: Annotated[int, Meta(ge=1, le=64)] = 4
    retries: Times = 2


class PriceConfig(_Table, frozen=True):
    """`[pricing."PROVIDER/MODEL"]`: US dollars for a million tokens."""

    input_per_mtok: Rate
    output_per_mtok: Rate
    cached_input_per_mtok: Rate | None = None


class CacheConfig(_Table, frozen=True):
    """`[cache]`."""

    enabled: bool = True


class ServerConfig(_Table, frozen=True):
    """`[server]`: what `facilitair serve` does. `None` is no limit."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8420
    keys_env: Text = "FACILITAIR_SERVER_KEYS"
    allowed_hosts: tuple[Text, ...] = ()
    allowed_origins: tuple[Text, ...] = ()
    cors_origins: tuple[Text, ...] = ()
    max_runs: Count = 64
    max_runs_per_key: Count = 16
    requests_per_minute: Count | None = 600
    dollars_per_day: Dollars | None = None
    max_body_bytes: Count = 2_097_152
    max_task_characters: Count = 200_000
    keep_s: Seconds = 3600.0
    ring_events: Count = 4096
    ring_bytes: Count = 1_048_576
    heartbeat_s: Annotated[float, Meta(gt=0, le=15)] = 10.0
    ticket_s: Annotated[float, Meta(gt=0, le=300)] = 30.0
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "warning"


class Config(_Table, frozen=True):
    """Everything the user decided. The fields up to `server` are the keys of `facilitair.toml`.

    In `models` the keys `preset`, `provider` and `default` stand beside the names of roles. `files` are the
    configuration files that were read, nearest first; `dotenv` is what `.env` holds; `project_providers` is what the
    project's file alone says about providers, which is trusted less than the user's own (`providers.catalog`).
    """

    default_strategy: Text = "balanced"
    context: dict[str, Any] = {}
    models: dict[str, ModelChoice] = {}
    presets: dict[str, dict[str, ModelChoice]] = {}
    providers: dict[str, ProviderConfig] = {}
    strategy: dict[str, StrategyConfig] = {}
    roles: dict[str, RoleConfig] = {}
    limits: LimitsConfig = LimitsConfig()
    timeouts: TimeoutsConfig = TimeoutsConfig()
    pricing: dict[str, PriceConfig] = {}
    cache: CacheConfig = CacheConfig()
    server: ServerConfig = ServerConfig()

    files: tuple[Path, ...] = ()
    dotenv: dict[str, Secret] = {}
    project_providers: dict[str, ProviderConfig] = {}

    @property
    def preset(self) -> str:
        """The preset that holds when a call names none."""
        chosen = self.models.get("preset", "balanced")
        return chosen if isinstance(chosen, str) else chosen[0]

    @property
    def provider(self) -> str | None:
        """The provider whose own presets are used, when `[models]` names one."""
        chosen = self.models.get("provider")
        return chosen if chosen is None or isinstance(chosen, str) else chosen[0]

    def choice(self, role: str) -> tuple[str, ...]:
        """Return the models that `[models]` names for a role (or `default`), first choice first."""
        return as_models(self.models.get(role, ()))

    def preset_choice(self, preset: str, role: str) -> tuple[str, ...]:
        """Return the models that `[presets.NAME]` names for a role (or `default`), first choice first."""
        return as_models(self.presets.get(preset, {}).get(role, ()))

    def role_names(self) -> frozenset[str]:
        """Return the roles that exist: the shipped ones, the user's own, and those of the user's strategies."""
        agents = (agent for strategy in self.strategy.values() for agent in strategy.agents)
        return frozenset((*built_in_roles(), *self.roles, *(agent.role for agent in agents)))

    def with_overrides(
        self, context: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
    ) -> Config:
        """Return this configuration with the arguments of a call on top; `None` changes nothing.

        A preset of the call beats what `[models]` says. A strategy that is a graph and the sections are no
        configuration and change nothing here. Raises `UsageError` for a value that cannot be used, naming the
        argument.
        """
        limits = {name: options.get(name) for name in ("max_cost", "max_tokens", "timeout")}
        strategy, cache = options.get("strategy"), options.get("cache")
        table: dict[str, Any] = {
            "limits": {
                **msgspec.to_builtins(self.limits),
                **{k: v for k, v in limits.items() if v is not None},
            },
            "context": {**self.context, **(context or {})},
            "models": self._overridden_models(options.get("preset"), options.get("models")),
            "default_strategy": strategy if isinstance(strategy, str) else self.default_strategy,
            "cache": {"enabled": self.cache.enabled if cache is None else cache},
        }
        try:
            changed = {key: _convert(value, _TYPES[key], key) for key, value in table.items()}
            _check_models("models", changed["models"])
        except ConfigKeyError as mistake:
            raise UsageError(f"{_ARGUMENTS.get(mistake.key, mistake.key)}: {mistake.problem}") from None
        return msgspec.structs.replace(self, **changed)

    def _overridden_models(self, preset: str | None, models: Models | None) -> dict[str, Any]:
        base: dict[str, Any] = dict(self.models)
        chosen: dict[str, Any] = {"*": models} if isinstance(models, str) else dict(models or {})
        if preset is not None:
            known = (*BUILTIN_PRESETS, *self.presets)
            if preset not in known:
                raise UsageError(f"preset: {preset!r} is not known; use one of {_listed(known)}")
            base = {"preset": preset, **({"provider": self.provider} if self.provider else {})}
        if "*" in chosen:
            base = {key: value for key, value in base.items() if key in _MODEL_SETTINGS}
            base["default"] = chosen.pop("*")
        for role in chosen.keys() - self.role_names():
            raise UsageError(f"models: {_unknown('role', role, self.role_names())}")
        return {**base, **chosen}


_MODEL_SETTINGS: Final = ("preset", "provider")
_TYPES: Final[dict[str, Any]] = {
    key: kind
    for key, kind in get_type_hints(Config, include_extras=True).items()
    if key not in ("files", "dotenv", "project_providers")
}
_ARGUMENTS: Final = {
    "limits.max_cost": "max_cost",
    "limits.max_tokens": "max_tokens",
    "limits.timeout": "timeout",
    "cache.enabled": "cache",
    "default_strategy": "strategy",
}


def as_models(choice: str | Sequence[str]) -> tuple[str, ...]:
    """Return a choice of the file, one model or a list of them, as a tuple."""
    return (choice,) if isinstance(choice, str) else tuple(choice)


def load_config(directory: Path | None = None, env: Mapping[str, str] | None = None) -> Config:
    """Read the configuration that holds in `directory` (the working directory by default).

    `facilitair.toml` and `.env` are searched from there upwards to the root of the repository, else to the home
    directory; outside of both only there. The user's own file is in the platform's configuration directory; with an
    explicit `env` it is looked for under its `XDG_CONFIG_HOME` only. Raises `ConfigError`.
    """
    start = (directory or Path.cwd()).absolute()
    if not start.is_dir():
        raise ConfigError(f"{start}: is not a directory, so no configuration can be read from it")
    places = _search_path(start)
    user_file = _user_file(os.environ if env is None else env, explicit=env is not None)
    found = _first_file(places, FILE_NAME)
    project_file = None if found == user_file else found

    user = _read_layer(user_file)
    project = _read_layer(project_file)
    config: Config = msgspec.convert(_merge(user, project), Config)
    files = tuple(
        path for path, layer in ((project_file, project), (user_file, user)) if path and layer is not None
    )
    config = msgspec.structs.replace(
        config,
        files=files,
        dotenv=_read_dotenv(_first_file(places, ".env")),
        project_providers=msgspec.convert((project or {}).get("providers", {}), dict[str, ProviderConfig]),
    )
    _check_references(config)
    return config


def check_base_url(url: str, *, allow_http: bool) -> str:
    """Return the URL without its trailing slash; raise `ValueError` with what is wrong with it.

    Plain http sends keys and prompts in the clear, so it is taken only for this machine and private networks, or
    when it is allowed explicitly.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL; write something like https://host/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("is not a URL; write something like https://host/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user name or password; name a variable in api_key_env instead")
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("holds a query, a fragment or blanks; write only https://host/path")
    if parts.scheme == "http" and not allow_http and not is_private_host(parts.hostname):
        raise ValueError(
            "sends keys and text unencrypted; use https, or set allow_http = true for this provider"
        )
    return url.rstrip("/")


def is_private_host(host: str) -> bool:
    """Return whether a host name or address is of this machine or of a private network."""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa"))
    return address.is_private or address.is_loopback


# --- reading -------------------------------------------------------------------------------------------------------


def _search_path(start: Path) -> list[Path]:
    upwards = [start, *start.parents]
    for depth, place in enumerate(upwards, 1):
        if _exists(place / ".git"):
            return upwards[:depth]
    try:
        home = Path.home()
    except RuntimeError:
        return [start]
    # Outside of home anybody may have put a file into a parent directory (/tmp), so only the directory itself counts.
    return upwards[: upwards.index(home) + 1] if home in upwards else [start]


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
    from platformdirs import user_config_path  # 10 ms that only this line needs

    return user_config_path("facilitair", appauthor=False) / FILE_NAME


def _read_layer(path: Path | None) -> dict[str, Any] | None:
    if path is None or not _exists(path):
        return None
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
        raise ConfigError(f"{path}: is not valid TOML: {_shown(str(error))}") from None
    try:
        _check_layer(layer)
    except ConfigKeyError as mistake:
        raise ConfigError(f"{path}: {_shown(mistake.key)}: {_shown(mistake.problem)}") from None
    return layer


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


# --- checking ------------------------------------------------------------------------------------------------------

_SECRET_NAME: Final = re.compile(
    r"(?i)(.*[_-])?(api[_-]?key|key|secret|password|passwd|token|authorization|bearer|credentials?|cookie)"
)
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
_RESERVED_BODY: Final = ("model", "messages", "stream", "max_tokens", "max_completion_tokens")


def _check_layer(layer: dict[str, Any]) -> None:
    """Check one file alone, so that a mistake names the file it is in. Raises `ConfigKeyError`."""
    for path, value in _strings(layer, ""):
        _check_not_secret(path, value)
    for key, value in layer.items():
        if key not in _TYPES:
            raise ConfigKeyError(key, _unknown("key", key, _TYPES))
        _convert(value, _TYPES[key], key)
    for name, provider in layer.get("providers", {}).items():
        _check_provider(f"providers.{_quoted(name)}", provider)
    for key in layer.get("pricing", {}):
        if "/" not in key:
            raise ConfigKeyError(
                f"pricing.{_quoted(key)}", 'is not a model; write [pricing."provider/model"]'
            )
    _check_models("models", layer.get("models", {}))
    for name, preset in layer.get("presets", {}).items():
        _check_models(f"presets.{_quoted(name)}", preset)
    for name, strategy in layer.get("strategy", {}).items():
        for index, agent in enumerate(strategy["agents"]):
            if "model" in agent:
                _check_models(f"strategy.{_quoted(name)}.agents[{index}]", {"model": agent["model"]})
    _check_server(layer.get("server", {}))


def _check_models(path: str, choices: Mapping[str, str | Sequence[str]]) -> None:
    for key, choice in choices.items():
        if key in _MODEL_SETTINGS and path == "models":
            if not isinstance(choice, str):
                raise ConfigKeyError(f"{path}.{key}", "expected a name, got a list")
        elif not choice or not all(
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*/\S+", name) for name in as_models(choice)
        ):
            raise ConfigKeyError(
                f"{path}.{_quoted(key)}", 'expected a model written "provider/model", or a list of them'
            )


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}.{_quoted(key)}" if path else _quoted(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(inner, f"{path}[{index}]")


def _check_not_secret(path: str, value: str) -> None:
    # The user's own context is told to the models anyway and may well say `token = "JWT"`.
    named_like_one = not path.startswith("context.") and _SECRET_NAME.fullmatch(
        path.rsplit(".", 1)[-1].strip('"')
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
            raise ConfigKeyError(
                f"{path}.headers.{_quoted(name)}", "is not an HTTP header of printable ASCII"
            )
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


def is_host_pattern(name: str) -> bool:
    """Return whether this is a host name without port, or `*.` and one: what `allowed_hosts` may hold."""
    return re.fullmatch(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.\-]*[A-Za-z0-9])?", name) is not None


def _check_references(config: Config) -> None:
    presets = (*BUILTIN_PRESETS, *config.presets)
    if config.preset not in presets:
        raise ConfigError(_in_files(config, f"models.preset: {_unknown('preset', config.preset, presets)}"))
    roles = {*config.role_names(), "default"}
    tables = {"models": set(config.models) - set(_MODEL_SETTINGS)}
    tables |= {f"presets.{_quoted(name)}": set(preset) for name, preset in config.presets.items()}
    for table, used in tables.items():
        for role in sorted(used - roles):
            raise ConfigError(_in_files(config, f"{table}.{_quoted(role)}: {_unknown('role', role, roles)}"))


def _in_files(config: Config, problem: str) -> str:
    return f"{', '.join(map(str, config.files))}: {_shown(problem)}"


def _shown(text: str) -> str:
    """Return text of a file as it can be shown: on one line, without control characters, without keys."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in redact(text))


def _convert(value: Any, kind: Any, path: str) -> Any:
    """Convert as msgspec does, one entry of a table at a time, so that the path names the entry."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is dict and isinstance(value, dict) and args[1] is not Any:
        return {key: _convert(inner, args[1], f"{path}.{_quoted(key)}") for key, inner in value.items()}
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        place = place.removesuffix("`").partition("[...]")[0]
        raise ConfigKeyError(path + place, _explained(text, kind, place)) from None


def _explained(text: str, kind: Any, place: str) -> str:
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", text):
        fields = getattr(_kind_at(kind, place), "__struct_encode_fields__", ())
        return _unknown("key", unknown[1], fields)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text):
        return f"has no {missing[1]}; add it"
    if re.match(r"Invalid enum value", text):
        allowed = _literals(_kind_at(kind, place))
        return f"{text.removeprefix('Invalid enum value ')} is not known; use one of {_listed(allowed)}"
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


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    advice = f"did you mean {near[0]}?" if near else f"use one of {_listed(names)}"
    return f"{what} {name!r} is not known; {advice}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'
