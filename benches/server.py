"""What the server adds to the library: time to the first token, memory of a stream that waits, CPU of a delivery.

    python benches/server.py

Provider, server and this client are three processes. The first token: 50 runs at once, one started every 20 ms, by
the library in this process and through the server, in turns; both count from the call to the first text of an agent.
Memory is what the server's process gained for 200 runs that wait for their provider, and for a viewer of each. CPU of
a delivery is what ten more viewers of each run cost the server, for each event that they were sent.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from contextlib import aclosing
from pathlib import Path

from _machine import machine
from _process import cpu_s, process
from _served import CONFIG, KEY
from facilitair import Client
from facilitair import events as ev
from facilitair.server.serving import serve as serve_forever
from facilitair.server.settings import server_settings
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.server import Simulator

RUNS, ROUNDS, APART_S = 50, 4, 0.02
WAITING = 200
VIEWERS = 10
CANCELS = 40
WORDS = " ".join(f"Sentence {n} goes on and ends." for n in range(20))


async def provide() -> None:
    scripts = {
        "steady": Script(text=WORDS, ttft_s=0.2, tokens_per_s=60),
        "mute": Script(text="Never said.", ttft_s=3600),
        "brief": Script(text="That is all.", ttft_s=0.01, tokens_per_s=100),
    }
    async with Simulator(Brain(scripts)) as simulator:
        print(simulator.base_url, flush=True)
        await asyncio.Event().wait()


async def serve() -> None:
    async with Client(CONFIG) as client:
        settings = server_settings(CONFIG, {"FACILITAIR_SERVER_KEY": KEY})
        await serve_forever(settings, client, lambda url: print(url, flush=True))


class Server:
    """The server under measurement, spoken to in HTTP/1.0 so that reading an answer costs little."""

    def __init__(self, pid: int, url: str) -> None:
        self.port = int(url.rpartition(":")[2])
        self._pid = pid

    async def open(
        self, method: str, path: str, body: bytes = b""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        head = f"{method} {path} HTTP/1.0\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer

    async def start(self, model: str) -> str:
        body = json.dumps({"task": "Measure", "models": f"openai/{model}"}).encode()
        reader, writer = await self.open("POST", "/api/stream/task", body)
        answer = json.loads(await reader.read())
        writer.close()
        stream_id: str = answer["stream_id"]
        return stream_id

    async def watch(self, stream_id: str) -> int:
        """Watch to the end; return how many events came."""
        reader, writer = await self.open("GET", f"/api/stream/events/{stream_id}")
        count = (await reader.read()).count(b"\ndata: ")
        writer.close()
        return count

    def rss_kb(self) -> float:
        return (
            int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
        )

    def cpu_s(self) -> float:
        return cpu_s(self._pid)


async def first_token_of_library(client: Client, delay: float) -> float:
    await asyncio.sleep(delay)
    began, first = time.perf_counter(), None
    async with aclosing(aiter(client.collaborate("Measure", models="openai/steady"))) as events:
        async for event in events:
            if first is None and isinstance(event, ev.TokenStreamEvent):
                first = time.perf_counter() - began
    assert first is not None
    return first


async def first_token_of_server(server: Server, delay: float) -> float:
    await asyncio.sleep(delay)
    began = time.perf_counter()
    reader, writer = await server.open("GET", "/api/collaborate/stream?task=Measure&models=openai/steady")
    while b"\nevent: token_stream\n" not in await reader.readuntil(b"\n\n"):
        pass
    first = time.perf_counter() - began
    await reader.read()
    writer.close()
    return first


async def first_tokens(server: Server, provider: str) -> list[str]:
    library: list[float] = []
    served: list[float] = []
    delays = [n * APART_S for n in range(RUNS)]
    env = {"OPENAI_BASE_URL": provider, "OPENAI_API_KEY": "sk-none"}
    async with Client(CONFIG, env=env) as client:
        await first_token_of_library(client, 0)  # imports, discovery and connections are not the subject
        await first_token_of_server(server, 0)
        for _ in range(ROUNDS):
            library += await asyncio.gather(*(first_token_of_library(client, delay) for delay in delays))
            served += await asyncio.gather(*(first_token_of_server(server, delay) for delay in delays))
    rows = []
    for name, place in (("p50", 49), ("p99", 98)):
        a, b = (1000 * statistics.quantiles(values, n=100)[place] for values in (library, served))
        rows.append(f"| first token, {name} | {a:.1f} ms | {b:.1f} ms | {b - a:+.1f} ms |")
    return [
        f"| {RUNS} runs at once, {ROUNDS} rounds | library | server | added |",
        "|---|---:|---:|---:|",
        *rows,
    ]


async def memory(server: Server) -> list[str]:
    before = server.rss_kb()
    ids = [await server.start("mute") for _ in range(WAITING)]
    await asyncio.sleep(1)
    waiting = server.rss_kb()
    viewers = [await server.open("GET", f"/api/stream/events/{stream_id}") for stream_id in ids]
    await asyncio.sleep(1)
    watched = server.rss_kb()
    for _, writer in viewers:
        writer.close()
    for stream_id in ids:
        reader, writer = await server.open("POST", f"/api/stream/cancel/{stream_id}")
        await reader.read()
        writer.close()
    return [
        f"| {WAITING} of each | memory |",
        "|---|---:|",
        f"| a run that waits for its provider, with its log and connection | {(waiting - before) / WAITING:.0f} KB |",
        f"| a viewer of it | {(watched - waiting) / WAITING:.0f} KB |",
    ]


async def cancel(server: Server, provider: str) -> list[str]:
    """From the request to cancel until the provider's own count of open streams is back at zero."""

    async def took(model: str) -> float:
        stream_id = await server.start(model)
        while not await open_streams(provider):
            pass
        await asyncio.sleep(0.3)  # the steady one writes by now
        began = time.perf_counter()
        _, writer = await server.open("POST", f"/api/stream/cancel/{stream_id}")
        while await open_streams(provider):
            pass
        writer.close()
        return 1000 * (time.perf_counter() - began)

    rows = []
    for model, when in (("mute", "before its first token"), ("steady", "while it writes")):
        found = [await took(model) for _ in range(CANCELS)]
        rows.append(f"| a run {when} | {statistics.median(found):.1f} ms | {max(found):.1f} ms |")
    return [
        f"| {CANCELS} cancels: until the provider's connection is closed | median | largest |",
        "|---|---:|---:|",
        *rows,
    ]


async def open_streams(provider: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(provider.split(":")[2].split("/")[0]))
    writer.write(b"GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    count: int = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])["open_streams"]
    return count


async def cpu(server: Server) -> list[str]:
    async def cost(viewers: int) -> tuple[float, int]:
        ids = [await server.start("steady") for _ in range(20)]
        began = server.cpu_s()
        seen = await asyncio.gather(*(server.watch(name) for name in ids for _ in range(viewers)))
        return server.cpu_s() - began, sum(seen)

    (few_s, few), (many_s, many) = await cost(1), await cost(1 + VIEWERS)
    return [
        "| CPU of the server | |",
        "|---|---:|",
        f"| a run's event, made and sent to one viewer | {1e6 * few_s / few:.0f} us |",
        f"| sent to one more viewer | {1e6 * (many_s - few_s) / (many - few):.0f} us |",
    ]


async def main() -> None:
    with (
        process(__file__, "provide") as (_, provider),
        process(__file__, "serve", OPENAI_BASE_URL=provider, OPENAI_API_KEY="sk-none") as (pid, url),
    ):
        server = Server(pid, url)
        for table in (
            await first_tokens(server, provider),
            await memory(server),
            await cancel(server, provider),
            await cpu(server),
        ):
            print("\n".join(table), end="\n\n")
    print(machine("uvicorn", "starlette", "fastapi"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["provide"]:
            asyncio.run(provide())
        case ["serve"]:
            asyncio.run(serve())
        case _:
            asyncio.run(main())
