"""All checks of one installation, configuration and environment, in the order in which they are shown."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ..config import FILE_NAME, load_config
from ..errors import ConfigError
from ..providers.catalog import SIMULATOR
from ..providers.discovery import ask_all_servers, discover
from ..transport import Transport
from .check import Check
from .installation import embedding_model, runtime
from .models import check_models
from .providers import check_providers

NO_MODEL: Final = (
    "set a key or start a server; in a terminal, or with --simulate, the built-in simulator plays its scripts "
    "meanwhile"
)


async def diagnose(
    directory: Path | None = None,
    env: Mapping[str, str] | None = None,
    *,
    transport: Transport | None = None,
    probe_local: bool = True,
    before_probe: Callable[[str], None] | None = None,
) -> list[Check]:
    """Return the checks of this installation, of the configuration in `directory`, and of every provider and model.

    `transport` replaces real HTTP. With `before_probe`, which is told beforehand what that costs, each model is asked
    whether it goes on from its own text as its tier says. Raises nothing for what is broken: that is a check that is
    not `ok`.
    """
    checks = [runtime(), await asyncio.to_thread(embedding_model)]
    try:
        config = load_config(directory, env)
        catalog = await discover(config, os.environ if env is None else env, probe_local=probe_local)
        if probe_local:
            catalog = await ask_all_servers(catalog)
    except ConfigError as error:
        return [*checks, Check("configuration", False, str(error), "correct this and run doctor again")]
    files = ", ".join(map(str, config.files))
    checks.append(Check("configuration", True, files or f"no {FILE_NAME}; the defaults hold"))
    checks += [Check("notice", None, notice) for notice in catalog.notices]
    if catalog.primary == SIMULATOR and not config.choice("default"):
        checks.append(
            Check(
                "models", None, "no key and no local model found; what could be used stands below", NO_MODEL
            )
        )
    checks += await check_providers(catalog, transport)
    return checks + await check_models(catalog, transport, before_probe)
