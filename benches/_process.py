"""A part of a benchmark in a process of its own, and what that uses."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def process(script: str, *arguments: str, **env: str) -> Iterator[tuple[int, str]]:
    """Run `script` with these arguments; give its process id and the first line it prints."""
    command = [sys.executable, script, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **env}) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline().decode().strip()
            assert line, f"{arguments} did not start"
            yield child.pid, line
        finally:
            child.terminate()
            child.wait(20)


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
