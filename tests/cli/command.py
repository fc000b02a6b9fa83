"""The command as a process of its own, as a user starts it, with the built-in simulator made quick."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import facilitair

COMMAND = [sys.executable, "-m", "facilitair.cli"]
SPEED = "20"


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a user who has set nothing up."""
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    package = str(Path(facilitair.__file__).parents[1])
    return {
        **env,
        "PYTHONPATH": package,
        "FACILITAIR_SIMULATOR_SPEED": SPEED,
        "TERM": "xterm-256color",
        **more,
    }


def run(
    *arguments: str | bytes, cwd: Path, stdin: bytes = b"", **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `facilitair` to its end with pipes."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env=environment(**env),
        timeout=50,
        check=False,
    )


def start(*arguments: str, cwd: Path, **env: str) -> subprocess.Popen[bytes]:
    """Start `facilitair` with pipes and nothing on standard input."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**env),
    )
