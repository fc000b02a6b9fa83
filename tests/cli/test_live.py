"""The live view in a real pseudo-terminal: drawn, resized, left again, whatever ends the run."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import msgspec
import pytest

from facilitair import events as ev
from facilitair.cli.signals import ONE_PRESS_S
from facilitair.recording import Recorder

from .command import COMMAND, environment, run
from .events import Script
from .screen import Terminal
from .test_layout import HOSTILE

TASK = "Write a rate limiter"
ENTER, LEAVE, FRAME = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?2026h"
CAST = ("Architect", "Coder", "Reviewer", "Refiner", "Documenter", "Synthesis")


def watching(tmp_path: Path, *arguments: str, columns: int = 120, height: int = 40, **env: str) -> Terminal:
    command = [*COMMAND, *(arguments or ("collaborate", TASK))]
    environ = environment(**{"FACILITAIR_SIMULATOR_SPEED": "4", **env})
    return Terminal(command, env=environ, cwd=str(tmp_path), columns=columns, height=height)


def shows_panels(terminal: Terminal) -> bool:
    return terminal.alternate and all(f" {name} " in "\n".join(terminal.display) for name in CAST)


def assert_given_back(terminal: Terminal) -> None:
    assert terminal.raw.count(ENTER) == terminal.raw.count(LEAVE) == 1
    assert not terminal.alternate
    assert not terminal.cursor_hidden
    assert terminal.raw.rindex(b"\x1b[?7h") > terminal.raw.rindex(b"\x1b[?7l")


def recording(tmp_path: Path, *events: ev.AnyEvent) -> str:
    with Recorder(tmp_path / "r.jsonl") as recorder:
        for event in events:
            recorder.write(event)
    return "r.jsonl"


def test_all_agents_are_seen_and_the_answer_stays(tmp_path: Path) -> None:
    terminal = watching(tmp_path)
    terminal.wait_until(shows_panels)
    terminal.wait_until(lambda t: "simulator/coder" in "\n".join(t.display))
    assert terminal.wait() == 0
    assert_given_back(terminal)
    text = "\n".join(terminal.lines)
    assert "Finished in" in text
    assert "using the built-in simulator" in text
    assert "write_rate_limiter" in text.partition("Finished in")[2]
    assert "╭─" not in text


def test_a_piped_answer_is_the_answer_alone(tmp_path: Path) -> None:
    """The view goes to standard error, so a redirected answer is what it is in lines."""
    script = Script()
    path = recording(tmp_path, *script.begin("coder"), *script.synthesis("# Hi"), script.completed("# Hi"))
    shell = f"{' '.join(COMMAND)} replay {path} > answer.md"
    terminal = Terminal(["/bin/sh", "-c", shell], env=environment(), cwd=str(tmp_path))
    assert terminal.wait() == 0
    assert (tmp_path / "answer.md").read_bytes() == run("replay", path, cwd=tmp_path).stdout == b"# Hi\n"


@pytest.mark.parametrize(("columns", "height"), [(80, 24), (200, 50), (60, 20)])
def test_another_size_is_another_layout(tmp_path: Path, columns: int, height: int) -> None:
    terminal = watching(tmp_path)
    terminal.wait_until(shows_panels)
    terminal.resize(columns, height)

    def fits(terminal: Terminal) -> bool:
        header, last = terminal.display[0], terminal.display[height - 1]
        return header.endswith("simulated") and last.startswith("╰─") and last.endswith("╯")

    terminal.wait_until(lambda t: t.raw.count(b"\x1b[2J") >= 3 and fits(t))
    assert len(terminal.display) == height
    assert terminal.column_of("╯", height - 1) == [columns - 1]
    terminal.process.sendintr()
    terminal.wait()
    assert_given_back(terminal)


@pytest.mark.parametrize(("columns", "height"), [(59, 40), (120, 11), (60, 12)])
def test_a_small_terminal_gets_lines(tmp_path: Path, columns: int, height: int) -> None:
    terminal = watching(tmp_path, columns=columns, height=height, FACILITAIR_SIMULATOR_SPEED="20")
    assert terminal.wait() == 0
    assert ENTER not in terminal.raw
    assert "Strategy balanced" in "\n".join(terminal.lines)


def test_a_window_made_too_small_gets_lines_until_there_is_room_again(tmp_path: Path) -> None:
    terminal = watching(tmp_path, FACILITAIR_SIMULATOR_SPEED="1")
    terminal.wait_until(shows_panels)
    terminal.resize(50, 20)
    terminal.wait_until(lambda t: not t.alternate and "Architect:" in "\n".join(t.lines))
    terminal.resize(100, 40)
    terminal.wait_until(shows_panels)
    terminal.process.sendintr()
    assert terminal.wait() == -signal.SIGINT
    assert terminal.raw.count(ENTER) == terminal.raw.count(LEAVE) == 2
    assert "Stopped: interrupted" in "\n".join(terminal.lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_gives_the_screen_back(tmp_path: Path, number: signal.Signals) -> None:
    terminal = watching(tmp_path)
    terminal.wait_until(lambda t: any(re.search("Synthesis .* writing", line) for line in t.display))
    terminal.process.kill(number)
    assert terminal.wait() == -number
    assert_given_back(terminal)
    text = "\n".join(terminal.lines)
    assert "Stopped: interrupted" in text
    assert "the partial answer is in facilitair-partial-" in text


def test_the_second_press_gives_the_screen_back_too(tmp_path: Path) -> None:
    script = Script()
    path = recording(tmp_path, *script.begin("coder"), script.text("coder", "Hi", ts=20.0))
    code = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from facilitair.cli.output import Output, Streams\n"
        "from facilitair.cli.presentation import Presentation\n"
        "from facilitair.cli.replay import paced\n"
        "from facilitair.cli.signals import Interrupts\n"
        "from facilitair.recording import read_recording\n"
        "async def main():\n"
        "    output = Output(streams=Streams.of(sys.stdout, sys.stderr, os.environ))\n"
        "    with Interrupts(lambda: print('stopping', file=sys.stderr)):\n"
        f"        await Presentation(output).show(paced(read_recording(Path({path!r})), 1))\n"
        "asyncio.run(main())\n"
    )
    command = [COMMAND[0], "-c", code]
    terminal = Terminal(command, env=environment(), cwd=str(tmp_path))
    terminal.wait_until(lambda t: t.alternate)
    terminal.process.sendintr()
    terminal.wait_until(
        lambda t: "stopping" in "\n".join(t.display)
    )  # told as news, not written over the panels
    time.sleep(2 * ONE_PRESS_S)
    terminal.process.sendintr()
    assert terminal.wait() == -signal.SIGINT
    assert_given_back(terminal)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_gives_the_screen_back(tmp_path: Path, number: signal.Signals) -> None:
    script = Script()
    path = recording(tmp_path, *script.begin("coder"), script.text("coder", "Hi", ts=20.0))
    terminal = watching(tmp_path, "replay", path)
    terminal.wait_until(lambda t: t.alternate)
    terminal.process.kill(number)
    assert terminal.wait() == -number
    assert_given_back(terminal)


def test_a_failed_run_gives_the_screen_back(tmp_path: Path) -> None:
    script = Script()
    events = [*script.begin("coder"), script.text("coder", "Hello", ts=0.8)]
    end = msgspec.structs.replace(script.failed("agents_failed"), ts=1.0)
    terminal = watching(tmp_path, "replay", recording(tmp_path, *events, end))
    assert terminal.wait() == 0
    assert_given_back(terminal)
    assert "it failed (agents_failed)" in "\n".join(terminal.lines)


def test_an_exception_gives_the_screen_back(tmp_path: Path) -> None:
    script = Script()
    path = recording(tmp_path, *script.begin("coder"), script.text("coder", "Hello", ts=0.8))
    with (tmp_path / path).open("ab") as file:
        file.write(b'no event\n{"type":"x"}\n')
    terminal = watching(tmp_path, "replay", path)
    assert terminal.wait() == 2
    assert_given_back(terminal)
    assert "facilitair: " in "\n".join(terminal.lines)


def test_ctrl_z_gives_the_shell_its_screen(tmp_path: Path) -> None:
    shell = Terminal(
        ["/bin/bash", "--norc", "-i"], env=environment(PS1="ready "), cwd=str(tmp_path), height=40
    )
    shell.wait_until(lambda t: "ready" in t.display[0])
    shell.process.sendline(f'{" ".join(COMMAND)} collaborate "{TASK}"')
    shell.wait_until(shows_panels)
    shell.process.send(b"\x1a")
    shell.wait_until(lambda t: not t.alternate and "Stopped" in "\n".join(t.lines))
    assert not shell.cursor_hidden
    shell.process.sendline("fg")
    shell.wait_until(lambda t: t.alternate or "Finished in" in "\n".join(t.lines))
    shell.wait_until(lambda t: not t.alternate and "Finished in" in "\n".join(t.lines))
    shell.process.sendline("exit")
    shell.wait()


def test_hostile_text_breaks_no_border_and_gives_no_order(tmp_path: Path) -> None:
    script = Script()
    events = [*script.begin("coder", "tester")]
    for _ in range(30):
        events += [script.text("coder", piece, ts=0.1) for piece in HOSTILE] + [
            script.text("tester", HOSTILE)
        ]
    events += [script.text("tester", "the end", ts=30.0)]
    terminal = watching(tmp_path, "replay", recording(tmp_path, *events), columns=100)
    terminal.wait_until(lambda t: "漢" in "\n".join(t.display))
    terminal.wait_until(lambda t: any("writing" in line for line in t.display))
    assert terminal.display[1].startswith("╭─")
    bottom = next(n for n, line in enumerate(terminal.display) if line.startswith("╰─"))
    assert bottom > 4
    for line in range(2, bottom):
        assert terminal.column_of("│", line) == [0, 49, 50, 99]
    terminal.process.sendintr()
    terminal.wait()
    assert_given_back(terminal)
    assert b"\xe2\x80\xae" not in terminal.raw  # U+202E
    rest = re.sub(rb"\x1b\[(\?(1049|2026|25|7)[hl]|[0-9;]*[mGHKJ])", b"", terminal.raw)
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]", rest.replace(b"^C", b""))


def test_frames_go_by_the_clock_and_not_by_tokens(tmp_path: Path) -> None:
    terminal = watching(tmp_path, FACILITAIR_SIMULATOR_SPEED="20")
    terminal.wait_until(lambda t: t.alternate)
    began, before = time.monotonic(), terminal.raw.count(FRAME)
    terminal.wait()
    took = time.monotonic() - began
    assert 0 < terminal.raw.count(FRAME) - before <= 20 * took + 5


def test_nothing_new_is_not_drawn(tmp_path: Path) -> None:
    script = Script()
    path = recording(
        tmp_path, *script.begin("coder"), script.text("coder", "Hi"), script.text("coder", "!", ts=3.0)
    )
    terminal = watching(tmp_path, "replay", path)
    terminal.wait()
    assert terminal.raw.count(FRAME) <= 8  # the first ones, one a second, and the slack of a slow machine


@pytest.mark.parametrize("arguments", [("--json",), ("--verbosity", "quiet")])
def test_a_live_view_of_something_else_is_wrong_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    terminal = watching(tmp_path, "collaborate", TASK, "--view", "live", *arguments)
    assert terminal.wait() == 2
    assert f"leave out {arguments[0]}" in "\n".join(terminal.lines)


def test_a_live_view_needs_a_terminal(tmp_path: Path) -> None:
    done = run("collaborate", TASK, "--view", "live", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"needs a UTF-8 terminal" in done.stderr


def test_no_color_is_lines_or_a_view_without_colours(tmp_path: Path) -> None:
    terminal = watching(tmp_path, "collaborate", TASK, NO_COLOR="1", FACILITAIR_SIMULATOR_SPEED="20")
    terminal.wait()
    assert b"\x1b" not in terminal.raw
    arguments = ("collaborate", TASK, "--view", "live")
    terminal = watching(tmp_path, *arguments, NO_COLOR="1", FACILITAIR_SIMULATOR_SPEED="20")
    terminal.wait_until(shows_panels)
    terminal.wait()
    view = terminal.raw.partition(LEAVE)[0]
    assert not re.search(rb"\x1b\[[0-9;]*3[0-9][0-9;]*m", view)


@pytest.mark.parametrize("view", ["auto", "lines"])
def test_a_pipe_gets_the_same_lines_whatever_the_view(tmp_path: Path, view: str) -> None:
    script = Script()
    path = recording(tmp_path, *script.begin("coder"), *script.synthesis("# Hi"), script.completed("# Hi"))
    done = run("replay", path, "--view", view, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"# Hi\n")
    assert b"\x1b" not in done.stderr
