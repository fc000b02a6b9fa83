"""What is there to work with: the configuration's choice, else a key, else a local server, else the simulator.

Servers of the user's own are asked which models they have, all at once, within a second and a half, and only where
the answer matters. No other host is asked anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from .. import lazy, pricing
from ..config import FILE_NAME, Config, is_private_host
from ..errors import ConfigError, NotAnsweredError
from ..keys import Secret
from ..protocols import Wire
from . import messages
from .catalog import SIMULATOR, Catalog, Installed, table
from .model import auth_headers

_PROBE_S: Final = 1.5
_LARGEST_ANSWER: Final = 4 * 1024 * 1024
_NOT_FOR_CHAT: Final = ("embed", "bge-", "rerank", "minilm", "whisper")


async def discover(config: Config, env: Mapping[str, str], *, probe_local: bool = True) -> Catalog:
    """Return the models that can be used, asking local servers unless `probe_local` is false.

    The first of these that is there becomes the primary provider: `[models] provider`; the provider of
    `[models] default`, or of the preset's default; keys in the order of `table.toml`; servers named by
    `VLLM_BASE_URL`, `LLAMACPP_BASE_URL`, `OLLAMA_HOST`; Ollama on its own port; the simulator. Raises `ConfigError`
    for a choice that cannot be used.
    """
    catalog = Catalog(config=config, env=env)
    chosen = _chosen(config)
    preferred = chosen or _first_with_key(catalog)
    to_ask = [_where(catalog, name) for name in (_to_ask(catalog, preferred) if probe_local else [])]
    async with asyncio.TaskGroup() as group:
        if preferred not in (None, SIMULATOR, *(where.name for where in to_ask)):
            # The import takes 0.3 s, and a price is wanted before the first request.
            group.create_task(asyncio.to_thread(pricing.load))
        asking = group.create_task(_ask(to_ask))
    catalog = asking.result().added_to(catalog)
    primary, notices = _decide(catalog, preferred)
    return msgspec.structs.replace(catalog, primary=primary, notices=tuple(notices))


def what_decides(config: Config) -> tuple[str | None, bool]:
    """Return what of a configuration `discover` looks at, apart from addresses and keys: two configurations of one
    client that agree in it find the same."""
    return _chosen(config), bool(config.choice("default"))


async def ask_all_servers(catalog: Catalog) -> Catalog:
    """Return the catalog with what every kind of local server has, also those that no run would look for. Servers
    whose address or key cannot be used are left out."""
    to_ask = []
    for name, spec in table().providers.items():
        if spec.local and name != SIMULATOR:
            with suppress(ConfigError):
                to_ask.append(_where(catalog, name))
    return (await _ask(to_ask)).added_to(catalog)


def _chosen(config: Config) -> str | None:
    if config.simulate:
        return SIMULATOR
    if config.provider:
        return config.provider
    names = config.choice("default") or config.preset_choice(config.preset, "default")
    return names[0].partition("/")[0] if names else None


def _first_with_key(catalog: Catalog) -> str | None:
    servers = {name for name, spec in table().providers.items() if spec.local}
    return next((name for name in catalog.available() if name not in servers), None)


def _servers(catalog: Catalog) -> list[str]:
    """Return the local servers to look for: those that somebody placed, and Ollama, which has a port of its own."""
    servers = [name for name, spec in table().providers.items() if spec.local and name != SIMULATOR]
    return [name for name in servers if name == "ollama" or catalog.placed_by(name)]


def _to_ask(catalog: Catalog, preferred: str | None) -> list[str]:
    if preferred is None:
        return _servers(catalog)
    if preferred == SIMULATOR:
        return []
    known = table().providers.get(preferred)
    host = urlsplit(catalog.base_url(preferred)).hostname or ""
    return [preferred] if (known and known.local) or is_private_host(host) else []


def _decide(catalog: Catalog, preferred: str | None) -> tuple[str, list[str]]:
    """Return the primary provider, and what the user should be told. Raises `ConfigError` for a server that somebody
    named, that is there and cannot be used."""
    installed = catalog.installed
    if preferred is not None:
        return preferred, _moved(catalog, preferred, installed.get(preferred, ()))
    notices: list[str] = []
    for name in _servers(catalog):
        title, url = table().providers[name].title, catalog.base_url(name)
        if found := installed.get(name):
            how = "" if catalog.placed_by(name) else "no key found: "
            return name, [*notices, f"{how}using {title} at {url}, which has {_some(found)}"]
        if reason := catalog.unready.get(name):
            if catalog.placed_by(name):
                raise ConfigError(reason)
            notices.append(reason)
            continue
        if name in installed:
            hint = " (run `ollama pull NAME`)" if name == "ollama" else ""
            notices.append(f"{title} runs at {url} but has no model{hint}")
        elif catalog.placed_by(name):
            notices.append(f"{title} does not answer at {url}")
    return SIMULATOR, notices


def _moved(catalog: Catalog, name: str, found: tuple[Installed, ...]) -> list[str]:
    """Say so when a provider with presets of its own is somewhere else, where its models may be others."""
    spec, place = table().providers.get(name), catalog.placed_by(name)
    if spec is None or place is None or not spec.presets or catalog.config.choice("default"):
        return []
    if found:
        return [f"{place} is {catalog.base_url(name)}, which has {_some(found)}"]
    notice = (
        f"{place} is {catalog.base_url(name)}: its models are taken to be named as those of {spec.title}; if they "
        f'are not, set [models] default = "{name}/NAME" in {FILE_NAME}'
    )
    return [notice]


def _some(found: tuple[Installed, ...]) -> str:
    names = ", ".join(model.name for model in found[:3])
    return names if len(found) <= 3 else f"{names} and {len(found) - 3} more"


# --- asking a server -----------------------------------------------------------------------------------------------


class _Tag(msgspec.Struct):
    name: str
    size: int = 0


class _Tags(msgspec.Struct):
    models: tuple[_Tag, ...] = ()


class _Entry(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: tuple[_Entry, ...] = ()


class _Where(msgspec.Struct, frozen=True):
    """A server to ask for its models."""

    name: str
    url: str
    key: Secret | None
    wire: Wire


def _where(catalog: Catalog, name: str) -> _Where:
    base_url, wire = catalog.base_url(name), catalog.wire(name)
    url = f"{base_url}/models"
    if name == "ollama":
        url = f"{base_url.removesuffix('/v1')}/api/tags"
    elif wire == "anthropic":
        url = messages.models_url(base_url)
    return _Where(name, url, catalog.key(name), wire)


class _Answers(msgspec.Struct, frozen=True):
    """What servers answered: what each has, and why some cannot be used. Who does not answer is in neither."""

    installed: dict[str, tuple[Installed, ...]]
    unready: dict[str, str]

    def added_to(self, catalog: Catalog) -> Catalog:
        """Return the catalog with these answers; what it knew stays."""
        return msgspec.structs.replace(
            catalog,
            installed={**self.installed, **catalog.installed},
            unready={**self.unready, **catalog.unready},
        )


async def _ask(servers: Iterable[_Where]) -> _Answers:
    async with asyncio.TaskGroup() as group:
        asked = {where.name: group.create_task(_installed(where)) for where in servers}
    answers = {name: task.result() for name, task in asked.items()}
    return _Answers(
        {name: answer for name, answer in answers.items() if isinstance(answer, tuple)},
        {name: answer for name, answer in answers.items() if isinstance(answer, str)},
    )


def _unready(where: _Where, status: int) -> str | None:
    """Return why a server cannot be used, when it says so."""
    spec = table().providers.get(where.name)
    title = where.name if spec is None else spec.title
    if status == 503:
        return (
            f"{title} at {where.url} is still loading its model (503); wait until it answers, and try again"
        )
    if status in (401, 403):
        variables = "" if spec is None or not spec.key_env else f": set {spec.key_env[0]}"
        return f"{title} at {where.url} wants a key ({status}){variables}"
    return None


async def _installed(where: _Where) -> tuple[Installed, ...] | str | None:
    """Return the chat models a server has, in its own order, or why it cannot be used, or `None` when it does not
    answer as one."""
    try:
        async with asyncio.timeout(_PROBE_S):
            body = await _get(where.url, auth_headers(where.wire, where.key, {}))
        if where.url.endswith("/api/tags"):
            found = [Installed(tag.name, tag.size) for tag in msgspec.json.decode(body, type=_Tags).models]
        else:
            found = [Installed(entry.id) for entry in msgspec.json.decode(body, type=_Models).data]
    except NotAnsweredError as error:
        return None if error.status is None else _unready(where, error.status)
    except (OSError, TimeoutError, UnicodeError, msgspec.DecodeError):
        return None
    return tuple(model for model in found if not any(word in model.name.lower() for word in _NOT_FOR_CHAT))


async def _get(url: str, headers: Mapping[str, str]) -> bytes:
    """Return the body of a GET. Follows no redirect and no proxy: the host is on this machine or network."""
    await lazy.load("h11")  # only where a local server is asked
    import h11

    parts = urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    reader, writer = await asyncio.open_connection(host, parts.port or (443 if tls else 80), ssl=tls or None)
    try:
        connection = h11.Connection(h11.CLIENT)
        fields = [
            ("host", parts.netloc),
            ("accept", "application/json"),
            ("connection", "close"),
            *headers.items(),
        ]
        request = h11.Request(method="GET", target=parts.path or "/", headers=fields)
        writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        body = bytearray()
        while True:
            event: Any = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65_536))
            elif isinstance(event, h11.Response) and event.status_code != 200:
                raise NotAnsweredError(f"{url} answered {event.status_code}", event.status_code)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > _LARGEST_ANSWER:
                    raise NotAnsweredError(f"{url} answered more than {_LARGEST_ANSWER} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)
            elif isinstance(event, h11.ConnectionClosed):
                raise NotAnsweredError(f"{url} broke off")
    except h11.ProtocolError as error:
        raise NotAnsweredError(f"{url} speaks no HTTP: {error}") from error
    finally:
        writer.transport.abort()
