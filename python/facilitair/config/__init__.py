"""What the user decided: `facilitair.toml` of the project over the user's own over the defaults, and `.env`.

`reading` finds the files and puts them together, `checking` says what is wrong with one, `config` is what comes of it;
arguments of a call come on top through `Config.with_overrides`. Every mistake is one `ConfigError` of one line that
names the file, the key and what is allowed. Keys never stand in a TOML file: they come from the environment, then from
`.env`.
"""

from .addresses import check_base_url, is_host_pattern, is_private_host
from .config import Config
from .reading import FILE_NAME, load_config
from .roles import find_role
from .schema import (
    BUILTIN_PRESETS,
    AgentConfig,
    CacheConfig,
    EdgeConfig,
    LimitsConfig,
    LogFormat,
    LogLevel,
    LoopConfig,
    ModelChoice,
    PriceConfig,
    ProviderConfig,
    RoleConfig,
    ServerConfig,
    StrategyConfig,
    TimeoutsConfig,
    as_models,
)

__all__ = [
    "BUILTIN_PRESETS",
    "FILE_NAME",
    "AgentConfig",
    "CacheConfig",
    "Config",
    "EdgeConfig",
    "LimitsConfig",
    "LogFormat",
    "LogLevel",
    "LoopConfig",
    "ModelChoice",
    "PriceConfig",
    "ProviderConfig",
    "RoleConfig",
    "ServerConfig",
    "StrategyConfig",
    "TimeoutsConfig",
    "as_models",
    "check_base_url",
    "find_role",
    "is_host_pattern",
    "is_private_host",
    "load_config",
]
