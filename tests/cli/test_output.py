"""What a run is shown as follows from what was asked for and what the streams can show."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facilitair.cli.output import Output, Streams
from facilitair.errors import UsageError

PIPES = Streams()
TERMINAL = Streams(
    out_is_terminal=True, out_is_capable=True, err_is_capable=True, err_is_drawable=True, colours=True
)
MONOCHROME = replace(TERMINAL, colours=False)
LATIN = replace(TERMINAL, err_is_drawable=False)


class Stream(io.StringIO):
    def __init__(self, encoding: str, *, terminal: bool) -> None:
        super().__init__()
        self._encoding = encoding
        self._terminal = terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("asked", "streams", "style"),
    [
        ({}, TERMINAL, "live"),
        ({}, PIPES, "plain"),
        ({}, MONOCHROME, "plain"),
        ({}, LATIN, "coloured"),
        ({"view": "lines"}, TERMINAL, "coloured"),
        ({"view": "live"}, MONOCHROME, "live"),
        ({"verbosity": "filtered"}, TERMINAL, "coloured"),
        ({"verbosity": "quiet"}, PIPES, "plain"),
        ({"json": True}, TERMINAL, "json"),
        ({"json": True, "view": "lines"}, PIPES, "json"),
    ],
)
def test_the_style(asked: dict[str, Any], streams: Streams, style: str) -> None:
    output = Output(streams=streams, **asked)
    output.check()
    assert output.style == style


@pytest.mark.parametrize(
    ("asked", "streams", "words"),
    [
        ({}, PIPES, "needs a UTF-8 terminal"),
        ({}, LATIN, "needs a UTF-8 terminal"),
        ({"json": True}, TERMINAL, "leave out --json"),
        ({"verbosity": "quiet"}, TERMINAL, "leave out --verbosity quiet"),
    ],
)
def test_a_live_view_that_cannot_be_is_refused(asked: dict[str, Any], streams: Streams, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Output(view="live", streams=streams, **asked).check()


@pytest.mark.parametrize(("streams", "formatted"), [(TERMINAL, True), (MONOCHROME, False), (PIPES, False)])
def test_the_answer_is_formatted_for_a_terminal_with_colours(streams: Streams, formatted: bool) -> None:
    assert Output(streams=streams).formats_answer is formatted


def test_files_are_checked_by_the_name_of_their_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--output"):
        Output(answer=tmp_path).check()
    with pytest.raises(UsageError, match="--record"):
        Output(record=tmp_path / "none" / "r").check()
    (tmp_path / "link").symlink_to(tmp_path / "r")
    with pytest.raises(UsageError, match="same file"):
        Output(answer=tmp_path / "link", record=tmp_path / "r").check()
    Output(answer=tmp_path / "a", record=tmp_path / "r").check()


@pytest.mark.parametrize(
    ("out", "err", "env", "expected"),
    [
        (True, True, {"TERM": "xterm"}, TERMINAL),
        (True, True, {"TERM": "xterm", "NO_COLOR": "1"}, MONOCHROME),
        (True, True, {"TERM": "xterm", "NO_COLOR": ""}, TERMINAL),
        (False, False, {"TERM": "xterm"}, PIPES),
        (True, True, {"TERM": "dumb"}, replace(PIPES, out_is_terminal=True)),
        (True, True, {}, replace(PIPES, out_is_terminal=True)),
        (False, True, {"TERM": "xterm"}, replace(TERMINAL, out_is_terminal=False, out_is_capable=False)),
    ],
)
def test_what_streams_can_show(out: bool, err: bool, env: dict[str, str], expected: Streams) -> None:
    found = Streams.of(Stream("utf-8", terminal=out), Stream("UTF-8", terminal=err), env)
    assert found == expected


def test_another_encoding_cannot_be_drawn_in() -> None:
    out, err = Stream("utf-8", terminal=True), Stream("iso-8859-1", terminal=True)
    assert Streams.of(out, err, {"TERM": "xterm"}) == LATIN
