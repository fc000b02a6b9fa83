"""What the server logs: who ran what and what was refused, a line each, and never a key, a task or a query."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from facilitair.keys import Secret
from facilitair.server.logging_setup import LineFormatter
from tests.cli.command import environment, start
from tests.cli.server import KEY, SIMULATED

PROVIDER_KEY = "a key of no usual shape"


def formatted(form: Any, message: str, error: BaseException | None = None, **fields: str | float) -> str:
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("facilitair.test", logging.ERROR, __file__, 1, message, (), info)
    record.fields = fields
    return LineFormatter(form, [Secret(PROVIDER_KEY)]).format(record)


@pytest.mark.parametrize("form", ["text", "json"])
def test_keys_are_taken_out_of_messages_fields_and_exceptions(form: str) -> None:
    try:
        raise RuntimeError(f"the provider said: {PROVIDER_KEY} is wrong, sk-abcdefghijklmnop too")
    except RuntimeError as error:
        line = formatted(form, f"asked with {PROVIDER_KEY}", error, path=f"/{PROVIDER_KEY}")

    assert PROVIDER_KEY not in line
    assert "sk-abcdefghijklmnop" not in line
    assert "the provider said: *** is wrong, *** too" in line
    assert Path(__file__).name in line, "where it was raised"


def test_nobody_forges_a_line_or_speaks_to_the_terminal() -> None:
    hostile = "a\n2026 error facilitair forged\r\x1b[2J\u202e\x9b"
    text = formatted("text", hostile, RuntimeError(hostile), path=hostile)
    lines = text.split("\n")
    assert all(line.startswith("    ") for line in lines[1:])
    assert text.replace("\n", "").isprintable()
    assert 'path="/x status=200"' in formatted("text", "refused", path="/x status=200", status=404)
    line = formatted("json", hostile, path=f"{hostile}\x85\u2028\x7f\ud800")
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["path"] == f"{hostile}\x85\u2028\x7f\ud800"


def test_a_line_that_cannot_be_written_and_lines_of_others_show_no_key() -> None:
    script = f"""
import logging, sys, warnings
from facilitair.keys import Secret
from facilitair.server.logging_setup import configure
key = {PROVIDER_KEY!r}
configure("json", "info", [Secret(key)])
logging.getLogger("facilitair.x").warning("%d", key)
logging.getLogger("asyncio").error("Task exception was never retrieved: %s", key)
warnings.warn(key)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment(), check=True)
    lines = ran.stderr.decode().splitlines()
    assert len(lines) == 3
    assert "a line of facilitair.x could not be logged" in lines[0]
    assert json.loads(lines[1])["message"] == "Task exception was never retrieved: ***"
    assert PROVIDER_KEY not in ran.stderr.decode()


def told_that_is_too_large(url: str) -> int:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        head = f"POST /api/stream/task HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n"
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 3000000\r\n\r\n".encode())
        return int(client.recv(100).split()[1])


def serve(directory: Path, *arguments: str) -> list[str]:
    """Serve a run and refuse a request; return the lines of the log."""
    (directory / "facilitair.toml").write_text(SIMULATED)
    with start("serve", "--port", "0", *arguments, cwd=directory, FACILITAIR_SERVER_KEY=KEY) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()

        def ask(path: str, body: bytes | None = None, **more: str) -> int:
            headers = {"X-API-Key": KEY, "Content-Type": "application/json", **more}
            request = urllib.request.Request(url + path, body, headers)  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        assert ask("/api/stream/task", b'{"task": "the secret plan", "stream": false}') == 200
        assert ask("/api/stream/status/nobody?ticket=the-ticket") == 404
        # The head alone: a refused body may meet a closed connection.
        assert told_that_is_too_large(url) == 413
        assert ask("/healthz", Host="evil.example") == 403
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    return err.decode().splitlines()


def test_runs_and_refusals_are_a_json_object_each(tmp_path: Path) -> None:
    lines = serve(tmp_path, "--log-format", "json", "--log-level", "info")
    told = [json.loads(line) for line in lines]
    began, ended, refused, *doors = [line for line in told if line["logger"].startswith("facilitair")]
    assert [line["status"] for line in doors] == [413, 403]
    assert (began["message"], began["simulated"], began["level"]) == ("run began", "true", "info")
    assert ended["stream_id"] == began["stream_id"]
    assert (ended["message"], ended["status"], ended["owner"]) == ("run ended", "completed", began["owner"])
    assert ended["seconds"] > 0
    assert refused["message"] == "request refused"
    assert (refused["status"], refused["problem"]) == (404, "not-found")
    assert refused["path"] == "/api/stream/status/nobody"
    for secret in (KEY, "the secret plan", "the-ticket"):
        assert secret not in "\n".join(lines)


def test_text_is_a_line_each_and_the_default_says_nothing(tmp_path: Path) -> None:
    lines = serve(tmp_path, "--log-level", "info")
    assert any(" info facilitair.server.logs run ended stream_id=" in line for line in lines)
    assert serve(tmp_path) == []
