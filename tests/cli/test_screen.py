"""`facilitair collaborate` in a real pseudo-terminal, told in lines, read as a user sees it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .command import COMMAND, environment
from .screen import Terminal

TASK = "Write a rate limiter"


def watched(
    tmp_path: Path, *arguments: str, columns: int = 100, env: dict[str, str] | None = None
) -> tuple[int, Terminal]:
    command = [*COMMAND, "collaborate", TASK, "--view", "lines", *arguments]
    terminal = Terminal(command, env=environment(**(env or {})), cwd=str(tmp_path), columns=columns)
    return terminal.wait(), terminal


@pytest.mark.parametrize("columns", [60, 120])
def test_a_run_on_a_terminal(tmp_path: Path, columns: int) -> None:
    code, terminal = watched(tmp_path, columns=columns)
    lines = terminal.lines
    text = "\n".join(lines)
    assert code == 0
    assert re.search(r"^\[00:0\d\.\d\d\] Plan: \d+ chunks, ~\d+ s, simulated", text, re.M)
    for name in ("Architect", "Coder", "Reviewer", "Synthesizer"):
        assert re.search(rf"^\[00:0\d\.\d\d\] \S {name}: ", text, re.M), name
    boxes = [line for line in lines if line.startswith("╭─ ") and "Synthesis of “" in line]
    assert len(boxes) == 2  # the simulated architect divides the work into two sections
    finished = next(i for i, line in enumerate(lines) if "Finished in" in line)
    answer = "\n".join(lines[finished:])
    assert "write_rate_limiter" in answer  # once at the end, rendered: no fence, no asterisks
    assert "```" not in answer
    assert b"\x1b[" in terminal.raw
    assert not re.search(rb"\x1b[^\[]|\x1b\[[0-9;]*[^0-9;m]", terminal.raw)  # colours, and nothing else


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_none_gets_no_escape(tmp_path: Path, env: dict[str, str]) -> None:
    code, terminal = watched(tmp_path, "--model", "simulator/coder", env=env)
    assert code == 0
    assert b"\x1b" not in terminal.raw
    assert b"```python" in terminal.raw
    assert re.search(rb"\] Coder: \S", terminal.raw)


def test_an_empty_no_color_asks_for_nothing(tmp_path: Path) -> None:
    _, terminal = watched(
        tmp_path, "--model", "simulator/coder", "--verbosity", "filtered", env={"NO_COLOR": ""}
    )
    assert b"\x1b[" in terminal.raw


def test_json_on_a_terminal_is_json_only(tmp_path: Path) -> None:
    _, terminal = watched(tmp_path, "--model", "simulator/coder", "--json", columns=10_000)
    assert b"\x1b" not in terminal.raw
    assert all(line.startswith(b"{") for line in terminal.raw.splitlines())


def test_a_single_section_is_boxed_and_its_text_not_doubled(tmp_path: Path) -> None:
    _, terminal = watched(tmp_path, "--model", "simulator/coder", "--verbosity", "filtered")
    text = "\n".join(terminal.lines)
    assert "the answer follows below" in text
    # A reaction may quote it; only the answer has it on a line of its own.
    assert [line.strip() for line in terminal.lines].count("class LimitError(ValueError):") == 1
