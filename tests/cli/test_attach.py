"""Runs on a server look as if they were here: `collaborate --server` and `attach`."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from facilitair import events as ev
from facilitair.cli.presentation import SIMULATED_MARK
from facilitair.recording import read_recording

from .command import run, start
from .events import Script
from .server import KEY, serving

TASK = "Write a rate limiter"
ENV: dict[str, Any] = {"FAC_API_KEY": KEY}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server"), speed="1") as url:
        yield url


def status(server: str, stream_id: str) -> str:
    request = urllib.request.Request(  # noqa: S310
        f"{server}/api/stream/status/{stream_id}", headers={"X-API-Key": KEY}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return str(json.load(answer)["status"])


def events_of(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def begun(process: subprocess.Popen[bytes]) -> str:
    """Wait until the process with --json shows an agent's text; return the run's id."""
    assert process.stdout is not None
    for line in process.stdout:
        if b'"token_stream"' in line:
            return str(json.loads(line)["stream_id"])
    raise AssertionError("the process ended without any text")


@pytest.mark.parametrize("variable", ["--server", "FAC_API_BASE", "FACILITAIR_API_BASE"])
def test_a_run_elsewhere_is_told_and_answered_as_one_here(tmp_path: Path, server: str, variable: str) -> None:
    where = ["--server", server] if variable == "--server" else []
    env = ENV if where else {**ENV, variable: server}
    done = run("collaborate", TASK, "--record", "r.jsonl", "--output", "a.md", *where, cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == (tmp_path / "a.md").read_text()
    assert b"rate limiter" in done.stdout
    assert b"Architect starts on" in done.stderr
    recorded = list(read_recording(tmp_path / "r.jsonl"))
    assert json.loads((tmp_path / "r.jsonl").read_bytes().splitlines()[0])["task"] == TASK
    assert f"the run is {recorded[0].stream_id}" in done.stderr.decode()  # type: ignore[union-attr]
    again = run("attach", recorded[0].stream_id, *where, "--json", cwd=tmp_path, **env)  # type: ignore[union-attr]
    assert again.returncode == 0
    shown = events_of(again.stdout)
    assert shown[0]["seq"] == 1
    assert shown[-1]["content"].strip() in done.stdout.decode()


def test_attach_goes_on_after_an_event(tmp_path: Path, server: str) -> None:
    done = run("collaborate", TASK, "--json", "--server", server, cwd=tmp_path, **ENV)
    last = events_of(done.stdout)[-1]
    where = ["--server", server]
    rest = run(
        "attach", last["stream_id"], "--after", str(last["seq"] - 1), "--json", *where, cwd=tmp_path, **ENV
    )
    assert events_of(rest.stdout) == [last]
    plain = run("attach", last["stream_id"], "--after", str(last["seq"] - 1), *where, cwd=tmp_path, **ENV)
    assert plain.stdout.decode().strip() == f"{SIMULATED_MARK}\n\n{last['content'].strip()}"
    nothing = run("attach", last["stream_id"], "--after", str(last["seq"]), *where, cwd=tmp_path, **ENV)
    assert (nothing.returncode, nothing.stdout) == (1, b"")
    assert b"without --after" in nothing.stderr


def test_ctrl_c_cancels_the_run_on_the_server(tmp_path: Path, slow_server: str) -> None:
    with start("collaborate", TASK, "--json", "--server", slow_server, cwd=tmp_path, **ENV) as process:
        stream_id = begun(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    last = events_of(out)[-1]
    assert (last["type"], last["reason"]) == ("task_cancelled", "interrupted")
    assert status(slow_server, stream_id) == "cancelled"
    if last["partial"].strip():
        assert f"the partial answer is in facilitair-partial-{stream_id}.md" in err.decode()


class StubbornServer(BaseHTTPRequestHandler):
    """Ends its only run, with an answer, when it is asked to cancel it, and then says that it could not."""

    asked = threading.Event()
    ended = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if "/cancel/" not in self.path:
            self._answer(201, b'{"stream_id": "run-1"}')
            return
        self.asked.set()
        self.ended.wait(20)
        self._answer(500, b"{}")

    def do_GET(self) -> None:
        script = Script()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in (*script.begin("coder"), script.text("coder", "Hi")):
            self._send(event)
        self.asked.wait(20)
        self._send(script.completed("# Hi"))
        self.rfile.read(1)  # the viewer has seen the end and leaves
        self.ended.set()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the handler's contract)
        pass

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send(self, event: ev.AnyEvent) -> None:
        self.wfile.write(b"id: %d\ndata: %s\n\n" % (event.seq, ev.encode(event)))


def test_an_answer_that_comes_in_spite_of_ctrl_c_is_not_lost(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), StubbornServer) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        arguments = ("collaborate", TASK, "--server", url, "--output", "a.md")
        with start(*arguments, "--json", cwd=tmp_path, **ENV) as process:
            begun(process)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        server.shutdown()
    assert process.returncode == 0, err
    assert (tmp_path / "a.md").read_text() == "# Hi\n"
    assert b"could not be cancelled" not in err


def test_ctrl_c_only_ends_the_view_of_an_attached_run(tmp_path: Path, slow_server: str) -> None:
    with start("collaborate", TASK, "--json", "--server", slow_server, cwd=tmp_path, **ENV) as owner:
        stream_id = begun(owner)
        with start("attach", stream_id, "--json", "--server", slow_server, cwd=tmp_path, **ENV) as process:
            assert begun(process) == stream_id
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        assert process.returncode == -signal.SIGINT
        assert b"detached; the run goes on" in err
        assert status(slow_server, stream_id) == "running"
        owner.send_signal(signal.SIGINT)
        owner.communicate(timeout=20)


def test_no_run_and_no_server_are_told_in_one_line(tmp_path: Path) -> None:
    with serving(tmp_path, speed="1") as server:
        with start("attach", "nope", "--server", server, cwd=tmp_path, **ENV) as process:
            _, err = process.communicate(timeout=20)
        assert (process.returncode, err.count(b"\n")) == (2, 1)
    for arguments in (["collaborate", "x"], ["attach", "x"]):
        done = run(*arguments, "--server", server, cwd=tmp_path, **ENV)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
        assert f"cannot reach {server}" in done.stderr.decode()


def test_which_server_and_which_key_must_be_known(tmp_path: Path, server: str) -> None:
    done = run("attach", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert b"--server" in done.stderr
    done = run("attach", "x", "--server", server, cwd=tmp_path)
    assert done.returncode == 3
    assert b"FAC_API_KEY" in done.stderr
    done = run("attach", "x", "--server", "http://example.com", cwd=tmp_path)
    assert done.returncode == 3
    assert run("attach", "x", "--after", "-1", cwd=tmp_path).returncode == 2
