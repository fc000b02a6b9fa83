"""`facilitair doctor` and `facilitair simulate` as a user runs them."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

from .command import run, start


def test_doctor_says_what_works(tmp_path: Path) -> None:
    done = run("doctor", cwd=tmp_path)
    report = done.stdout.decode()
    assert done.returncode == 0, report
    assert "Python and extension" in report
    assert "configuration" in report
    assert "set OPENAI_API_KEY" in report


def test_doctor_names_what_is_wrong_and_exits_3(tmp_path: Path) -> None:
    (tmp_path / "facilitair.toml").write_text("[limits]\nmax_coast = 1\n")
    done = run("doctor", cwd=tmp_path)
    assert done.returncode == 3
    failed = [line for line in done.stdout.decode().splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1
    assert "max_coast" in failed[0]


def test_doctor_asks_a_provider_for_one_token(tmp_path: Path) -> None:
    with start("simulate", "--speed", "50", cwd=tmp_path) as simulator:
        assert simulator.stdout is not None
        base_url = simulator.stdout.readline().decode().strip()
        done = run(
            "doctor", cwd=tmp_path, OPENAI_BASE_URL=base_url, OPENAI_API_KEY="sk-not-a-real-key-0123456789"
        )
        simulator.send_signal(signal.SIGINT)
        assert simulator.wait(10) == 0
    report = done.stdout.decode()
    assert "openai" in report
    assert "0123456789" not in report + done.stderr.decode()


def test_the_probe_says_first_what_it_costs(tmp_path: Path) -> None:
    (tmp_path / "facilitair.toml").write_text('[models]\ndefault = "anthropic/generic"\n')
    with start("simulate", "--speed", "50", cwd=tmp_path) as simulator:
        assert simulator.stdout is not None
        base_url = simulator.stdout.readline().decode().strip()
        key = "sk-ant-not-a-real-key-0123456789"
        done = run("doctor", "--probe", cwd=tmp_path, ANTHROPIC_BASE_URL=base_url, ANTHROPIC_API_KEY=key)
        simulator.send_signal(signal.SIGINT)
        assert simulator.wait(10) == 0
    assert b"asking 1 model for a few tokens" in done.stderr
    assert "anthropic/generic" in done.stdout.decode()
    assert b"0123456789" not in done.stdout + done.stderr


def test_simulate_serves_its_models_until_it_is_stopped(tmp_path: Path) -> None:
    with start("simulate", cwd=tmp_path) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().decode().strip()
        with urllib.request.urlopen(f"{base_url}/models", timeout=10) as answer:  # noqa: S310
            assert "coder" in {model["id"] for model in json.load(answer)["data"]}
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_a_port_that_is_taken_gets_one_line(tmp_path: Path) -> None:
    with start("simulate", cwd=tmp_path) as process:
        assert process.stdout is not None
        port = process.stdout.readline().decode().strip().rpartition(":")[2].split("/")[0]
        done = run("simulate", "--port", port, cwd=tmp_path)
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
