"""A run that is shown leaves its answer, its files and an exit code, however it ends."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from facilitair import events as ev
from facilitair.cli.exit_codes import ExitCode
from facilitair.cli.output import Output
from facilitair.cli.presentation import Presentation
from facilitair.errors import RecordingError
from facilitair.recording import read_recording

from .events import Script

QUIET = Output(verbosity="quiet")


async def sent(*events: ev.AnyEvent) -> AsyncGenerator[ev.AnyEvent]:
    for event in events:
        yield event


def shown(output: Output, *events: ev.AnyEvent) -> ExitCode:
    presentation = Presentation(output)
    asyncio.run(presentation.show(sent(*events)))
    return presentation.conclude(interrupted=True)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("degraded", "code"), [((), ExitCode.OK), (("tester",), ExitCode.PARTIAL)])
def test_an_answer_goes_to_standard_output_and_its_file(
    directory: Path, capsys: pytest.CaptureFixture[str], degraded: tuple[str, ...], code: ExitCode
) -> None:
    script = Script()
    output = Output(verbosity="quiet", answer=directory / "a.md", record=directory / "r.jsonl")
    events = [*script.begin("coder"), script.completed("# Hi\x1b[2J\n\n", degraded)]
    assert shown(output, *events) is code
    assert capsys.readouterr().out == (directory / "a.md").read_text() == "# Hi\n"
    assert list(read_recording(directory / "r.jsonl")) == events


def test_json_is_the_events_and_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    event = Script().completed("# Hi")
    assert shown(Output(json=True), event) is ExitCode.OK
    assert [ev.decode(line) for line in capsys.readouterr().out.splitlines()] == [event]


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("agents_failed", ExitCode.FAILED),
        ("budget_exceeded", ExitCode.BUDGET),
        ("deadline_exceeded", ExitCode.DEADLINE),
        ("of_a_later_version", ExitCode.FAILED),
    ],
)
def test_a_failure_is_a_code_and_a_partial_answer(
    directory: Path, capsys: pytest.CaptureFixture[str], code: str, exit_code: ExitCode
) -> None:
    assert shown(QUIET, Script().failed(code)) is exit_code
    assert (directory / "facilitair-partial-run-1.md").read_text() == f"<!-- partial: {code} -->\nhalf\n"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "the partial answer is in facilitair-partial-run-1.md" in captured.err


def test_a_cancelled_run_leaves_its_partial_answer_where_the_answer_would_be(directory: Path) -> None:
    output = Output(verbosity="quiet", answer=directory / "a.md")
    assert shown(output, Script().cancelled()) is ExitCode.INTERRUPTED
    assert [path.name for path in directory.iterdir()] == ["a.md"]
    assert (directory / "a.md").read_text() == "<!-- partial: interrupted -->\nhalf\n"


def test_nothing_written_is_nothing_saved(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(QUIET, Script().failed("internal", partial=" \n")) is ExitCode.FAILED
    assert list(directory.iterdir()) == []
    assert "so nothing was saved" in capsys.readouterr().err


def test_a_directory_that_cannot_be_written_is_no_loss(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "gone").mkdir()
    (directory / "tmp").mkdir()
    monkeypatch.chdir(directory / "gone")
    (directory / "gone").rmdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory / "tmp"))
    assert shown(QUIET, Script().cancelled()) is ExitCode.INTERRUPTED
    (saved,) = (directory / "tmp").iterdir()
    assert f"the partial answer is in {saved}" in capsys.readouterr().err


def test_an_answer_that_cannot_be_saved_is_given_and_fails(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(verbosity="quiet", answer=directory / "none" / "a.md")
    assert shown(output, Script().completed("# Hi")) is ExitCode.FAILED
    captured = capsys.readouterr()
    assert captured.out == "# Hi\n"
    assert "cannot write" in captured.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_recording_that_cannot_go_on_is_said_once_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    script = Script()
    output = Output(verbosity="quiet", record=Path("/dev/full"))
    assert shown(output, *script.begin("coder"), script.completed("# Hi")) is ExitCode.FAILED
    captured = capsys.readouterr()
    assert captured.out == "# Hi\n"
    assert captured.err.count("the run goes on without it") == 1


def test_a_recording_that_cannot_begin_is_an_error(directory: Path) -> None:
    with pytest.raises(RecordingError):
        shown(Output(verbosity="quiet", record=directory / "none" / "r"), Script().completed("# Hi"))


def test_a_run_that_breaks_off_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(QUIET, *Script().begin("coder")) is ExitCode.FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "without an end" in captured.err


def test_the_run_is_left_when_it_can_no_longer_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    left = []

    async def run() -> AsyncGenerator[ev.AnyEvent]:
        try:
            for event in Script().begin("coder"):
                yield event
        finally:
            left.append(True)

    class Gone:
        buffer = property(lambda self: self)

        def write(self, data: bytes) -> int:
            raise BrokenPipeError

    async def watch() -> None:
        with pytest.raises(BrokenPipeError):
            await Presentation(Output(json=True)).show(run())
        assert left == [True]  # and not only when the loop ends

    monkeypatch.setattr(sys, "stdout", Gone())
    asyncio.run(watch())
