"""The command answers at once: help must not load what only a run needs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facilitair.cli.parser import parse

from .command import COMMAND, environment, run


def fastest(command: list[str]) -> float:
    times = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run(command, env=environment(), capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    return min(times)


def test_help_takes_at_most_eight_times_an_empty_python() -> None:
    assert fastest([*COMMAND, "--help"]) <= 8 * fastest([sys.executable, "-c", ""])


@pytest.mark.parametrize(
    ("asked", "same"), [(["help"], ["--help"]), (["help", "serve"], ["serve", "--help"])]
)
def test_help_can_be_asked_for_as_a_command(asked: list[str], same: list[str]) -> None:
    def printed(*args: str) -> bytes:
        done = subprocess.run([*COMMAND, *args], env=environment(), capture_output=True, check=True)
        return done.stdout

    assert printed(*asked) == printed(*same)


def test_help_loads_neither_engine_nor_renderer() -> None:
    script = """
import sys
from facilitair.cli import main
assert main(["--help"]) == 0
assert main(["collaborate", "--help"]) == 0
heavy = {"asyncio", "rich", "msgspec", "facilitair_rust", "facilitair.client", "facilitair.config"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, check=True)


def test_plain_output_does_not_load_rich(tmp_path: Path) -> None:
    script = """
import sys
from facilitair.cli import main
assert main(["collaborate", "x", "--model", "simulator/coder", "--verbosity", "filtered"]) == 0
assert "rich" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_version(tmp_path: Path) -> None:
    from facilitair_rust import __version__

    assert run("--version", cwd=tmp_path).stdout.decode() == f"facilitair {__version__}\n"


def test_no_command_and_wrong_commands_get_one_line(tmp_path: Path) -> None:
    for arguments in ((), ("nope",), ("replay",), ("simulate", "--port", "70000"), ("doctor", "--nope")):
        done = run(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1), arguments


@pytest.mark.parametrize(
    ("arguments", "task", "context"),
    [
        (["a task"], "a task", None),
        (["--", "-x"], "-x", None),
        (["--json", "--", "--json", "{}"], "--json", "{}"),
        (["--", "a", "--"], "a", "--"),
        (["a", "--language", "go", "{}"], "a", "{}"),
        (["-"], "-", None),
    ],
)
def test_options_may_stand_anywhere_and_end_at_two_dashes(
    arguments: list[str], task: str, context: str | None
) -> None:
    args = parse(["collaborate", *arguments])
    assert (args.task, args.context_json) == (task, context)


def test_a_wrong_argument_after_two_dashes_is_named_as_it_was_typed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse(["collaborate", "--", "a", "b", "-c"])
    assert "unrecognized arguments: -c (see" in capsys.readouterr().err
    assert str(parse(["replay", "--", "-f"]).file) == "-f"


def test_help_into_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            [*COMMAND, "collaborate", "--help"],
            stdout=gone,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert done.stderr == b""
    assert done.returncode in (0, 141)  # argparse swallows the error when the stream is unbuffered
