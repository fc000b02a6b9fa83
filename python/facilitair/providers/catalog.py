"""Which models there are, and which one a role gets.

`table.toml` says what is known about each provider (it is read as JSON, which `scripts/tables.py` makes of it),
`facilitair.toml` changes and adds to it, the environment and
`.env` bring keys and addresses, and `discovery` says what was found running. Nothing here does I/O.

A key is bound to its host. Files of a project are written by whoever wrote the project, so an address from there
(`facilitair.toml`, `.env`) never gets a well-known key of the user's environment: see `_check_binding`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from facilitair_rust import Timeouts

from ..config import (
    FILE_NAME,
    Config,
    ModelChoice,
    PriceConfig,
    ProviderConfig,
    as_models,
    check_base_url,
    is_private_host,
)
from ..errors import ConfigError, FaultError
from ..events import ModelTier
from ..keys import Secret
from ..pricing import Price
from ..protocols import Dialect, MaxTokensField, Wire
from .model import Endpoint, Model

SIMULATOR: Final = "simulator"
SIMULATE_VARIABLE: Final = "FACILITAIR_SIMULATE"

_CONNECT_S: Final = 5.0
_FIRST_CONTENT_S: Final = 60.0
_FIRST_CONTENT_SLOW_S: Final = 180.0
_BETWEEN_CONTENT_S: Final = 30.0
_BETWEEN_CONTENT_LOCAL_S: Final = 180.0
_TOTAL_S: Final = 600.0
_MODELS_KEPT: Final = 1000


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known about a provider; the fields are explained in `table.toml`."""

    title: str
    base_url: str
    base_url_env: str | None = None
    key_env: tuple[str, ...] = ()
    local: bool = False
    headers: dict[str, str] = {}
    wire: Wire = "openai"
    output_limits: dict[str, int] = {}
    dialect: Dialect | None = None
    prefill: tuple[str, ...] = ()
    not_prefill: tuple[str, ...] = ()
    brief: dict[str, dict[str, Any]] = {}
    include_usage: bool = True
    reasoning_max_tokens: MaxTokensField = "max_tokens"
    presets: dict[str, dict[str, ModelChoice]] = {}
    prices: dict[str, PriceConfig] = {}


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`table.toml`."""

    reasoning: tuple[str, ...]
    not_reasoning: tuple[str, ...]
    think_tags: tuple[str, ...]
    bound_keys: frozenset[str]
    families: dict[str, tuple[str, ...]]
    providers: dict[str, Provider]


@cache
def table() -> Table:
    """Return what is known about the providers, in the order in which their keys are looked for."""
    return msgspec.json.decode(Path(__file__).with_name("table.json").read_bytes(), type=Table)


class Installed(msgspec.Struct, frozen=True):
    """A model that a server of the user's own has; `size` in bytes, 0 when it did not say."""

    name: str
    size: int = 0


class _Variable(msgspec.Struct, frozen=True):
    """A variable's value, and whether a file of the project set it."""

    name: str
    value: str
    from_project: bool


class Catalog(msgspec.Struct, frozen=True, eq=False):
    """The models of one configuration and environment.

    `primary` is the provider whose presets are used where the configuration names no model; `installed` what the
    servers of the user's own have, and `unready` why some that are there cannot be used; `notices` what the user should
    be told about how this came about.
    """

    config: Config
    env: Mapping[str, str]
    primary: str = SIMULATOR
    installed: Mapping[str, tuple[Installed, ...]] = msgspec.field(default_factory=dict)
    notices: tuple[str, ...] = ()
    unready: Mapping[str, str] = msgspec.field(default_factory=dict)
    simulator_url: str | None = None
    _resolved: dict[tuple[str, bool], Model] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        # Without `env`, which holds keys.
        return f"Catalog(primary={self.primary!r}, installed={self.installed!r}, config={self.config!r})"

    @property
    def needs_simulator(self) -> bool:
        """Whether a model of the configuration is simulated; a call may name simulated ones besides
        (`Model.simulated`)."""
        named = [
            *self.config.models.values(),
            *(choice for preset in self.config.presets.values() for choice in preset.values()),
            *(agent.model or "" for graph in self.config.strategy.values() for agent in graph.agents),
        ]
        return self.primary == SIMULATOR or any(
            is_simulated(name) for choice in named for name in as_models(choice)
        )

    def with_simulator(self, base_url: str) -> Catalog:
        """Return the same catalog with the simulator at an address."""
        return msgspec.structs.replace(self, simulator_url=base_url.rstrip("/"), _resolved={})

    def of(self, config: Config) -> Catalog:
        """Return the same catalog for a configuration that differs only in what a call decides: what was resolved once
        is not resolved again, which takes a millisecond a model."""
        return msgspec.structs.replace(self, config=config)

    def provider_names(self) -> tuple[str, ...]:
        """Return every provider that can be named, the known ones first."""
        return tuple(dict.fromkeys((*table().providers, *self.config.providers)))

    def available(self) -> tuple[str, ...]:
        """Return the providers that can be asked as things are: those with a key, those running here, and those that
        somebody placed where no key is needed. The simulator always can, and is left out."""
        names = (name for name in self.provider_names() if name != SIMULATOR)
        return tuple(name for name in names if self._is_available(name))

    def base_url(self, provider: str) -> str:
        """Return where a provider is. Raises `ConfigError` for an address that cannot be used."""
        return self._address(provider)[0]

    def wire(self, provider: str) -> Wire:
        """Return the protocol that a provider speaks."""
        return self.config.providers.get(provider, ProviderConfig()).wire or self._spec(provider).wire

    def tier_source(self, model: Model) -> str:
        """Return who says which tier a model has: a table of the configuration, the built-in table, or nobody."""
        if self.config.providers.get(model.provider, ProviderConfig()).tier is not None:
            return f"[providers.{model.provider}]"
        return "the built-in table" if model.provider in table().providers else "the default"

    def placed_by(self, provider: str) -> str | None:
        """Return the variable or table that says where a provider is, or `None` where the built-in address holds."""
        return self._address(provider)[1]

    def key(self, provider: str) -> Secret | None:
        """Return the key that may be sent to a provider's address. Raises `ConfigError` for one that may not."""
        key = self._key(provider)
        if key is None:
            return None
        self._check_binding(provider, key)
        if not (key.value.isascii() and key.value.isprintable()) or " " in key.value:
            raise ConfigError(f"{key.name} holds blanks or characters that no key has; copy the key again")
        return Secret(key.value)

    def key_from(self, provider: str) -> str | None:
        """Return the variable that holds a provider's key, if one does."""
        key = self._key(provider)
        return None if key is None else key.name

    def key_variables(self, provider: str) -> tuple[str, ...]:
        """Return the names of the variables that may hold a provider's key, first one first."""
        own = self.config.providers.get(provider, ProviderConfig())
        return (own.api_key_env,) if own.api_key_env else self._spec(provider).key_env

    def secrets(self) -> tuple[Secret, ...]:
        """Return every key that could be sent, for `keys.redact`."""
        keys = (self._key(name) for name in self.provider_names())
        return (*(Secret(key.value) for key in keys if key), *self.config.dotenv.values())

    def resolve(self, name: str, *, brief: bool = False) -> Model:
        """Return the model that `provider/name` means; `brief` asks a reasoning model to answer soon.

        Raises `ConfigError`: no such provider, no key, no usable address.
        """
        found = self._resolved.get((name, brief))
        if found is None:
            found = self._found(name, brief=brief)
            if len(self._resolved) >= _MODELS_KEPT:  # callers may name any
                self._resolved.clear()
            self._resolved[name, brief] = found
        return found

    def _found(self, name: str, *, brief: bool) -> Model:
        provider, _, model = name.partition("/")
        if not provider.strip() or not model.strip():
            raise ConfigError(f"{name!r} is not a model; write provider/model, such as openai/gpt-6.1-terra")
        spec = self._spec(provider)
        own = self.config.providers.get(provider, ProviderConfig())
        tier = _simulated_tier(model) if provider == SIMULATOR else _tier(model, spec)
        reasoning = _is_reasoning(model, own)
        endpoint = self._endpoint(provider, spec, own, model, reasoning=reasoning, brief=brief)
        host = urlsplit(endpoint.base_url).hostname or ""
        local = (spec.local or is_private_host(host)) if own.local is None else own.local
        # A gateway on this machine that asks for a key passes requests on, and those cost something.
        free = spec.local or (is_private_host(host) and endpoint.key is None)
        return Model(
            provider=provider,
            name=model,
            family="simulated" if provider == SIMULATOR else family_of(model),
            tier=own.tier or tier,
            reasoning=reasoning,
            simulated=provider == SIMULATOR,
            timeouts=self._timeouts(own, reasoning=reasoning, local=local and provider != SIMULATOR),
            endpoint=endpoint,
            free=free and not _runs_elsewhere(provider, model) if own.free is None else own.free,
            known_price=self._known_price(provider, model, spec),
            max_output_tokens=own.max_output_tokens,
        )

    def for_role(self, role: str) -> tuple[Model, ...]:
        """Return the models of a role: first choice, then fallbacks.

        The nearest wins: `[models]` (role, then `default`), `[presets]`, the presets of the primary provider. Raises
        `ConfigError` for a model that cannot be used.
        """
        config = self.config
        chosen = config.preset
        names = (
            config.choice(role)
            or config.choice("default")
            or config.preset_choice(chosen, role)
            or config.preset_choice(chosen, "default")
        )
        if config.simulate:
            names = tuple(name for name in names if is_simulated(name)) or self._built_in(
                SIMULATOR, chosen, role
            )
        names = names or self._built_in(config.provider or self._primary(), chosen, role)
        return tuple(self.resolve(name, brief=chosen in ("fast", "budget")) for name in names)

    def first_of(self, provider: str) -> Model:
        """Return the model that a provider's own balanced preset, or its server, offers first."""
        return self.resolve(self._built_in(provider, "balanced", "default")[0], brief=True)

    def _primary(self) -> str:
        """Return the primary provider. The simulator takes the place of one that is missing only where somebody wants
        that: text that nobody wrote must not pass for an answer."""
        if self.primary == SIMULATOR and not self._may_simulate():
            raise ConfigError("; ".join((*self.notices, self._no_model())))
        return self.primary

    def _may_simulate(self) -> bool:
        if self.config.simulate is not None:
            return self.config.simulate
        said = self._variable(SIMULATE_VARIABLE)
        return said is not None and said.value.lower() not in ("0", "false", "no", "off")

    def _no_model(self) -> str:
        from difflib import get_close_matches  # only where something is wrong

        keys = [name for spec in table().providers.values() for name in spec.key_env]
        named = (name for name in (*self.env, *self.config.dotenv) if "KEY" in name and name not in keys)
        near = next(
            ((name, like[0]) for name in named if (like := get_close_matches(name, keys, 1, 0.9))), None
        )
        mistyped = "" if near is None else f" ({near[0]} is set; did you mean {near[1]}?)"
        return (
            f"no key and no local model found{mistyped}: set OPENAI_API_KEY or another provider's key, start a local "
            "server, or run `facilitair doctor`. To try it without a model, let the built-in simulator play its "
            f"scripts: --simulate, simulate=True, or {SIMULATE_VARIABLE}=1"
        )

    def _built_in(self, provider: str, preset: str, role: str) -> tuple[str, ...]:
        if provider == SIMULATOR:
            return (f"{SIMULATOR}/{_script_for(role)}",)
        spec = self._spec(provider)
        found = self.installed.get(provider, ())
        if found:
            return (f"{provider}/{_pick(found, preset).name}",)
        models = spec.presets.get(preset) or spec.presets.get("balanced", {})
        names = as_models(models.get(role, ())) or as_models(models.get("default", ()))
        if not names:
            raise ConfigError(
                f"no model is known at {provider} ({self.base_url(provider)}): start it with one installed, or set "
                f'[models] default = "{provider}/NAME" in {FILE_NAME}'
            )
        return tuple(f"{provider}/{name}" for name in names)

    def _spec(self, provider: str) -> Provider:
        known = table().providers.get(provider)
        if known is not None:
            return known
        own = self.config.providers.get(provider)
        if own is None:
            from difflib import get_close_matches  # only where something is wrong

            names = self.provider_names()
            near = get_close_matches(provider, names, n=1)
            advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
            raise ConfigError(
                f"provider {provider!r} is not known; {advice} Another one needs [providers.{provider}] with a "
                f"base_url in {FILE_NAME}"
            )
        if own.base_url is None:
            raise ConfigError(f"[providers.{provider}] in {FILE_NAME} has no base_url; add it")
        return Provider(title=provider, base_url=own.base_url)

    def _variable(self, name: str) -> _Variable | None:
        if value := self.env.get(name, "").strip():
            return _Variable(name, value, from_project=False)
        if (secret := self.config.dotenv.get(name)) and (value := secret.reveal().strip()):
            return _Variable(name, value, from_project=True)
        return None

    def _key(self, provider: str) -> _Variable | None:
        found = (self._variable(name) for name in self.key_variables(provider))
        return next((variable for variable in found if variable), None)

    def _address(self, provider: str) -> tuple[str, str | None, bool]:
        """Return a provider's base URL, who named it (`None`: built in), and whether that was the project."""
        spec, own = self._spec(provider), self.config.providers.get(provider, ProviderConfig())
        if provider == SIMULATOR and self.simulator_url:
            return self.simulator_url, None, False
        in_project = self.config.project_providers.get(provider, ProviderConfig())
        if own.base_url is not None:
            return own.base_url.rstrip("/"), f"[providers.{provider}]", in_project.base_url is not None
        variable = self._variable(spec.base_url_env) if spec.base_url_env else None
        if variable is None:
            return spec.base_url, None, False
        url = ollama_url(variable.value) if provider == "ollama" else variable.value
        try:
            return check_base_url(url, allow_http=own.allow_http), variable.name, variable.from_project
        except ValueError as error:
            raise ConfigError(f"{variable.name} {error}") from None

    def _endpoint(
        self, provider: str, spec: Provider, own: ProviderConfig, model: str, *, reasoning: bool, brief: bool
    ) -> Endpoint:
        key = self.key(provider)
        if key is None and not self._needs_no_key(provider):
            variable = self.key_variables(provider)[0]
            raise ConfigError(
                f"{provider} has no key: set {variable} in the environment or in .env, or choose another model"
            )
        hurry = next((extra for pattern, extra in spec.brief.items() if _matches(model, pattern)), {})
        limit = next((most for pattern, most in spec.output_limits.items() if _matches(model, pattern)), None)
        reasoning_field = spec.reasoning_max_tokens if reasoning else "max_tokens"
        return Endpoint(
            base_url=self.base_url(provider),
            key=key,
            key_from=self.key_from(provider),
            headers={**spec.headers, **own.headers},
            body={**(hurry if brief and reasoning else {}), **own.body},
            dialect=own.dialect or spec.dialect or ("trailing" if own.tier == "prefill" else None),
            max_tokens_field=own.max_tokens_field or reasoning_field,
            include_usage=spec.include_usage if own.include_usage is None else own.include_usage,
            wire=own.wire or spec.wire,
            think_tags=_has_think_tags(model, own),
            output_limit=limit,
        )

    def _needs_no_key(self, provider: str) -> bool:
        own = self.config.providers.get(provider, ProviderConfig())
        if own.api_key_env:
            return False
        spec = self._spec(provider)
        return (
            spec.local
            or not spec.key_env
            or is_private_host(urlsplit(self.base_url(provider)).hostname or "")
        )

    def _check_binding(self, provider: str, key: _Variable) -> None:
        """Refuse to send a key of the environment where only a file of the project wants it sent.

        Well-known keys go to their own hosts alone. Any other variable that the project's file names has to be called
        ..._API_KEY, so that no file can ask for the rest of the environment. This machine itself is always allowed.
        """
        base_url, _, address_from_project = self._address(provider)
        in_project = self.config.project_providers.get(provider, ProviderConfig())
        name_from_project = in_project.api_key_env is not None
        host = urlsplit(base_url).hostname or ""
        if key.from_project or not (address_from_project or name_from_project) or _is_loopback(host):
            return
        owners = [spec for spec in table().providers.values() if key.name in spec.key_env]
        if owners or key.name in table().bound_keys:
            allowed = host in {urlsplit(owner.base_url).hostname for owner in owners}
        else:
            allowed = key.name.endswith("_API_KEY")
        if not allowed:
            raise ConfigError(
                f"a file of the project wants {key.name} of your environment sent to {host}; if you want that too, "
                f"say so in your own {FILE_NAME} or in the environment, or put a key for {host} into .env"
            )

    def _is_available(self, provider: str) -> bool:
        if provider in self.installed or self._key(provider) is not None:
            return True
        known = table().providers.get(provider)
        if known is not None and known.local:
            return False  # whether it runs is found out by asking it
        try:
            return self.placed_by(provider) is not None and self._needs_no_key(provider)
        except ConfigError:
            return True  # somebody wants it; what is wrong with its address is said when it is used

    def _timeouts(self, own: ProviderConfig, *, reasoning: bool, local: bool) -> Timeouts:
        outer, inner = self.config.timeouts, own.timeouts
        first = (inner.first_content, outer.first_content, _FIRST_CONTENT_S)
        if reasoning or local:  # local servers load the model first, and that takes as long as reasoning does
            first = (inner.first_content_reasoning, outer.first_content_reasoning, _FIRST_CONTENT_SLOW_S)
        return Timeouts(
            connect=_first(inner.connect, outer.connect, _CONNECT_S),
            first_content=_first(*first),
            # They are silent, too, while they compute the prompt of another stream.
            between_content=_first(
                inner.between_content,
                outer.between_content,
                _BETWEEN_CONTENT_LOCAL_S if local else _BETWEEN_CONTENT_S,
            ),
            total=_first(inner.total, outer.total, _TOTAL_S),
        )

    def _known_price(self, provider: str, model: str, spec: Provider) -> Price | None:
        configured = self.config.pricing.get(f"{provider}/{model}")
        rates = configured or (spec.prices.get(model) if self.base_url(provider) == spec.base_url else None)
        if rates is None:
            return None
        return Price(
            input_per_mtok=rates.input_per_mtok,
            output_per_mtok=rates.output_per_mtok,
            cached_input_per_mtok=rates.cached_input_per_mtok,
            source="configured" if configured else "built in",
        )


def is_simulated(name: str) -> bool:
    """Return whether `provider/name` means a script of the simulator."""
    return name.startswith(f"{SIMULATOR}/")


def family_of(model: str) -> str:
    """Return the family of a model by its name; a name that says nothing is its own family."""
    last = re.split(r"[/]", model.lower())[-1]
    beginnings = [(word, family) for family, words in table().families.items() for word in words]
    for word, family in beginnings:
        if last.startswith(word):
            return family
    for word, family in beginnings:
        if re.search(rf"(?<![a-z0-9]){re.escape(word)}", model.lower()):
            return family
    return re.split(r"[^a-z]", last)[0] or last


def ollama_url(host: str) -> str:
    """Return the base URL that `OLLAMA_HOST` means. It may lack scheme or port, and `0.0.0.0` is what the server
    listens on, not where it is."""
    url = host if "://" in host else f"http://{host}"
    parts = urlsplit(url)
    name = parts.hostname or "127.0.0.1"
    name = "127.0.0.1" if name in ("0.0.0.0", "::") else name  # noqa: S104 - read, not bound to
    name = f"[{name}]" if ":" in name else name
    port = parts.port or (443 if parts.scheme == "https" else 11434)
    return f"{parts.scheme}://{name}:{port}{parts.path.rstrip('/').removesuffix('/v1')}/v1"


def _matches(model: str, pattern: str) -> bool:
    name = model.lower()
    return fnmatchcase(name, pattern.lower()) or fnmatchcase(name.rpartition("/")[2], pattern.lower())


def _is_reasoning(model: str, own: ProviderConfig) -> bool:
    if own.reasoning is not None:
        return any(_matches(model, pattern) for pattern in own.reasoning)
    known = table()
    return any(_matches(model, pattern) for pattern in known.reasoning) and not any(
        _matches(model, pattern) for pattern in known.not_reasoning
    )


def _has_think_tags(model: str, own: ProviderConfig) -> bool:
    patterns = table().think_tags if own.think_tags is None else own.think_tags
    return any(_matches(model, pattern) for pattern in patterns)


def _tier(model: str, spec: Provider) -> ModelTier:
    can = any(_matches(model, pattern) for pattern in spec.prefill)
    cannot = any(_matches(model, pattern) for pattern in spec.not_prefill)
    return "prefill" if can and not cannot else "resume"


def _runs_elsewhere(provider: str, model: str) -> bool:
    return provider == "ollama" and model.endswith("cloud")


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _pick(found: Sequence[Installed], preset: str) -> Installed:
    """Return the smallest model for fast and budget, the largest for quality, else the one installed last. All roles
    get the same one, because a server that swaps models in memory is slower than a smaller model."""
    sized = [model for model in found if model.size] or list(found)
    if preset in ("fast", "budget"):
        return min(sized, key=lambda model: model.size)
    return max(sized, key=lambda model: model.size) if preset == "quality" else found[0]


def _script_for(role: str) -> str:
    from ..simulator.naming import script_for  # only where the simulator is used

    return script_for(role)


def _simulated_tier(model: str) -> ModelTier:
    from ..simulator.naming import tier_of

    try:
        return tier_of(model)
    except FaultError as error:
        raise ConfigError(f"{SIMULATOR}/{model}: {error}") from None
