"""The tables of `facilitair.toml` as they are in memory: data, and what can be read off it.

Knows neither providers nor strategies: `providers.catalog` finds the models, the engine checks that a strategy's
graph can run. The annotations are not text here, because msgspec would compile each of them when a run begins.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ..engine.graph import EdgeKind, SynthesisTiming
from ..events import ModelTier
from ..options import Count, Dollars, Seconds
from ..protocols import Dialect, MaxTokensField, Wire
from ..roles import Duty, built_in_roles

BUILTIN_PRESETS: Final = ("fast", "balanced", "quality", "budget")
MODEL_SETTINGS: Final = ("preset", "provider")  # keys of [models] that are no roles

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
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
    tier: ModelTier | None = None
    dialect: Dialect | None = None
    reasoning: tuple[Text, ...] | None = None
    think_tags: tuple[Text, ...] | None = None
    max_tokens_field: MaxTokensField | None = None
    max_output_tokens: Count | None = None
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
    kind: EdgeKind = "after"


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
    synthesis: SynthesisTiming = "live"
    answer: Text | None = None
    deliverables: tuple[tuple[Text, ...], ...] | None = None


class RoleConfig(_Table, frozen=True):
    """`[roles.NAME]`: a role of the user's own, or changes to a shipped one. `None` is "as shipped"."""

    prompt: Text | None = None
    title: Text | None = None
    icon: Text | None = None
    duty: Duty | None = None
    max_output_tokens: Count | None = None


class LimitsConfig(_Table, frozen=True):
    """`[limits]`: what a run may use. `None` is no limit."""

    max_cost: Dollars | None = None
    max_tokens: Count | None = None
    timeout: Seconds | None = None
    max_rounds: Times = 2
    max_interrupts: Times = 1
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
    side_model: Text = "auto"
    log_format: LogFormat = "text"
    log_level: LogLevel = "warning"


class FileConfig(_Table, frozen=True):
    """`facilitair.toml`: the keys that a file may have.

    With `simulate`, scripts of the built-in simulator stand in for all models; `False` never lets them.
    In `models` the keys `preset`, `provider` and `default` stand beside the names of roles.
    """

    default_strategy: Text = "balanced"
    simulate: bool | None = None
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


def as_models(choice: str | Sequence[str]) -> tuple[str, ...]:
    """Return a choice of the file, one model or a list of them, as a tuple."""
    return (choice,) if isinstance(choice, str) else tuple(choice)
