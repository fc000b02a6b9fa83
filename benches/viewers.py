"""What one more viewer costs the server, against a bare ASGI app that writes the same bytes in the same pieces.

    python benches/viewers.py

20 runs of one agent that writes 60 tokens a second, watched over SSE by 1 and by 11 viewers each: what ten more cost
the server's process. What one viewer of each run gets is kept, piece by piece with its time, and a bare app under the
same uvicorn, in a process of its own, plays that to ten viewers of each run. Parsers and loops are tried in turns.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvicorn
from msgspec.structs import replace

from _machine import machine
from _process import cpu_s, process
from _served import CONFIG, KEY
from facilitair import Client
from facilitair.server.http1 import Http1Protocol
from facilitair.server.serving import listen, make_server
from facilitair.server.settings import server_settings
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.server import Simulator

RUNS, MORE, ROUNDS = 20, 10, 3
WORDS = " ".join(f"Sentence {n} goes on and ends." for n in range(60))
STEADY = replace(CONFIG, models={"default": "openai/steady"})
Piece = tuple[float, str]  # seconds since the first, and the text


def runner(loop: str) -> asyncio.Runner:
    if loop == "asyncio":
        return asyncio.Runner()
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def provide() -> None:
    scripts = {
        "steady": Script(text=WORDS, ttft_s=0.3, tokens_per_s=60),
        "brief": Script(text="That is all.", ttft_s=0.01, tokens_per_s=100),
    }
    async with Simulator(Brain(scripts)) as simulator:
        print(simulator.base_url, flush=True)
        await asyncio.Event().wait()


async def serve() -> None:
    async with Client(STEADY) as client:
        settings = server_settings(STEADY, {"FACILITAIR_SERVER_KEY": KEY})
        with listen(settings) as listening:
            print(listening.getsockname()[1], flush=True)
            await make_server(settings, client).serve(sockets=[listening])


async def bare(recorded: bytes, http: str) -> None:
    """Play what was recorded: `GET /N` gets the pieces of run N, each when it is due."""
    runs: list[list[tuple[float, bytes]]] = [
        [(when, text.encode("latin-1")) for when, text in run] for run in json.loads(recorded)
    ]
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store, no-transform"),
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        loop = asyncio.get_running_loop()
        began = loop.time()
        for when, body in runs[int(scope["path"][1:])]:
            if (left := began + when - loop.time()) > 0:
                await asyncio.sleep(left)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    settings = server_settings(STEADY, {"FACILITAIR_SERVER_KEY": KEY})
    protocol: Any = {"httptools": Http1Protocol, "h11": "h11"}[http]
    config = uvicorn.Config(app, http=protocol, log_level="warning", access_log=False, server_header=False)
    with listen(settings) as listening:
        print(listening.getsockname()[1], flush=True)
        await uvicorn.Server(config).serve(sockets=[listening])


async def request(
    port: int, method: str, path: str, body: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n"
    )
    writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def start(port: int) -> str:
    reader, writer = await request(port, "POST", "/api/stream/task", b'{"task": "Measure"}')
    answer = json.loads(await reader.readuntil(b"}}"))
    writer.close()
    stream_id: str = answer["stream_id"]
    return stream_id


async def watch(port: int, path: str) -> list[Piece]:
    """Return the pieces of a chunked answer, each with the time at which it came."""
    reader, writer = await request(port, "GET", path)
    pieces: list[Piece] = []
    began = time.monotonic()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        data = await reader.readexactly(size + 2)
        pieces.append((time.monotonic() - began, data[:-2].decode("latin-1")))
    writer.close()
    return pieces


async def ours(pid: int, port: int, viewers: int) -> tuple[float, list[list[Piece]]]:
    """Return the CPU seconds of the server for its runs with so many viewers each, and what the first of each got."""
    ids = [await start(port) for _ in range(RUNS)]
    began = cpu_s(pid)
    paths = [f"/api/stream/events/{name}" for name in ids for _ in range(viewers)]
    seen = await asyncio.gather(*(watch(port, path) for path in paths))
    return cpu_s(pid) - began, seen[::viewers]


async def cost_of_ours(loop: str) -> tuple[float, list[list[Piece]]]:
    """Return microseconds of CPU for a piece sent to one more viewer, and the pieces of the last round."""
    found = []
    with (
        process(__file__, "provide") as (_, provider),
        process(__file__, "serve", loop, OPENAI_BASE_URL=provider, OPENAI_API_KEY="sk-none") as (pid, port),
    ):
        await ours(pid, int(port), 1)  # what is done once is not the subject
        for _ in range(ROUNDS):
            few, _ = await ours(pid, int(port), 1)
            many, seen = await ours(pid, int(port), 1 + MORE)
            found.append(1e6 * (many - few) / (MORE * sum(map(len, seen))))
    return statistics.median(found), seen


async def cost_of_bare(file: Path, pieces: int, http: str, loop: str) -> float:
    found = []
    with process(__file__, "bare", str(file), http, loop) as (pid, port):
        for round_ in range(ROUNDS + 1):
            began = cpu_s(pid)
            await asyncio.gather(*(watch(int(port), f"/{n}") for n in range(RUNS) for _ in range(MORE)))
            if round_:
                found.append(1e6 * (cpu_s(pid) - began) / (MORE * pieces))
    return statistics.median(found)


async def main() -> None:
    print(machine("uvicorn", "httptools", "h11", "uvloop", "starlette", "fastapi"), flush=True)
    rows: list[tuple[str, str, str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "pieces.json"
        for loop in ("asyncio", "uvloop"):
            cost, seen = await cost_of_ours(loop)
            pieces = sum(map(len, seen))
            rows.append(("facilitair serve", "httptools", loop, cost))
            file.write_text(json.dumps(seen))
            for http in ("httptools", "h11"):
                cost = await cost_of_bare(file, pieces, http, loop)
                rows.append(("bare ASGI app", http, loop, cost))
    print(f"\n{pieces} pieces of {RUNS} runs, ten more viewers of each, median of {ROUNDS} rounds\n")
    print("| | parser | loop | CPU for a piece to one more viewer |\n|---|---|---|---:|")
    for name, http, loop, cost in rows:
        print(f"| {name} | {http} | {loop} | {cost:.1f} us |")
    costs = {row[:3]: row[3] for row in rows}
    ratio = costs["facilitair serve", "httptools", "asyncio"] / costs["bare ASGI app", "httptools", "asyncio"]
    print(f"\nfacilitair serve / bare app, httptools on asyncio: {ratio:.2f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["provide"]:
            asyncio.run(provide())
        case ["serve", loop]:
            with runner(loop) as running:
                running.run(serve())
        case ["bare", file, http, loop]:
            with runner(loop) as running:
                running.run(bare(Path(file).read_bytes(), http))
        case _:
            asyncio.run(main())
