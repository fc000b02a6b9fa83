"""An output file holds all of the answer or what it held before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from facilitair.cli.files import check_writable, write_whole
from facilitair.errors import UsageError


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("before")
    path.chmod(0o640)
    write_whole(path, "after")
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_gets_the_mode_that_any_program_would_give_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a.md", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.md").stat().st_mode) == 0o640


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.md"
    link.symlink_to("real/a.md")
    check_writable(link, "--output")
    write_whole(link, "x")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a.md").read_text() == "x"


def test_what_is_no_regular_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    check_writable(Path(os.devnull), "--output")
    write_whole(Path(os.devnull), "x")
    assert not Path(os.devnull).is_file()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["", "none/a.md", "a" * 300, "nul\0byte"])
def test_what_cannot_be_written_is_said_with_its_option(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--record"):
        check_writable(tmp_path / name, "--record")


def test_checking_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.md", "--output")
    assert list(tmp_path.iterdir()) == []
