"""Ten thousand runs leave nothing behind: `python -m tests.engine.leaks [RUNS]`.

Runs on scripts and a virtual clock, some of which fail, are cancelled or left in the middle. When the first tenth has
warmed all caches, objects and memory are counted, and again at the end.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from contextlib import aclosing
from pathlib import Path

from facilitair import Client, Config
from facilitair.clock import VirtualClock
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.script import ScriptTransport

RUNS = 10_000
ALLOWED_OBJECTS = 200
ALLOWED_KB = 2_000


async def one(client: Client, number: int) -> None:
    kind = ("whole", "left", "cancelled", "failed")[number % 4]
    models = "simulator/coder+500" if kind == "failed" else "simulator/coder"
    run = client.collaborate("Sort a list", models=models)
    seen = 0
    async with aclosing(aiter(run)) as events:
        async for _ in events:
            seen += 1
            if seen == 20 and kind == "left":
                return
            if seen == 20 and kind == "cancelled":
                run.cancel("enough")


def count() -> tuple[int, float]:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(gc.get_objects()), pages * os.sysconf("SC_PAGE_SIZE") / 1024


async def check(runs: int) -> tuple[int, float]:
    """Return how many objects and KB there are more after `runs` runs than after a tenth of them."""
    script = Script(text="One thing. Another thing. A third one.", ttft_s=0.1)
    for number in range(runs):
        # A transport for each, since it keeps what was asked for the tests to look at.
        transport = ScriptTransport(Brain({"coder": script}), VirtualClock())
        async with Client(Config(), env={}, transport=transport) as client:
            await one(client, number)
        if number == runs // 10:
            before = count()
    after = count()
    return after[0] - before[0], after[1] - before[1]


def main() -> int:
    runs = int(sys.argv[1]) if sys.argv[1:] else RUNS
    objects, memory = asyncio.run(check(runs))
    print(f"{runs:,} runs: {objects:+} objects, {memory:+.0f} KB")  # noqa: T201
    return int(objects > ALLOWED_OBJECTS or memory > ALLOWED_KB)


if __name__ == "__main__":
    sys.exit(main())
