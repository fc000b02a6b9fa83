"""A real server in a process of its own, with the simulator, as `facilitair serve` starts it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .command import start

KEY = "sk-fac-for-tests-0123456789"
SIMULATED = '[models]\nprovider = "simulator"\n'


@contextmanager
def serving(directory: Path, speed: str = "20") -> Iterator[str]:
    """Serve runs of simulated models from `directory`; give the server's URL."""
    (directory / "facilitair.toml").write_text(SIMULATED)
    env = {"FACILITAIR_SERVER_KEY": KEY, "FACILITAIR_SIMULATOR_SPEED": speed}
    with start("serve", "--port", "0", cwd=directory, **env) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            assert url, process.communicate(timeout=5)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)


@dataclass
class Relay:
    """A relay to a server that cuts its connections after as many bytes as `limits` says, one after the other."""

    server: str
    limits: Iterator[int]
    url: str = ""
    cuts: int = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection, both ways, until its limit or its end."""
        address = urlsplit(self.server)
        from_server, to_server = await asyncio.open_connection(address.hostname, address.port)
        ways = [
            asyncio.create_task(_copy(reader, to_server, sys.maxsize)),
            asyncio.create_task(_copy(from_server, writer, next(self.limits))),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            self.cuts += ways[1].done() and ways[1].result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            to_server.close()
            writer.close()


@asynccontextmanager
async def relay(server: str, limits: Iterator[int]) -> AsyncIterator[Relay]:
    """Run a relay to `server`; its limits may end in no limit, such as `sys.maxsize`."""
    it = Relay(server, limits)
    carrying: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(asyncio.create_task(it.carry(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        listening.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> bool:
    """Copy at most `limit` bytes; return whether that was all that could be."""
    try:
        while limit and (data := await reader.read(min(limit, 4096))):
            writer.write(data)
            await writer.drain()
            limit -= len(data)
    except ConnectionError:
        return False
    return not limit
