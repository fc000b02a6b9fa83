"""What the server costs under load, against another commit of it: CPU for a provider's token, and the greatest rate.

    python benches/load.py [COMMIT] [--tree DIRECTORY] [--rates 5000,10000] [--limit]

Without a commit it measures this tree alone.

100 runs at a time of 5 agents each, one viewer a run; both servers in turns, with the same provider and the same
viewers, each a process of its own. The other commit is checked out into a directory (a temporary one unless `--tree`
names one that is kept) and set up by its own Makefile, which takes minutes the first time. A rate is held while the
agents take at most 2 % longer than their provider did itself.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from _load import Viewer, provider, stats
from _machine import machine
from _process import cpu_s

RUNS, AGENTS, RUN_S = 100, 5, 8.0
SECONDS = 12.0
KEY = "sk-fac-for-the-soak-0123456789"
HELD = 1.02
HERE = Path(__file__).parents[1]


@dataclass
class Row:
    """What one server did for some seconds."""

    tokens_per_s: float
    cpu_us: float  # for a provider's token
    cores: float
    frames_per_s: float
    pace: float  # agents' time / provider's
    latency_ms: tuple[float, float]  # from a token's write to its viewer: median, p99
    wrong: int


@contextmanager
def server(tree: Path, base_url: str) -> Iterator[tuple[int, int]]:
    """Run the soak's server of a tree; give its process id and port."""
    env = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "sk-none"}
    command = [str(tree / ".venv/bin/python"), "-m", "tests.server.soak", "serve", str(RUNS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, cwd=tree) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline().decode().strip()
            assert line, f"the server of {tree} did not start"
            yield child.pid, int(line.rpartition(":")[2])
        finally:
            child.terminate()
            child.wait(20)


async def _seat(port: int, number: int, until: float, done: list[Viewer]) -> None:
    """Keep one run going and watched."""
    await asyncio.sleep(RUN_S * number / RUNS)
    head = f"GET /api/collaborate/stream?task=Sort HTTP/1.0\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\r\n"
    loop = asyncio.get_running_loop()
    while time.monotonic() < until:
        viewer = Viewer(head.encode(), times=number % 10 == 0)
        await loop.create_connection(lambda viewer=viewer: viewer, "127.0.0.1", port)  # type: ignore[misc]
        await viewer.ended
        done.append(viewer)


async def load(tree: Path, rate: float, seconds: float = SECONDS) -> Row:
    """Return what the server of `tree` does at `rate` tokens a second."""
    with provider(RUN_S, rate / RUNS / AGENTS) as base_url, server(tree, base_url) as (pid, port):
        done: list[Viewer] = []
        until = time.monotonic() + 2 * RUN_S + seconds
        seats = [asyncio.create_task(_seat(port, n, until, done)) for n in range(RUNS)]
        await asyncio.sleep(2 * RUN_S)
        began, cpu, (tokens, _), first = time.monotonic(), cpu_s(pid), await stats(base_url), len(done)
        await asyncio.sleep(seconds)
        took, cpu = time.monotonic() - began, cpu_s(pid) - cpu
        written, durations = await stats(base_url)
        for seat in seats:
            seat.cancel()
        await asyncio.gather(*seats, return_exceptions=True)
    seen = done[first:]
    under_way = statistics.quantiles([x for viewer in seen for x in viewer.latencies] or [0.0, 0.0], n=100)
    agents = [d for viewer in seen for d in viewer.durations]
    return Row(
        tokens_per_s=(written - tokens) / took,
        cpu_us=1e6 * cpu / (written - tokens),
        cores=cpu / took,
        frames_per_s=sum(v.frames for v in seen) / took,
        pace=statistics.mean(agents) / statistics.mean(durations) if agents and durations else float("inf"),
        latency_ms=(1000 * under_way[49], 1000 * under_way[98]),
        wrong=sum(not viewer.completed for viewer in seen),
    )


async def greatest(tree: Path, start: float) -> float:
    """Return the greatest rate that is held, in steps of a tenth, in tokens a second as measured."""
    held, rate = 0.0, start
    while True:
        row = await load(tree, rate, 8)
        print(f"  {rate:,.0f} wanted: {show(row)}", flush=True)
        if row.pace > HELD or row.wrong:
            return held
        held, rate = row.tokens_per_s, rate * 1.1


def show(row: Row) -> str:
    return (
        f"{row.tokens_per_s:,.0f} tokens/s, {row.cpu_us:.1f} us of CPU a token ({row.cores:.2f} cores), "
        f"{row.frames_per_s:,.0f} frames/s, agents' time / provider's {row.pace:.3f}, "
        f"a token is under way for {row.latency_ms[0]:.0f} ms (p99 {row.latency_ms[1]:.0f}), {row.wrong} wrong"
    )


def _run(place: Path, program: str, *arguments: str) -> None:
    found = shutil.which(program)
    if found is None or subprocess.run([found, *arguments], cwd=place, check=False).returncode:
        sys.exit(f"`{program} {' '.join(arguments)}` failed in {place}")


@contextmanager
def checked_out(commit: str | None, tree: Path | None) -> Iterator[Path | None]:
    """Give a directory with the commit, set up; `None` for none."""
    if commit is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as scratch:
        place = tree or Path(scratch) / "other"
        if not place.exists():
            _run(HERE, "git", "worktree", "add", "--detach", str(place), commit)
        try:
            _run(place, "make", "--silent", ".setup/extension", ".setup/dev")
            yield place
        finally:
            if tree is None:
                _run(HERE, "git", "worktree", "remove", "--force", str(place))


def _row(what: str, figures: list[float]) -> str:
    ratio = f" {figures[-1] / max(1e-9, figures[0]):.2f} |" if len(figures) > 1 else ""
    return f"| {what} | {' | '.join(f'{figure:,.1f}' for figure in figures)} |{ratio}"


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", nargs="?")
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--rates", default="5000,10000")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", action="store_true", help="look for the greatest rate as well")
    args = parser.parse_args()
    print(machine("uvicorn", "starlette", "fastapi", "httptools"), flush=True)
    with checked_out(args.commit, args.tree) as other:
        trees = {} if other is None else {args.commit[:12]: other}
        trees["this tree"] = HERE
        for rate in [float(text) for text in args.rates.split(",") if text]:
            costs: dict[str, list[float]] = {name: [] for name in trees}
            for _ in range(args.rounds):
                for name, tree in trees.items():
                    row = await load(tree, rate)
                    costs[name].append(row.cpu_us)
                    print(f"{rate:,.0f} tokens/s, {name}: {show(row)}", flush=True)
            medians = [statistics.median(costs[name]) for name in trees]
            print(_row(f"CPU for a token at {rate:,.0f}/s, us", medians), flush=True)
        if args.limit:
            found = {}
            for name, tree in trees.items():
                print(f"greatest rate of {name}", flush=True)
                found[name] = await greatest(tree, 8000)
            print(_row("greatest rate held, tokens/s", list(found.values())))


if __name__ == "__main__":
    asyncio.run(main())
