"""How long the command takes to say something, against an empty Python of the same environment, and a program that
imports the library takes to the first event of its first run.

    python benches/startup.py
    python benches/startup.py /path/to/another/tree     # in turns with that tree, run by its own .venv

Wall time of whole processes, in turns, with their byte code written before; the median of the rounds. The run asks a
provider on this machine, in a process of its own, and its time ends with the event.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _load import provider
from _machine import machine

ROUNDS = 15
RUN = "first event of a run"
_FIRST_EVENT = """
import asyncio, os, facilitair

async def main():
    async with facilitair.Client() as client:
        async for event in client.collaborate("Design a rate limiter"):
            os.write(1, event.__class__.__name__.encode())
            break

asyncio.run(main())
"""
COMMANDS = {
    "python -c ''": ["-c", ""],
    "facilitair --help": ["-m", "facilitair", "--help"],
    "import facilitair": ["-c", "import facilitair"],
    "import facilitair; facilitair.Client": ["-c", "import facilitair; facilitair.Client"],
    RUN: ["-c", _FIRST_EVENT],
}


def seconds(command: list[str], env: dict[str, str]) -> float:
    """Return how long a command takes to its first word, or to its end where it says nothing."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 4096)
        first = time.perf_counter() - begin
        process.stdout.read()
        process.wait()
        whole = time.perf_counter() - begin
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return first if command[-1] == _FIRST_EVENT else whole


def environment(base_url: str) -> dict[str, str]:
    """Return one in which byte code is kept, as where a package is installed, and that provider is the only one."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "OPENAI_BASE_URL": base_url}


def sides(env: dict[str, str], other: str | None) -> dict[str, tuple[str, dict[str, str]]]:
    """Return the trees to measure: the Python of each, and its environment."""
    found = {"this tree": (sys.executable, env)}
    if other is not None:
        own = {name: value for name, value in env.items() if name != "PYTHONPATH"}
        found[other] = (str(Path(other, ".venv", "bin", "python").absolute()), own)
    return found


def main(other: str | None = None) -> None:
    times: dict[tuple[str, str], list[float]] = {}
    with provider(2.0, 20.0) as base_url:
        for turn in range(ROUNDS + 1):
            for name, arguments in COMMANDS.items():
                for side, (python, env) in sides(environment(base_url), other).items():
                    took = seconds([python, *arguments], env)
                    if turn:  # the first writes the byte code
                        times.setdefault((side, name), []).append(took)
    medians = {key: statistics.median(found) for key, found in times.items()}
    print(f"{machine()}\n\n| tree | command | ms | times an empty Python |\n|---|---|---:|---:|")
    for (side, name), median in sorted(medians.items(), key=lambda row: row[0][0] != "this tree"):
        empty = medians[side, "python -c ''"]
        print(f"| {side} | `{name}` | {median * 1e3:.0f} | {median / empty:.1f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
