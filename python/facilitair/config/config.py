"""The configuration that holds: what the files say, and the arguments of a call on top."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Unpack

import msgspec

from ..errors import ConfigKeyError, UsageError
from ..keys import Secret
from ..options import Models, RunOptions
from .checking import KEYS, check_models
from .explaining import convert, unknown
from .schema import BUILTIN_PRESETS, MODEL_SETTINGS, FileConfig, ProviderConfig

_ARGUMENTS: Final = {
    "limits.max_cost": "max_cost",
    "limits.max_tokens": "max_tokens",
    "limits.timeout": "timeout",
    "cache.enabled": "cache",
    "default_strategy": "strategy",
    "simulate": "simulate",
}


class Config(FileConfig, frozen=True):
    """Everything the user decided: the keys of `facilitair.toml`, and what is known of the files beside them.

    `files` are the configuration files that were read, nearest first; `dotenv` is what `.env` holds;
    `project_providers` is what the project's file alone says about providers, which is trusted less than the user's
    own (`providers.catalog`).
    """

    files: tuple[Path, ...] = ()
    dotenv: dict[str, Secret] = msgspec.field(default_factory=dict)
    project_providers: dict[str, ProviderConfig] = msgspec.field(default_factory=dict)

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
        simulate = self.simulate if options.get("simulate") is None else options.get("simulate")
        if simulate:
            _check_simulated(options.get("models"))
        table: dict[str, Any] = {
            "limits": {
                **msgspec.to_builtins(self.limits),
                **{k: v for k, v in limits.items() if v is not None},
            },
            "context": {**self.context, **(context or {})},
            "models": self._overridden_models(options.get("preset"), options.get("models")),
            "default_strategy": strategy if isinstance(strategy, str) else self.default_strategy,
            "cache": {"enabled": self.cache.enabled if cache is None else cache},
            "simulate": simulate,
        }
        try:
            changed = {key: convert(value, KEYS[key], key) for key, value in table.items()}
            check_models("models", changed["models"])
        except ConfigKeyError as mistake:
            raise UsageError(f"{_ARGUMENTS.get(mistake.key, mistake.key)}: {mistake.problem}") from None
        return msgspec.structs.replace(self, **changed)

    def _overridden_models(self, preset: str | None, models: Models | None) -> dict[str, Any]:
        base: dict[str, Any] = dict(self.models)
        chosen: dict[str, Any] = {"*": models} if isinstance(models, str) else dict(models or {})
        if preset is not None:
            known = (*BUILTIN_PRESETS, *self.presets)
            if preset not in known:
                raise UsageError(unknown("preset", preset, known))
            base = {"preset": preset, **({"provider": self.provider} if self.provider else {})}
        if "*" in chosen:
            base = {key: value for key, value in base.items() if key in MODEL_SETTINGS}
            base["default"] = chosen.pop("*")
        for role in chosen.keys() - self.role_names():
            raise UsageError(f"models: {unknown('role', role, self.role_names())}")
        return {**base, **chosen}


def _check_simulated(models: Models | None) -> None:
    choices = [models] if isinstance(models, str) else [] if models is None else list(models.values())
    named = [name for choice in choices for name in ([choice] if isinstance(choice, str) else choice)]
    real = [name for name in named if not str(name).startswith("simulator/")]
    if real:
        raise UsageError(
            f"simulate: no model is asked then, and models names {real[0]}; leave one of the two out"
        )
