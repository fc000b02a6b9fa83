"""Arguments and the environment become one command; whatever comes after sees nothing else."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

import facilitair.cli
from facilitair.cli.arguments import command_of
from facilitair.cli.commands import Attach, Collaborate, Command, Doctor, Replay, Serve, Server, Simulate
from facilitair.cli.parser import parse
from facilitair.errors import UsageError
from facilitair.keys import Secret
from facilitair.options import NAMES

SERVER = "http://127.0.0.1:8420"


@pytest.fixture(autouse=True)
def no_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)


def command(*argv: str, **env: str) -> Command:
    return command_of(parse(argv), env)


def collaborate(*argv: str, **env: str) -> Collaborate:
    made = command("collaborate", "a task", *argv, **env)
    assert isinstance(made, Collaborate)
    return made


def test_every_option_of_a_run_can_be_given() -> None:
    options = collaborate(
        *("--strategy", "pipeline", "--preset", "fast", "--section", "Design", "--section", "Code"),
        *("--model", "simulator/generic", "--model", "coder=simulator/coder"),
        *("--max-cost", "0.5", "--max-tokens", "900", "--timeout", "30", "--no-cache", "--simulate"),
    ).options
    assert set(options) == set(NAMES)
    assert options == {
        "strategy": "pipeline",
        "preset": "fast",
        "models": {"*": "simulator/generic", "coder": "simulator/coder"},
        "sections": ["Design", "Code"],
        "max_cost": 0.5,
        "max_tokens": 900,
        "timeout": 30.0,
        "cache": False,
        "simulate": True,
    }


def test_what_is_not_given_stays_as_configured() -> None:
    assert set(collaborate().options.values()) == {None}
    assert collaborate("--cache").options["cache"] is True


def test_task_context_and_files_are_ready(tmp_path: Path) -> None:
    made = collaborate(
        '{"team": 3, "language": "go"}',
        *("--language", "rust", "--framework", "nom", "--context", "team=4"),
        *("--output", str(tmp_path / "a.md"), "--record", str(tmp_path / "r.jsonl")),
        *("--json", "--verbosity", "quiet", "--view", "lines"),
    )
    assert (made.task, made.context) == ("a task", {"team": 4, "language": "rust", "frameworks": ["nom"]})
    assert (made.output.answer, made.output.record) == (tmp_path / "a.md", tmp_path / "r.jsonl")
    assert (made.output.json, made.output.verbosity, made.output.view) == (True, "quiet", "lines")


@pytest.mark.parametrize(
    ("argv", "env", "url"),
    [
        ((), {}, None),
        (("--server", SERVER), {"FAC_API_BASE": "http://localhost:1"}, SERVER),
        ((), {"FAC_API_BASE": SERVER, "FACILITAIR_API_BASE": "http://localhost:1"}, SERVER),
        ((), {"FAC_API_BASE": "", "FACILITAIR_API_BASE": SERVER}, SERVER),
        (("--server", "none"), {"FAC_API_BASE": SERVER}, None),
    ],
)
def test_the_server_is_the_flags_or_else_the_environments(
    argv: tuple[str, ...], env: dict[str, str], url: str | None
) -> None:
    assert collaborate(*argv, **env).server == (None if url is None else Server(url, None))


def test_an_empty_server_is_no_server() -> None:
    with pytest.raises(UsageError, match="--server is empty"):
        collaborate("--server", "", FAC_API_BASE=SERVER)


def test_the_key_of_a_server_comes_along_and_is_not_shown() -> None:
    made = collaborate("--server", SERVER, FAC_API_KEY="sk-not-a-real-key")
    assert made.server is not None
    assert made.server.key is not None
    assert made.server.key.reveal() == "sk-not-a-real-key"
    assert "not-a-real" not in repr(made)


def test_attach_needs_a_server() -> None:
    with pytest.raises(UsageError, match=r"--server URL.*FAC_API_BASE"):
        command("attach", "run-1")
    made = command("attach", "run-1", "--after", "7", "--server", SERVER, FAC_API_KEY="k")
    assert isinstance(made, Attach)
    assert (made.stream_id, made.after, made.server) == ("run-1", 7, Server(SERVER, Secret("k")))


def test_an_id_must_be_text() -> None:
    with pytest.raises(UsageError, match="ID is not UTF-8"):
        command("attach", "\udcff", "--server", SERVER)


def test_each_other_command_has_its_value() -> None:
    replay = command("replay", "r.jsonl", "--speed", "max", "--json")
    assert isinstance(replay, Replay)
    assert (replay.file, replay.speed, replay.output.json) == (Path("r.jsonl"), math.inf, True)
    assert command("serve", "--port", "0", "--allowed-host", "a", "--allowed-host", "b") == Serve(
        host=None, port=0, allowed_hosts=("a", "b"), simulate=False, log_format=None, log_level=None
    )
    assert command("doctor", "--probe") == Doctor(probe=True)
    assert command("simulate", "--port", "8090", "--speed", "10") == Simulate(port=8090, speed=10.0)


@pytest.mark.parametrize("name", ["collaborate", "attach", "replay"])
def test_wrong_output_is_found_here(name: str) -> None:
    with pytest.raises(UsageError, match="--view live"):
        command(name, "x", "--view", "live", FAC_API_BASE=SERVER)


@pytest.mark.parametrize("name", ["collaborate", "attach"])
def test_files_that_cannot_be_written_are_found_here(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--record"):
        command(name, "x", "--record", str(tmp_path), FAC_API_BASE=SERVER)


def test_nothing_behind_the_door_knows_how_arguments_are_parsed() -> None:
    package = Path(facilitair.cli.__file__).parent
    knowing = [path for path in package.rglob("*.py") if "argparse" in path.read_text()]
    assert sorted(str(path.relative_to(package)) for path in knowing) == ["arguments.py", "parser.py"]
