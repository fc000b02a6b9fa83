"""`facilitair serve` says where it is and how to get in, and ends when it is asked to."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .command import environment, run, start
from .server import KEY, SIMULATED


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> None:
    (tmp_path / "facilitair.toml").write_text(SIMULATED)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_key_is_made_and_told_once_and_opens_the_door(tmp_path: Path, kind: signal.Signals) -> None:
    with start("serve", "--port", "0", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().decode().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        process.stderr.readline()
        command = process.stderr.readline().decode()
        variables: dict[str, Any] = dict(pair.split("=") for pair in command.split("export ")[1].split())
        assert variables["FAC_API_BASE"] == url
        assert run("collaborate", "x", cwd=tmp_path, **variables).returncode == 0
        wrong = run("collaborate", "x", cwd=tmp_path, **{**variables, "FAC_API_KEY": "wrong-0123456789"})
        assert (wrong.returncode, wrong.stderr.count(b"\n")) == (3, 1)
        process.send_signal(kind)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, b"")
    assert variables["FAC_API_KEY"] not in err.decode()


def test_a_key_of_ones_own_is_never_told(tmp_path: Path) -> None:
    with start("serve", "--port", "0", cwd=tmp_path, FACILITAIR_SERVER_KEY=KEY) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:  # noqa: S310
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_its_end_reaches_the_viewers(tmp_path: Path) -> None:
    env = {"FACILITAIR_SERVER_KEY": KEY, "FACILITAIR_SIMULATOR_SPEED": "1"}
    with start("serve", "--port", "0", cwd=tmp_path, **env) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        with start("collaborate", "x", "--server", url, "--json", cwd=tmp_path, FAC_API_KEY=KEY) as viewer:
            assert viewer.stdout is not None
            assert b'"task_started"' in viewer.stdout.readline()
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            out, _ = viewer.communicate(timeout=20)
            assert b'"task_cancelled"' in out.splitlines()[-1]
            assert viewer.returncode == 1  # it was no Ctrl-C here
        assert process.wait(20) == 0
        assert time.monotonic() - began < 20


def test_what_cannot_be_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "--port", port, cwd=tmp_path)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
        assert done.stderr.count(port.encode()) == 1
        assert f"port {port}: Address already in use" in done.stderr.decode()
    cases: tuple[tuple[list[str], dict[str, Any], int, str], ...] = (
        (["--host", "0.0.0.0"], {}, 3, "FACILITAIR_SERVER_KEY"),  # noqa: S104
        (["--host", "no.such.host.invalid"], {"FACILITAIR_SERVER_KEY": KEY}, 2, "cannot listen"),
        (["--allowed-host", "https://x"], {}, 2, "host name"),
        ([], {"FACILITAIR_SERVER_KEY": "short"}, 3, "16 characters"),
    )
    for arguments, env, code, words in cases:
        done = run("serve", *arguments, cwd=tmp_path, **env)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (code, b"", 1), arguments
        assert words in done.stderr.decode()


def test_without_its_packages_it_says_which_to_install(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["uvicorn"] = None
from importlib import util
find = util.find_spec
util.find_spec = lambda name: None if name == "uvicorn" else find(name)
from facilitair.cli import main
sys.exit(main(["serve"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 3
    assert b"pip install '.[server]'" in done.stderr
