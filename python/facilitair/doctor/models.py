"""What the models can do that runs would ask: their tiers, and whether that is so where it is tried out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from ..config import FILE_NAME
from ..keys import redact
from ..providers.catalog import Catalog
from ..providers.model import Model
from ..providers.probe import Habit, Probed, announcement, probe, used_models
from ..transport import Transport
from .check import Check
from .providers import advice, opened

_HABITS: Final[Mapping[Habit, str]] = {
    "continues": "goes on in place from its own text",
    "restarts": "begins anew instead of going on from its own text",
    "refuses": "refuses its own text as a beginning",
}


async def check_models(
    catalog: Catalog, transport: Transport | None, before_probe: Callable[[str], None] | None
) -> list[Check]:
    """Return one check for each model that runs would ask: its tier, and whether that is so where it was tried."""
    models = await asyncio.to_thread(used_models, catalog)
    if before_probe is None or not models:
        return [
            Check(model.id, None, f"tier {model.tier}, says {catalog.tier_source(model)}") for model in models
        ]
    before_probe(await asyncio.to_thread(announcement, models))
    async with opened(transport) as asked, asyncio.TaskGroup() as group:
        tasks = [group.create_task(probe(model, asked)) for model in models]
    return [_probed(catalog, model, task.result()) for model, task in zip(models, tasks, strict=True)]


def _probed(catalog: Catalog, model: Model, found: Probed) -> Check:
    if found.error is not None:
        message = redact(f"{found.error.message} ({found.error.code})", catalog.secrets())
        return Check(model.id, False, message, advice(catalog, model, found.error))
    if found.late or found.seconds is None:
        return Check(model.id, False, "nothing came in time", "try again, or look at its status page")
    source, took = catalog.tier_source(model), f"first token after {found.seconds:.2f} s"
    if found.habit == "silent":
        return Check(
            model.id, None, f"{took}; tier {model.tier} ({source}) not tried: it said no visible word"
        )
    habit, continues = _HABITS[found.habit], found.habit == "continues"
    if continues == (model.tier == "prefill"):
        return Check(model.id, True, f"{took}; tier {model.tier} ({source}) confirmed: it {habit}")
    other = "prefill" if continues else "resume"
    fix = f'if it stays so, set tier = "{other}" in [providers.{model.provider}] of {FILE_NAME}'
    # One that can do more than is asked of it works all the same.
    ok = None if continues else False
    return Check(model.id, ok, f"{took}; differs from {source} (tier {model.tier}): it {habit}", fix)
