"""Which providers answer: one tiny request to each that could be used, over the same path as a run.

That costs a few tokens each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from facilitair_rust import Closed, Content, Failed, Finished, Reasoning, StreamError

from ..config import FILE_NAME
from ..errors import ConfigError
from ..keys import redact
from ..providers.catalog import SIMULATOR, Catalog, table
from ..providers.http import HttpTransport
from ..providers.model import Message, Model
from ..transport import Channel, Transport
from .check import Check

_QUESTION: Final = (Message("user", "Say ok."),)
_LONGEST_S: Final = 30.0


async def check_providers(catalog: Catalog, transport: Transport | None) -> list[Check]:
    """Return one check for each provider: what it answered, or what it lacks to be asked."""
    available = catalog.available()
    async with opened(transport) as asked, asyncio.TaskGroup() as group:
        tasks = [group.create_task(_provider(catalog, name, asked)) for name in available]
    checks = [task.result() for task in tasks]
    absent = [name for name in table().providers if name not in available and name != SIMULATOR]
    return checks + [_absent(catalog, name) for name in absent]


@asynccontextmanager
async def opened(transport: Transport | None) -> AsyncIterator[Transport]:
    """Give `transport`, or HTTP that is closed afterwards."""
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
    if reason := catalog.unready.get(name):
        return Check(name, False, reason, "then run doctor again")
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
                    return Check(model.provider, False, message, advice(catalog, model, error))
                case Closed():
                    return Check(
                        model.provider, False, f"{model.name}: the stream was closed", "run doctor again"
                    )


def advice(catalog: Catalog, model: Model, error: StreamError) -> str:
    """Return what to do about an error of a model."""
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
