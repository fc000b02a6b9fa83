"""`facilitair replay`: a recorded run looks like the run, and what is no recording is said to be none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from facilitair import events as ev
from facilitair.recording import Recorder

from .command import run
from .events import Script


def recording(path: Path, end: Callable[[Script], Sequence[ev.AnyEvent | ev.UnknownEvent]]) -> Path:
    script = Script()
    events = [
        *script.begin("coder"),
        script.text("coder", "Hello.\n"),
        script.done("coder", "Hello.\n"),
        *script.synthesis("# Hello"),
    ]
    with Recorder(path) as recorder:
        for event in (*events, *end(script)):
            recorder.write(event)
    return path


def completed(script: Script) -> list[ev.AnyEvent | ev.UnknownEvent]:
    return [script.completed("# Hello")]


def test_a_recorded_run_gives_the_same_answer_and_the_same_events(tmp_path: Path) -> None:
    live = run("collaborate", "Write a queue", "--record", "run.jsonl", cwd=tmp_path)
    assert live.returncode == 0, live.stderr
    again = run("replay", "run.jsonl", "--speed", "max", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, live.stdout)
    assert again.stderr == live.stderr
    events = run("replay", "run.jsonl", "--speed", "max", "--json", cwd=tmp_path)
    assert events.stdout == (tmp_path / "run.jsonl").read_bytes()


def test_events_of_a_later_version_are_passed_by(tmp_path: Path) -> None:
    def later(script: Script) -> list[ev.AnyEvent | ev.UnknownEvent]:
        script.seq += 1
        raw = b'{"type":"telepathy","seq":%d}' % script.seq
        return [ev.UnknownEvent(type="telepathy", seq=script.seq, raw=raw), *completed(script)]

    path = recording(tmp_path / "r", later)
    done = run("replay", str(path), "--speed", "max", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"# Hello\n")


def test_a_cut_recording_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    path = recording(tmp_path / "r", completed)
    path.write_bytes(path.read_bytes()[:-30])
    done = run("replay", str(path), "--speed", "max", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"Coder: Hello." in done.stderr
    assert b"the recording's last line was cut off" in done.stderr
    assert b"the recording stops before the run ended" in done.stderr


def test_a_failed_run_can_be_shown_too(tmp_path: Path) -> None:
    path = recording(tmp_path / "r", lambda script: [script.failed("agents_failed")])
    done = run("replay", str(path), "--speed", "max", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"it failed (agents_failed)" in done.stderr


def test_time_passes_as_it_did_and_faster_on_demand(tmp_path: Path) -> None:
    path = recording(
        tmp_path / "r", lambda script: [msgspec.structs.replace(script.completed("# Hello"), ts=3.0)]
    )
    began = time.monotonic()
    run("replay", str(path), "--speed", "2", cwd=tmp_path)
    assert time.monotonic() - began >= 1.5
    began = time.monotonic()
    run("replay", str(path), "--speed", "max", cwd=tmp_path)
    assert time.monotonic() - began < 30  # it ends at all


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the recording"),
        (b"", "it is empty"),
        (b"\x89PNG\r\n", "is no recording"),
        (b'{"role":"user"}\n', "is no recording"),
    ],
)
def test_what_is_no_recording_gets_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "other").write_bytes(content)
    done = run("replay", "other", cwd=tmp_path)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (2, b"", 1)
    assert words in lines[0]


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "inf"])
def test_a_speed_that_is_none_is_refused(tmp_path: Path, speed: str) -> None:
    done = run("replay", str(recording(tmp_path / "r", completed)), "--speed", speed, cwd=tmp_path)
    assert done.returncode == 2
    assert b"--speed" in done.stderr
