"""A recording gives back what was written, also when the writer was killed, and never takes another file for one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import facilitair
from facilitair import events as ev
from facilitair.errors import RecordingError
from facilitair.recording import Recorder, event_line, read_recording


def token(text: str, seq: int = 1) -> ev.TokenStreamEvent:
    return ev.TokenStreamEvent(stream_id="s", seq=seq, ts=0.1, chunk_id="c", agent="a", tokens=text)


def recorded(path: Path, *events: Any) -> Path:
    with Recorder(path) as recorder:
        for event in events:
            recorder.write(event)
    return path


@given(st.text(), st.text())
def test_a_line_is_one_printable_line_and_decodes_to_the_event(agent_text: str, more: str) -> None:
    event = token(agent_text + more)
    line = event_line(event)
    assert ev.decode(line) == event
    assert line.decode().splitlines() == [line.decode()[:-1]]
    assert all(
        char.isprintable() or ord(char) > 0x2069 or char == "\xad"
        for char in line.decode()[:-1]
        if ord(char) < 0xA0
    )


def test_reading_gives_what_was_written(tmp_path: Path) -> None:
    events = [
        token("a\n"),
        token("\x1b[2J\x9b\x7f\u2028 größer", 2),
        ev.UnknownEvent(type="new", raw=b'{"type":"new","x":1}'),
    ]
    recording = read_recording(recorded(tmp_path / "r", *events))
    assert list(recording) == [*events[:2], ev.UnknownEvent(type="new", raw=b'{"type":"new","x":1}\n')]
    assert not recording.truncated


def test_every_event_is_in_the_file_before_the_next(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r") as recorder:
        for seq in (1, 2):
            recorder.write(token("x", seq))
            assert [event.seq for event in read_recording(tmp_path / "r") if isinstance(event, ev.Event)][
                -1
            ] == seq


def test_a_killed_writer_leaves_a_readable_file(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from facilitair import events as ev
from facilitair.recording import Recorder
with Recorder(Path(sys.argv[1])) as recorder:
    for seq in range(1, 1_000_000):
        recorder.write(ev.CacheMissEvent(stream_id="s", seq=seq, ts=0.0, reason="x" * 500))
        if seq == 101:
            print("go", flush=True)
"""
    path = tmp_path / "r"
    env = {**os.environ, "PYTHONPATH": str(Path(facilitair.__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    seqs = [event.seq for event in read_recording(path) if isinstance(event, ev.Event)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 100


@pytest.mark.parametrize(
    ("seqs", "words"),
    [
        ((1, 3), "line 2: event 3 follows 1: what is between them is missing"),
        ((1, 2, 2), "line 3: event 2 comes twice"),
    ],
)
def test_a_recording_with_events_missing_or_doubled_is_damaged(
    tmp_path: Path, seqs: tuple[int, ...], words: str
) -> None:
    path = recorded(tmp_path / "r", *(token("x", seq) for seq in seqs))
    with pytest.raises(RecordingError, match=words):
        list(read_recording(path))


def test_what_was_recorded_from_the_middle_of_a_run_is_whole(tmp_path: Path) -> None:
    path = recorded(tmp_path / "r", token("x", 7), token("y", 8))
    assert len(list(read_recording(path))) == 2


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_last_line_that_was_cut_off_is_told(tmp_path: Path, cut: int) -> None:
    path = recorded(tmp_path / "r", token("a"), token("b", 2))
    path.write_bytes(path.read_bytes()[:-cut])
    recording = read_recording(path)
    # Without its line end alone, the last event is whole.
    assert len(list(recording)) == (2 if cut == 1 else 1)
    assert recording.truncated == (cut != 1)


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text("something else, and longer than what follows " * 100)
    assert len(list(read_recording(recorded(path, token("a"))))) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\n", "its first line is not an event"),
        (b"# a note\n", "its first line is not an event"),
        (b"\x89PNG\r\n\x1a\n", "its first line is not an event"),
        (b'{"type":"session_meta","id":1}\n', "its first line is not an event"),
        (b'{"type":"cache_miss"}\n', "its first line is not an event"),
        (b"[" * 100_000, "its first line is not an event"),
    ],
)
def test_another_file_is_no_recording(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=words):
        list(read_recording(path))


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = recorded(tmp_path / "r", token("a"))
    path.write_bytes(path.read_bytes() + b"\0\0\0\n" + event_line(token("b", 2)))
    with pytest.raises(RecordingError, match="line 2 is not an event"):
        list(read_recording(path))


@pytest.mark.parametrize("place", [".", "none/r"])
def test_what_cannot_be_opened_is_a_recording_error(tmp_path: Path, place: str) -> None:
    with pytest.raises(RecordingError, match="cannot write the recording"), Recorder(tmp_path / place):
        pass
    with pytest.raises(RecordingError, match="cannot read the recording"):
        list(read_recording(tmp_path / place))


def test_writing_outside_of_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="is not open"):
        Recorder(tmp_path / "r").write(token("a"))
