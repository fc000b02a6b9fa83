"""Listening: uvicorn around the application, and an end in which nobody is left waiting.

uvicorn ends its connections before the application, so that a stream which waits for its run would keep it from
ending. Here the runs end first: every viewer is sent the last events of its run, and its connection ends by itself.
Whoever does not read is cut off after `PATIENCE_S`, and whoever else is left after `CUT_OFF_S`; all in all a stop
takes less than five seconds. To be cut off is to lose the connection: what uvicorn cancels logs a traceback.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import uvicorn

from ..client import Client
from ..errors import UsageError
from .app import create_app
from .http1 import Http1Protocol
from .reporting import ErrorHook
from .runs import Runs
from .settings import ServerSettings

PATIENCE_S: Final = 1.0
CUT_OFF_S: Final = 2
ONE_PRESS_S: Final = 0.3  # a second signal this soon is the same press, from the kernel and from a shell
FULL_COLLECTION_EVERY: Final = 100  # collections of the middle generation
_BACKLOG: Final = 2048
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

# Told the signal that stops a server, and how many runs end with it.
StopHook: TypeAlias = Callable[[int, int], None]


class Server(uvicorn.Server):
    """A server that ends its `runs` before its connections. `stop` ends it; signals are the caller's matter."""

    def __init__(self, config: uvicorn.Config, runs: Runs) -> None:
        super().__init__(config)
        self.runs = runs

    def stop(self) -> None:
        """Ask for an orderly end; asked again, end at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: `serve` handles them, and returns when they have been obeyed."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the runs, then the connections."""
        for server in self.servers:
            server.close()
        await self.runs.close()
        await self._part_from_stalled()
        cutting = asyncio.get_running_loop().call_later(CUT_OFF_S, self._cut_off)
        await super().shutdown(sockets)
        cutting.cancel()
        if self.force_exit:  # uvicorn leaves the connections and the application open then
            self._cut_off()
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks, timeout=PATIENCE_S)
            await self.lifespan.shutdown()

    def _cut_off(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def _part_from_stalled(self) -> None:
        """Cut off who takes nothing after `PATIENCE_S`."""

        def stalled() -> list[asyncio.Transport]:
            transports = [connection.transport for connection in self.server_state.connections]
            return [transport for transport in transports if transport.get_write_buffer_size()]

        if stalled():
            await asyncio.sleep(PATIENCE_S)
        for transport in stalled():
            transport.abort()


def spare_pauses() -> None:
    """Let Python's collector look through what runs leave behind, and no more through all that was imported.

    A full collection stops every stream: 105 ms with 129,000 objects, of which 104,000 stood there since the start.
    They are set apart, and full collections come ten times more rarely, since runs leave hardly any cycles.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_EVERY)


def listen(settings: ServerSettings) -> socket.socket:
    """Return a listening socket. Raises `UsageError` when the address cannot be listened on."""
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        # `create_server` adds the address to its text; an unknown host has an error number of its own kind.
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error.strerror or str(error)
        raise UsageError(
            f"cannot listen on {settings.host} port {settings.port}: {why}. "
            "Choose another port, or 0 for a free one."
        ) from error
    # Inherited by each connection; asyncio does it only for sockets that name their protocol, which this one does not.
    # Without it the second part of an answer waits 40 ms for the acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def make_server(settings: ServerSettings, client: Client, on_error: ErrorHook | None = None) -> Server:
    """Return a server that is not yet listening; `await server.serve(sockets=[...])` runs it."""
    app = create_app(settings, client, on_error)
    config = uvicorn.Config(
        app,
        http=Http1Protocol,
        log_config=None,  # `logs` has configured it, or whoever embeds the server
        log_level="warning",  # below, it writes queries and frames
        access_log=False,  # it would write queries, and with them tickets
        server_header=False,
        timeout_graceful_shutdown=CUT_OFF_S + 1,  # for what goes on although its connection was cut
        ws_ping_interval=settings.heartbeat_s,
        ws_ping_timeout=settings.heartbeat_s * 3,
        ws_max_size=settings.max_body_bytes,
    )
    runs: Runs = app.state.runs
    return Server(config, runs)


async def serve(
    settings: ServerSettings,
    client: Client,
    announce: Callable[[str], None],
    on_error: ErrorHook | None = None,
    on_stop: StopHook | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is called with the base URL once the server listens.

    It takes the process for its own: its signals, and the settings of the garbage collector. Raises `UsageError` when
    the address cannot be listened on.
    """
    with listen(settings) as listening:
        host, port = listening.getsockname()[:2]
        server = make_server(settings, client, on_error)
        with _obedient(server, on_stop):
            spare_pauses()
            await asyncio.sleep(0)  # a Ctrl-C that came before ends here, not in uvicorn with a traceback
            announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
            await server.serve(sockets=[listening])


@contextmanager
def _obedient(server: Server, on_stop: StopHook | None) -> Iterator[None]:
    """Let a first signal stop the server and a second one hurry it; one that the parent ignores stays ignored.

    Afterwards all are ignored: the process has done what was asked and is about to end, which a late repeat of the
    press must not turn into a failure.
    """
    loop = asyncio.get_running_loop()
    pressed = -math.inf

    def obey(number: int) -> None:
        nonlocal pressed
        repeated = loop.time() - pressed < ONE_PRESS_S
        if not server.should_exit and on_stop is not None:
            on_stop(number, server.runs.active())
        if not repeated:
            pressed = loop.time()
            server.stop()

    taken = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, lambda number, _: loop.call_soon_threadsafe(obey, number))
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_IGN)
