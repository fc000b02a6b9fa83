"""A real server in a process of its own, with the simulator, as `facilitair serve` starts it."""

from __future__ import annotations

import asyncio
import signal
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

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection, both ways, until its limit."""
        address = urlsplit(self.server)
        from_server, to_server = await asyncio.open_connection(address.hostname, address.port)
        upwards = asyncio.create_task(_copy(reader, to_server))
        left = next(self.limits)
        try:
            while data := await from_server.read(min(left, 4096)):
                writer.write(data)
                await writer.drain()
                left -= len(data)
                if left <= 0:
                    self.cuts += 1
                    break
        except ConnectionError:
            pass
        finally:
            upwards.cancel()
            to_server.close()
            writer.close()


@asynccontextmanager
async def relay(server: str, limits: Iterator[int]) -> AsyncIterator[Relay]:
    """Run a relay to `server`; its limits may end in no limit, such as `sys.maxsize`."""
    it = Relay(server, limits)
    listening = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield it


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
