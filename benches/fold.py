"""Folding a long chunk: time must grow with the text, not with its square.

    python benches/fold.py [DIRECTORY ...]

Deltas of 5 characters, alone and with four other chunks that grow in between; the best of five rounds. Each further
directory is a tree with its own .venv, such as another commit's, measured in the same go.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from _machine import machine

HERE = Path(__file__).parents[1]
MEGABYTE, ROUNDS = 1_000_000, 5


def fold_s(size: int, chunks: int) -> float:
    """Return the seconds that folding takes; events are made beforehand."""
    from facilitair import events as ev
    from facilitair.fold import apply

    state = ev.RunState()
    events = []
    for n in range(chunks):
        started = ev.ChunkStartedEvent(
            stream_id="s", seq=1, ts=0.0, chunk_id=f"s/{n}", section="s", agent="a", role="r", model="m",
            description="", current=1, total=1, section_index=1, section_total=1,
        )  # fmt: skip
        state = apply(state, started)
        events.append(
            ev.TokenStreamEvent(stream_id="s", seq=1, ts=0.0, chunk_id=f"s/{n}", agent="a", tokens="abcd ")
        )
    began = time.process_time()
    for _ in range(size // 5):
        for event in events:
            state = apply(state, event)
    took = time.process_time() - began
    assert all(len(chunk.text) == size for chunk in state.chunks.values())
    return took / chunks


def measured() -> None:
    for chunks in (1, 5):
        for size in (MEGABYTE, 2 * MEGABYTE):
            print(
                json.dumps([chunks, size, min(fold_s(size, chunks) for _ in range(ROUNDS))]),
                flush=True,
            )


def main() -> None:
    print(f"{machine()}\n\n| tree | chunks | 1 MB | 2 MB | times |\n|---|---:|---:|---:|---:|")
    for tree in (HERE, *map(Path, sys.argv[1:])):
        command = [str(tree / ".venv/bin/python"), __file__, "measure"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        found = {(chunks, size): took for chunks, size, took in map(json.loads, lines)}
        for chunks in (1, 5):
            one, two = found[chunks, MEGABYTE], found[chunks, 2 * MEGABYTE]
            print(f"| {tree} | {chunks} | {one:.2f} s | {two:.2f} s | {two / one:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["measure"]:
        measured()
    else:
        main()
