"""`facilitair serve`: the server, until it is stopped. Whatever can be wrong is said before it listens."""

from __future__ import annotations

import asyncio
import os
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec

from ..config import load_config
from ..errors import ConfigError
from ..server.settings import server_settings
from .commands import ADDRESS_VARIABLES, KEY_VARIABLE, Serve
from .exit_codes import ExitCode
from .messages import say, write_line
from .render.words import count

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..server.reporting import ErrorHook
    from ..server.settings import ServerSettings

_PACKAGES = ("fastapi", "httptools", "prometheus_client", "uvicorn", "websockets")


def run(command: Serve) -> ExitCode:
    """Serve until Ctrl-C or SIGTERM, which is the normal end.

    Raises `UsageError` for an address that cannot be listened on, `ConfigError` for a missing key or package.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{missing[0]} is not installed; it comes with the extra `server`: pip install '.[server]' in the checkout "
            "of Facilitair, or with the path of its wheel in place of the dot."
        )
    config = load_config()
    if command.simulate:
        config = msgspec.structs.replace(config, simulate=True)
    settings = server_settings(
        config, host=command.host, port=command.port, allowed_hosts=command.allowed_hosts
    )

    from ..providers.catalog import Catalog
    from ..server import logging_setup, reporting, tracing

    on_error = reporting.hook_from(os.environ)
    secrets = (*settings.keys, *Catalog(config, dict(os.environ)).secrets())
    logging_setup.configure(
        command.log_format or settings.log_format, command.log_level or settings.log_level, secrets
    )
    with tracing.exporting(os.environ):
        asyncio.run(_serve(config, settings, on_error))
    return ExitCode.OK


async def _serve(config: Config, settings: ServerSettings, on_error: ErrorHook | None) -> None:
    from ..client import Client
    from ..providers.discovery import discover
    from ..server.serving import serve

    try:
        (await discover(config, os.environ)).for_role("synthesizer")
    except ConfigError as error:
        say(f"every run will be refused until this is mended: {error}")
    async with Client(config) as client:
        await serve(settings, client, _announcer(settings), on_error, _tell_stop)


def _tell_stop(number: int, runs: int) -> None:
    """Say what Ctrl-C does; who sends SIGTERM is no reader."""
    if number == signal.SIGINT:
        ending = f", and {count(runs, 'run')} with it" if runs else ""
        say(f"stopping{ending}; Ctrl-C again waits for nobody")


def _announcer(settings: ServerSettings) -> Callable[[str], None]:
    """Return what tells the address, and a key that nobody else knows yet. This is the only time that it is shown."""

    def announce(base_url: str) -> None:
        print(base_url, flush=True)  # noqa: T201
        if settings.generated:
            say(
                "a key was made for this start (FACILITAIR_SERVER_KEY keeps one of your own). In another terminal:"
            )
            key = settings.keys[0].reveal()
            write_line(f"  export {ADDRESS_VARIABLES[0]}={base_url} {KEY_VARIABLE}={key}")
            write_line('  facilitair collaborate "Design a rate limiter"')

    return announce
