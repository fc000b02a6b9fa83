"""`facilitair collaborate` through pipes: what goes where, and how it ends. Real processes, the built-in simulator."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from facilitair import events as ev
from facilitair.fold import answer, fold

from .command import COMMAND, environment, run, start

TASK = "Write a rate limiter"
CODER = ("--model", "simulator/coder")


def decoded(stdout: bytes) -> list[ev.AnyEvent]:
    events = [ev.decode(line) for line in stdout.splitlines()]
    assert not any(isinstance(event, ev.UnknownEvent) for event in events)
    return events  # type: ignore[return-value]


def started(stdout: bytes) -> ev.TaskStartedEvent:
    first = decoded(stdout)[0]
    assert isinstance(first, ev.TaskStartedEvent)
    return first


def test_only_the_answer_is_on_standard_output_and_no_escape_anywhere(tmp_path: Path) -> None:
    done = run("collaborate", TASK, "--output", "answer.md", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = (tmp_path / "answer.md").read_bytes()
    assert done.stdout == answer
    assert b"```" in answer
    assert b"\x1b" not in done.stdout + done.stderr
    for line in done.stderr.decode().splitlines():
        assert re.match(r"\[\d\d:\d\d\.\d\d\] |  \|", line), line
    assert re.search(r"\] Plan: \d+ chunks, ~\d+ s, simulated", done.stderr.decode())
    assert re.search(r"\] Coder: (\[.*?\] )?\S", done.stderr.decode())
    assert "Finished in" in done.stderr.decode()


def test_json_is_one_event_a_line_and_folds_to_the_answer(tmp_path: Path) -> None:
    done = run("collaborate", TASK, '{"team": 3}', "--json", "--language", "go", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    events = decoded(done.stdout)
    assert [isinstance(event, ev.TERMINAL) for event in events] == [False] * (len(events) - 1) + [True]
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    end = events[-1]
    assert isinstance(end, ev.TaskCompletedEvent)
    assert end.content == answer(fold(events[:-1]))
    assert started(done.stdout).context == {"team": 3, "language": "go"}


def test_argument_and_standard_input_are_joined(tmp_path: Path) -> None:
    done = run("collaborate", TASK, "--json", *CODER, cwd=tmp_path, stdin="and größer\n".encode())
    assert started(done.stdout).task.rstrip() == f"{TASK}\n\nand größer"


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_standard_input_alone_is_a_task(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run("collaborate", *arguments, "--json", *CODER, cwd=tmp_path, stdin=TASK.encode())
    assert started(done.stdout).task == TASK


def test_context_comes_from_json_and_flags_and_flags_win(tmp_path: Path) -> None:
    done = run(
        *(
            "collaborate",
            TASK,
            "--framework",
            "fastapi",
            '{"language": "go", "team": 3}',
            "--framework",
            "redis",
        ),
        *(
            "--language",
            "python",
            "--context",
            "team=4",
            "--context",
            "note=a=b",
            "--context",
            "tags=[1, null]",
        ),
        *("--json", *CODER),
        cwd=tmp_path,
    )
    assert started(done.stdout).context == {
        "language": "python",
        "team": 4,
        "frameworks": ["fastapi", "redis"],
        "note": "a=b",
        "tags": [1, None],
    }


def test_models_strategy_and_sections_are_taken(tmp_path: Path) -> None:
    done = run(
        *(
            "collaborate",
            TASK,
            "--json",
            "--strategy",
            "pipeline",
            "--section",
            "Design",
            "--section",
            "Code",
        ),
        *("--model", "simulator/generic", "--model", "coder=simulator/coder"),
        cwd=tmp_path,
    )
    first = started(done.stdout)
    models = {agent.role: agent.model for agent in first.agents}
    assert first.strategy == "pipeline"
    assert (models["coder"], models["architect"]) == ("coder", "generic")
    end = decoded(done.stdout)[-1]
    assert isinstance(end, ev.TaskCompletedEvent)
    assert [section.title for section in end.sections] == ["Design", "Code"]


def test_quiet_says_only_that_it_is_simulated(tmp_path: Path) -> None:
    done = run("collaborate", TASK, "--verbosity", "quiet", *CODER, cwd=tmp_path)
    assert done.stdout
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert "imulated" in lines[0]


def test_filtered_shows_states_and_syntheses_but_no_raw_text(tmp_path: Path) -> None:
    done = run("collaborate", TASK, "--verbosity", "filtered", *CODER, cwd=tmp_path)
    shown = done.stderr.decode()
    assert "Coder starts on" in shown
    assert "Coder considers Architect #1" in shown
    assert "Synthesis of" in shown
    assert not re.search(r"^\[[\d:.]+\] \w+: ", shown.replace("Plan: ", "").replace("Warning: ", ""), re.M)


# How it ends


def test_a_lost_agent_makes_a_partial_result(tmp_path: Path) -> None:
    done = run("collaborate", TASK, "--model", "reviewer=simulator/reviewer+refused", cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert done.stdout
    assert b"Partial result: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--model", "simulator/coder+cut"), 1),
        (("--model", "simulator/coder", "--max-tokens", "1500"), 4),
        (("--model", "simulator/coder+silent=0.9", "--timeout", "0.7"), 124),
    ],
)
def test_a_run_that_is_stopped_keeps_and_names_what_there_is(
    tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    done = run("collaborate", TASK, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, b""), done.stderr
    (saved,) = tmp_path.glob("facilitair-partial-*.md")
    assert f"the partial answer is in {saved.name}" in done.stderr.decode()
    mark, text = saved.read_text().split("\n", 1)
    assert re.fullmatch(r"<!-- partial: \w+ -->", mark)
    assert text.strip()


def test_without_any_text_no_file_is_left(tmp_path: Path) -> None:
    done = run("collaborate", TASK, "--model", "simulator/coder+refused", cwd=tmp_path)
    assert done.returncode == 1
    assert b"nothing of the answer had been written yet" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_partial_answer_goes_to_the_output_file_when_there_is_one(tmp_path: Path) -> None:
    done = run(
        "collaborate",
        TASK,
        "--model",
        "simulator/coder+silent=0.9",
        "--timeout",
        "0.7",
        "--output",
        "a.md",
        cwd=tmp_path,
    )
    assert done.returncode == 124
    assert (tmp_path / "a.md").read_text().startswith("<!-- partial: deadline_exceeded -->\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]


def test_a_reader_that_leaves_ends_it_and_what_there_was_is_kept(tmp_path: Path) -> None:
    with start(
        "collaborate", TASK, "--json", *CODER, cwd=tmp_path, FACILITAIR_SIMULATOR_SPEED="1"
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(20) == 141
    kept = list(tmp_path.iterdir())  # nothing, where not a word had been written yet
    assert said == "".join(f"facilitair: the partial answer is in {path.name}\n" for path in kept)
    assert len(kept) <= 1


def test_a_reader_that_is_gone_at_the_end_ends_it_quietly(tmp_path: Path) -> None:
    with start("collaborate", TASK, "--verbosity", "quiet", *CODER, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read().count(b"\n") == 2  # that it is simulated, and where the answer is
        assert process.wait(20) == 141


def test_a_full_disk_is_said_and_fails(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = run("collaborate", TASK, "--record", "/dev/full", "--verbosity", "quiet", *CODER, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout  # the run was paid for, so its answer is given
    assert done.stderr.decode().count("cannot write the recording '/dev/full': No space left on device") == 1


# Wrong input: one clear line, and no run


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        ((), b"", 2, "the task is empty"),
        (("",), b" \n", 2, "the task is empty"),
        (("-",), b"", 2, "the task is empty"),
        ((), b"\x89PNG\r\n\x1a\n\0\0\0", 2, "NUL bytes"),
        ((), b"\xff\xfe\xfa", 2, "not UTF-8"),
        ((b"\xff",), b"", 2, "not UTF-8"),
        ((), b"x" * (1024 * 1024 + 1), 2, "larger than 1 MiB"),
        ((TASK,), b"x" * (1024 * 1024), 2, "larger than 1 MiB"),
        ((TASK, "{"), b"", 2, "CONTEXT_JSON is not JSON"),
        ((TASK, "[" * 100_000), b"", 2, "CONTEXT_JSON is not JSON"),
        ((TASK, "[1]"), b"", 2, "must be a JSON object"),
        ((TASK, '{"a": NaN}'), b"", 2, "CONTEXT_JSON is not JSON"),
        ((TASK, "{}", "more"), b"", 2, "unrecognized arguments: more"),
        ((TASK, "--context", "novalue"), b"", 2, "is not KEY=VALUE"),
        ((TASK, "--context", "=value"), b"", 2, "is not KEY=VALUE"),
        ((TASK, "--strategy", "nope"), b"", 2, "strategy 'nope' is not known"),
        ((TASK, "--strategy", "balansed"), b"", 2, "did you mean balanced?"),
        ((TASK, "--preset", "nope"), b"", 2, "'nope'"),
        ((TASK, "--preset", "fats"), b"", 2, "did you mean fast?"),
        ((TASK, "--model", "nope"), b"", 2, "neither PROVIDER/MODEL nor ROLE=PROVIDER/MODEL"),
        ((TASK, "--model", "coder="), b"", 2, "neither PROVIDER/MODEL nor ROLE=PROVIDER/MODEL"),
        ((TASK, "--model", "nope=simulator/coder"), b"", 2, "'nope'"),
        ((TASK, "--model", "nope/model"), b"", 3, "'nope'"),
        ((TASK, "--max-cost", "0"), b"", 2, "--max-cost: '0' is not a number of dollars above 0"),
        ((TASK, "--max-tokens", "1.5"), b"", 2, "--max-tokens"),
        ((TASK, "--max-tokens", "1" * 400), b"", 2, "max_tokens"),
        ((TASK, "--max-tokens", "1" * 5000), b"", 2, "--max-tokens"),
        ((TASK, "--timeout", "inf"), b"", 2, "--timeout"),
        ((TASK, "--verbosity", "loud"), b"", 2, "--verbosity"),
        ((TASK, "--nope"), b"", 2, "--nope"),
        ((TASK, "--output", "."), b"", 2, "--output '.' is a directory"),
        ((TASK, "--output", "none/a.md"), b"", 2, "--output 'none/a.md' cannot be written: No such file"),
        ((TASK, "--record", "none/a.jsonl"), b"", 2, "--record 'none/a.jsonl' cannot be written"),
        ((TASK, "--record", "a", "--output", "./a"), b"", 2, "name the same file"),
    ],
)
def test_wrong_input_gets_one_line_and_starts_nothing(
    tmp_path: Path, arguments: tuple[str | bytes, ...], stdin: bytes, code: int, words: str
) -> None:
    done = run("collaborate", *arguments, cwd=tmp_path, stdin=stdin)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (code, b"", 1), done.stderr[:2000]
    assert words in lines[0]
    assert lines[0].startswith("facilitair: ")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_named_with_the_way_without_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    done = run("collaborate", TASK, cwd=tmp_path, FAC_API_BASE=address)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert f"cannot reach {address}" in done.stderr.decode()
    assert "--server none" in done.stderr.decode()
    assert "FAC_API_BASE" in done.stderr.decode()


CYCLE = """
[strategy.loop]
agents = [{name = "a", role = "coder"}, {name = "b", role = "coder"}]
edges = [{from = "a", to = "b"}, {from = "b", to = "a"}]
"""


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("nonsense = [", "facilitair.toml"),
        ("[limits]\nmax_coast = 1\n", "max_coast"),
        (CYCLE, "loop"),
    ],
)
def test_a_wrong_configuration_gets_one_line_and_exit_3(tmp_path: Path, file: str, words: str) -> None:
    (tmp_path / "facilitair.toml").write_text(file)
    done = run("collaborate", TASK, "--strategy", "loop", cwd=tmp_path)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (3, b"", 1), done.stderr
    assert words in lines[0]


def test_a_read_only_output_is_found_before_the_run(tmp_path: Path) -> None:
    target = tmp_path / "answer.md"
    target.write_text("before")
    target.chmod(0o444)
    if os.access(target, os.W_OK):
        pytest.skip("this user may write everything")
    done = run("collaborate", TASK, "--output", "answer.md", cwd=tmp_path)
    assert (done.returncode, target.read_text()) == (2, "before")


def test_closed_standard_streams_are_no_crash(tmp_path: Path) -> None:
    script = f'"{COMMAND[0]}" -m facilitair.cli collaborate x --model simulator/coder 0<&- 1>&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, env=environment(), timeout=50, check=False)
    assert done.returncode == 1  # nobody got the answer
    assert len(list(tmp_path.glob("facilitair-answer-*.md"))) == 1


# The files of the answer


def test_the_files_of_the_answer_are_written_into_a_folder(tmp_path: Path) -> None:
    done = run("collaborate", TASK, "--simulate", "--write", "out", "--strategy", "pipeline", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").rglob("core.py")
    assert file.read_text() in done.stdout.decode()
    assert b"wrote core.py" in done.stderr


def test_a_file_that_is_there_is_written_over_only_by_force(tmp_path: Path) -> None:
    place = tmp_path / "out" / "core.py"
    place.parent.mkdir()
    place.write_text("mine")
    command = ("collaborate", TASK, "--simulate", "--write", "out", "--strategy", "pipeline")
    done = run(*command, cwd=tmp_path)
    assert (done.returncode, place.read_text()) == (1, "mine")
    assert b"--force" in done.stderr
    assert run(*command, "--force", cwd=tmp_path).returncode == 0
    assert place.read_text() != "mine"


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "core.py").symlink_to(outside)
    command = ("collaborate", TASK, "--simulate", "--write", "out", "--strategy", "pipeline", "--force")
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert b"outside" in done.stderr
    assert not outside.exists()


def test_a_folder_that_is_a_file_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = run("collaborate", TASK, "--simulate", "--write", "out/deep", cwd=tmp_path)
    assert done.returncode == 2
    assert b"is no directory" in done.stderr
    done = run("collaborate", TASK, "--simulate", "--force", cwd=tmp_path)
    assert done.returncode == 2
    assert b"--write DIR" in done.stderr
