"""How long the command takes to say something, against an empty Python of the same environment.

    python benches/startup.py

Wall time of whole processes, in turns; the median of the rounds.
"""

import statistics
import subprocess
import sys
import time

from _machine import machine

ROUNDS = 15
COMMANDS = {
    "python -c ''": [sys.executable, "-c", ""],
    "facilitair --help": [sys.executable, "-m", "facilitair", "--help"],
    "import facilitair": [sys.executable, "-c", "import facilitair"],
    "import facilitair; facilitair.Client": [sys.executable, "-c", "import facilitair; facilitair.Client"],
}


def seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(found) for name, found in times.items()}
    empty = medians["python -c ''"]
    print(f"{machine()}\n\n| command | ms | times an empty Python |\n|---|---:|---:|")
    for name, median in medians.items():
        print(f"| `{name}` | {median * 1e3:.0f} | {median / empty:.1f} |")


if __name__ == "__main__":
    main()
