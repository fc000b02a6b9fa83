"""Ctrl-C and SIGTERM: the providers are stopped, what there is is kept and named, and a second press ends it all."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facilitair.cli.signals import ONE_PRESS_S

from .command import COMMAND, environment, start
from .screen import Terminal

TASK = "Write a rate limiter"
KINDS = pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])


class Provider:
    """A `facilitair simulate` of its own, so that a test can ask what it saw."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    @property
    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.base_url.replace("/v1", "/stats"), timeout=10) as answer:  # noqa: S310
            stats: dict[str, Any] = json.load(answer)
            return stats

    def wait_until(self, **expected: int) -> None:
        """Wait until the provider counts what is expected; liveness only."""
        end = time.monotonic() + 20
        while any(self.stats[name] != count for name, count in expected.items()):
            assert time.monotonic() < end, self.stats
            time.sleep(0.02)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with start("simulate", "--speed", "2", cwd=tmp_path) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().decode().strip()
        (tmp_path / "facilitair.toml").write_text(
            f'[providers.fake]\nbase_url = "{base_url}"\nlocal = true\n'
        )
        yield Provider(base_url)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def lines_until(process: subprocess.Popen[bytes], pattern: bytes) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(pattern, line):
            return
    raise AssertionError(f"the process ended before {pattern!r}")


@KINDS
def test_the_first_press_stops_the_providers_and_keeps_the_partial(
    tmp_path: Path, provider: Provider, kind: signal.Signals
) -> None:
    with start("collaborate", TASK, "--model", "fake/coder", cwd=tmp_path) as process:
        lines_until(process, rb"Coder: \S")
        process.send_signal(kind)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (-kind, b"")
    assert b"Stopped: interrupted" in err
    (saved,) = tmp_path.glob("facilitair-partial-*.md")
    assert f"the partial answer is in {saved.name}" in err.decode()
    assert saved.read_text().startswith("<!-- partial: interrupted -->\n")
    provider.wait_until(open_streams=0, connections=1)  # the one that asks for these figures
    assert provider.stats["closed_early"] > 0


def test_it_works_before_the_first_token(tmp_path: Path, provider: Provider) -> None:
    with start("collaborate", TASK, "--model", "fake/coder+slow=1000", cwd=tmp_path) as process:
        lines_until(process, rb"Architect starts on")
        provider.wait_until(open_streams=1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (-signal.SIGINT, b"")
    assert b"nothing of the answer had been written yet" in err
    provider.wait_until(open_streams=0, connections=1)


def test_json_ends_in_one_terminal_event(tmp_path: Path, provider: Provider) -> None:
    with start("collaborate", TASK, "--model", "fake/coder", "--json", cwd=tmp_path) as process:
        assert process.stdout is not None
        while b'"token_stream"' not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    kinds = [json.loads(line)["type"] for line in out.splitlines()]
    assert kinds[-1] == "task_cancelled"
    assert [kind for kind in kinds if kind.startswith("task_") and kind != "task_progress"] == [
        "task_cancelled"
    ]


def test_the_recording_of_an_interrupted_run_is_whole(tmp_path: Path, provider: Provider) -> None:
    with start("collaborate", TASK, "--model", "fake/coder", "--record", "r.jsonl", cwd=tmp_path) as process:
        lines_until(process, rb"Architect: ")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert json.loads((tmp_path / "r.jsonl").read_bytes().splitlines()[-1])["type"] == "task_cancelled"


def test_ctrl_c_at_the_keyboard_of_a_terminal(tmp_path: Path, provider: Provider) -> None:
    command = [*COMMAND, "collaborate", TASK, "--model", "fake/coder", "--view", "lines"]
    terminal = Terminal(command, env=environment(), cwd=str(tmp_path))
    terminal.wait_for("Architect: ")
    terminal.wait_for("limit")
    terminal.process.sendintr()
    assert terminal.wait() == -signal.SIGINT
    assert any("the partial answer is in facilitair-partial-" in line for line in terminal.lines)
    provider.wait_until(open_streams=0, connections=1)


def test_the_second_press_ends_it_at_once() -> None:
    """Nothing stops a real run from ending, so the handler is shown with a run that never does."""
    script = """
import asyncio
from facilitair.cli.signals import Interrupts

async def main():
    with Interrupts(lambda: print("stopping", flush=True)):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"stopping\n"
        time.sleep(2 * ONE_PRESS_S)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT


def test_a_press_before_the_run_exists_ends_it_without_a_traceback(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "collaborate", TASK],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stderr is not None
        assert b"waiting for standard input to end" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (-signal.SIGINT, b"")
