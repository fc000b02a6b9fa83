"""Nothing that was paid for is lost: streams that break, windows that close, files that hold something already."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

import pexpect
import pytest

from facilitair import events as ev
from facilitair.cli.presentation import SIMULATED_MARK
from facilitair.cli.replay import paced
from facilitair.recording import read_recording
from tests.rust.provider import Request, answer, provider

from .command import COMMAND, environment, run, start
from .screen import Terminal

TASK = "Write a rate limiter"
MODEL = ("--model", "simulator/generic")
full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")


@contextmanager
def running(*arguments: str, cwd: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Give a run that has begun to write, slowly enough to be stopped."""
    with start(
        "collaborate", TASK, *MODEL, *arguments, cwd=cwd, FACILITAIR_SIMULATOR_SPEED="1", **env
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.search(rb"Coder: \S", line):
                break
        yield process


def run_into_full(
    stream: Literal["out", "err"], place: Path, *more: str
) -> subprocess.CompletedProcess[bytes]:
    """Run with a full disk under one of the streams."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        return subprocess.run(
            [*COMMAND, "collaborate", TASK, *MODEL, *more],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=full if stream == "out" else subprocess.PIPE,
            stderr=full if stream == "err" else subprocess.PIPE,
            env=environment(),
            timeout=50,
            check=False,
        )


def partials(place: Path) -> list[Path]:
    return sorted(place.glob("*partial*"))


# --- streams that break ------------------------------------------------------------------------------------------


def test_a_reader_of_the_progress_that_leaves_ends_no_run(tmp_path: Path) -> None:
    with start("collaborate", TASK, *MODEL, "--output", "a.md", cwd=tmp_path) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
        assert process.stdout is not None
        out = process.stdout.read()
        assert process.wait(30) == 0
    assert len(out) > 200
    assert (tmp_path / "a.md").read_bytes() == out


@full_disk
def test_a_full_disk_under_the_progress_ends_no_run(tmp_path: Path) -> None:
    done = run_into_full("err", tmp_path)
    assert done.returncode == 0
    assert len(done.stdout) > 200


@full_disk
def test_an_answer_that_fits_nowhere_is_saved_and_named(tmp_path: Path) -> None:
    done = run_into_full("out", tmp_path)
    assert done.returncode == 1
    (saved,) = tmp_path.glob("facilitair-answer-*.md")
    assert f"the answer is in {saved.name}" in done.stderr.decode()
    assert len(saved.read_text()) > 200


def test_an_answer_whose_reader_has_gone_is_saved(tmp_path: Path) -> None:
    with start("collaborate", TASK, *MODEL, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait(30) == 141
    (saved,) = tmp_path.glob("facilitair-answer-*.md")
    assert saved.name.encode() in err


def test_events_whose_reader_has_gone_end_the_run_only_where_nothing_else_was_wanted(tmp_path: Path) -> None:
    for more, codes in [((), {141}), (("--output", "a.md"), {0, 141})]:
        with start("collaborate", TASK, *MODEL, "--json", *more, cwd=tmp_path) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(30) in codes
    assert len((tmp_path / "a.md").read_text()) > 200


# --- windows that close, and signals -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_the_partial_and_then_ends_the_process(tmp_path: Path, number: signal.Signals) -> None:
    with running(cwd=tmp_path) as process:
        process.send_signal(number)
        assert process.wait(20) == -number
    (saved,) = partials(tmp_path)
    assert saved.read_text().startswith("<!-- partial: interrupted -->\n")


def test_a_window_that_is_closed_saves_the_partial(tmp_path: Path) -> None:
    command = [*COMMAND, "collaborate", TASK, *MODEL]
    terminal = pexpect.spawn(
        command[0], command[1:], env=environment(FACILITAIR_SIMULATOR_SPEED="1"), cwd=tmp_path, timeout=30
    )
    terminal.expect("writing")
    terminal.expect("writing")
    time.sleep(1)
    os.close(terminal.child_fd)  # the kernel hangs up
    end = time.monotonic() + 20
    while not partials(tmp_path):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_signal_that_the_parent_ignores_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with running(cwd=tmp_path) as process:
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert process.poll() is None
            process.terminate()
            process.wait(20)
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_loop_of_the_shell(tmp_path: Path) -> None:
    one = " ".join([*COMMAND, "collaborate", "Sort", *MODEL, "--verbosity", "quiet"])
    shell = pexpect.spawn(
        "bash",
        ["-c", f"for n in 1 2 3; do echo round $n; {one}; done; echo all"],
        env=environment(FACILITAIR_SIMULATOR_SPEED="1"),
        cwd=tmp_path,
        timeout=30,
    )
    shell.expect_exact("round 1")
    time.sleep(1.5)
    shell.sendintr()
    shell.expect(pexpect.EOF)
    assert b"round 2" not in bytes(shell.before)  # type: ignore[arg-type]  # bytes, without an encoding


# --- files that hold something -------------------------------------------------------------------------------------


def test_a_partial_does_not_replace_a_whole_answer(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("what was paid for yesterday\n")
    with running("--output", "a.md", cwd=tmp_path) as process:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert (tmp_path / "a.md").read_text() == "what was paid for yesterday\n"
    assert (tmp_path / "a.partial.md").read_text().startswith("<!-- partial: interrupted -->\n")


def test_partials_replace_nothing_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.partial.md").write_text("notes of my own\n")
    for _ in range(3):
        with running("--output", "a.md", cwd=tmp_path) as process:
            process.send_signal(signal.SIGINT)
            process.wait(20)
    assert sorted(path.name for path in tmp_path.glob("a*")) == [
        "a.md",
        "a.partial-2.md",
        "a.partial-3.md",
        "a.partial.md",
    ]
    assert (tmp_path / "a.partial.md").read_text() == "notes of my own\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_comes_several_times_is_one(tmp_path: Path, number: signal.Signals) -> None:
    with running(cwd=tmp_path) as process:
        for _ in range(4):
            process.send_signal(number)
            time.sleep(0.005)
        assert process.wait(20) == -number
    assert len(partials(tmp_path)) == 1


@pytest.mark.parametrize(("more", "code", "files"), [((), 1, 1), (("--json",), 2, 0)])
def test_a_closed_standard_output_is_no_place_for_an_answer(
    tmp_path: Path, more: tuple[str, ...], code: int, files: int
) -> None:
    command = " ".join([*COMMAND, "collaborate", "Sort", *MODEL, *more])
    done = subprocess.run(
        ["sh", "-c", f"{command} >&-"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=50,
        check=False,
    )
    assert done.returncode == code
    assert len(list(tmp_path.glob("facilitair-*.md"))) == files


@full_disk
def test_events_that_fit_nowhere_leave_a_partial(tmp_path: Path) -> None:
    done = run_into_full("out", tmp_path, "--json")
    assert done.returncode == 1
    assert b"standard output cannot be written: No space left on device" in done.stderr


def test_a_recording_is_kept_until_there_is_another(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("what was recorded yesterday\n")
    done = run("collaborate", TASK, "--model", "nobody/x", "--record", "r.jsonl", cwd=tmp_path)
    assert done.returncode == 3
    assert (tmp_path / "r.jsonl").read_text() == "what was recorded yesterday\n"
    done = run("collaborate", TASK, "--model", "nobody/x", "--record", "new.jsonl", cwd=tmp_path)
    assert not (tmp_path / "new.jsonl").exists()
    done = run("collaborate", TASK, *MODEL, "--record", "r.jsonl", cwd=tmp_path)
    assert done.returncode == 0
    assert len(list(read_recording(tmp_path / "r.jsonl"))) > 10


def test_two_runs_do_not_share_a_recording(tmp_path: Path) -> None:
    with running("--record", "r.jsonl", cwd=tmp_path) as process:
        second = run("collaborate", TASK, *MODEL, "--record", "r.jsonl", cwd=tmp_path)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert second.returncode == 2
    assert b"another run is being recorded in 'r.jsonl'" in second.stderr
    assert json.loads((tmp_path / "r.jsonl").read_bytes().splitlines()[-1])["type"] == "task_cancelled"


# --- the simulator ---------------------------------------------------------------------------------------------------


def test_outside_a_terminal_the_simulator_wants_to_be_asked_for(tmp_path: Path) -> None:
    done = run(
        "collaborate",
        TASK,
        cwd=tmp_path,
        FACILITAIR_SIMULATE="0",
        OPENAI_APIKEY="sk-0",
        OLLAMA_HOST="127.0.0.1:1",
    )
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"OPENAI_APIKEY is set; did you mean OPENAI_API_KEY?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "consent"),
    [(("--simulate",), "0"), ((), "1")],
)
def test_what_it_wrote_says_so_wherever_it_goes(
    tmp_path: Path, arguments: tuple[str, ...], consent: str
) -> None:
    env = {"FACILITAIR_SIMULATE": consent, "OLLAMA_HOST": "127.0.0.1:1"}
    done = run("collaborate", TASK, *arguments, "--output", "a.md", cwd=tmp_path, stdin=b"", **env)
    assert done.returncode == 0
    for text in (done.stdout.decode(), (tmp_path / "a.md").read_text()):
        assert text.startswith(f"{SIMULATED_MARK}\n\n")


# --- a wrong key -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def refusing() -> AsyncIterator[tuple[str, list[str]]]:
    async def respond(request: Request) -> None:
        body = b'{"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}}'
        await request.send(answer("401 Unauthorized", body))

    async with provider(respond) as server:
        heads: list[str] = []
        yield server.url.removesuffix("/chat/completions"), heads
        heads += [request.head for request in server.requests if request.head.startswith("POST")]


@pytest.mark.parametrize("strategy", ["balanced", "pipeline"])
def test_a_wrong_key_is_found_with_the_first_request(tmp_path: Path, strategy: str) -> None:
    async def work() -> tuple[int | None, bytes, list[str]]:
        async with refusing() as (url, heads):
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                "collaborate",
                TASK,
                "--strategy",
                strategy,
                "--model",
                "openai/m",
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(OPENAI_BASE_URL=url, OPENAI_API_KEY="sk-wrong-0123456789"),
            )
            _, err = await process.communicate()
        return process.returncode, err, heads

    code, err, heads = asyncio.run(asyncio.wait_for(work(), 40))
    assert code == 3, err.decode()
    assert len(heads) == 1
    assert b"check OPENAI_API_KEY, or run `facilitair doctor`" in err
    assert b"sk-wrong" not in err
    assert len(err.splitlines()) < 12, err.decode()


# --- the live view ---------------------------------------------------------------------------------------------------


def test_keys_typed_in_the_live_view_reach_nobody(tmp_path: Path) -> None:
    terminal = Terminal(
        [
            "bash",
            "-c",
            " ".join([*COMMAND, "collaborate", "Sort", *MODEL, "--view", "live"])
            + "; read -t 1 x; echo got[$x]",
        ],
        env=environment(FACILITAIR_SIMULATOR_SPEED="4"),
        cwd=str(tmp_path),
        columns=120,
        height=40,
    )
    terminal.wait_until(lambda seen: seen.alternate)
    for _ in range(5):
        terminal.process.send("zqzqzq\n")
        time.sleep(0.2)
        terminal.wait_until(lambda seen: True)
        assert not any("zqzq" in line for line in terminal.display)
    terminal.wait()
    assert any("got[]" in line for line in terminal.lines)


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_replay_does_not_fall_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("collaborate", "Sort", *MODEL, "--record", "r.jsonl", cwd=tmp_path).returncode == 0
    recording = tmp_path / "r.jsonl"
    last = list(read_recording(recording))[-1]
    assert not isinstance(last, ev.UnknownEvent)
    clock = [0.0]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds

    async def watch() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock[0])
        monkeypatch.setattr("facilitair.cli.replay.asyncio.sleep", sleep)
        async for _ in paced(read_recording(recording), 1.0):
            clock[0] += 0.001  # what it takes to show it
        monkeypatch.undo()

    asyncio.run(watch())
    assert clock[0] == pytest.approx(last.ts, abs=0.1)
