"""`facilitair serve` says where it is and how to get in, and ends when it is asked to."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from facilitair.server.serving import ONE_PRESS_S

from .command import COMMAND, environment, run, start
from .screen import Terminal
from .server import KEY, SIMULATED

STOPPING = "facilitair: stopping; Ctrl-C again waits for nobody"


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


def test_ctrl_c_at_the_keyboard_says_what_it_does_and_ends_the_runs(tmp_path: Path) -> None:
    env = environment(FACILITAIR_SERVER_KEY=KEY, FACILITAIR_SIMULATOR_SPEED="1")
    terminal = Terminal([*COMMAND, "serve", "--port", "0"], env=env, cwd=str(tmp_path))
    terminal.wait_until(lambda seen: "\n" in seen.raw.decode())
    url = terminal.raw.decode().split()[0]
    with start("collaborate", "x", "--server", url, "--json", cwd=tmp_path, FAC_API_KEY=KEY) as viewer:
        assert viewer.stdout is not None
        while b'"token_stream"' not in viewer.stdout.readline():
            pass
        terminal.process.sendintr()
        assert terminal.wait() == 0
        out, _ = viewer.communicate(timeout=20)
    assert b'"task_cancelled"' in out.splitlines()[-1]
    said = [line.removeprefix("^C") for line in terminal.lines if line]
    assert said == [url, "facilitair: stopping, and 1 run with it; Ctrl-C again waits for nobody"]


@pytest.mark.parametrize("presses", [1, 2])
def test_who_is_still_sending_is_cut_off_without_a_traceback(tmp_path: Path, presses: int) -> None:
    """uvicorn cancels what waits for the rest of a request, and logs what it has cancelled."""
    with start("serve", "--port", "0", cwd=tmp_path, FACILITAIR_SERVER_KEY=KEY) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        with half_a_request(url):
            process.send_signal(signal.SIGINT)
            for _ in range(presses - 1):
                time.sleep(2 * ONE_PRESS_S)
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.decode()) == (0, b"", f"{STOPPING}\n")


def test_one_press_that_comes_many_times_is_one(tmp_path: Path) -> None:
    with start("serve", "--port", "0", cwd=tmp_path, FACILITAIR_SERVER_KEY=KEY) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.001)
        _, err = process.communicate()
    assert (process.returncode, err.decode()) == (0, f"{STOPPING}\n")


def test_a_press_before_it_listens_ends_it_without_a_traceback(tmp_path: Path) -> None:
    """asyncio has the task cancelled then, which would strike in the middle of uvicorn's start."""
    script = """
import os, signal, sys
from facilitair.cli import main
from facilitair.server import serving
listen = serving.listen
def pressed(settings):
    os.kill(os.getpid(), signal.SIGINT)
    return listen(settings)
serving.listen = pressed
sys.exit(main(["serve", "--port", "0"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@contextmanager
def half_a_request(url: str) -> Iterator[None]:
    """Send a request without the end of its body, and go on when the server waits for that."""
    address = urlsplit(url)
    head = (
        f"POST /api/stream/task HTTP/1.1\r\nHost: {address.netloc}\r\nX-API-Key: {KEY}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        yield


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
