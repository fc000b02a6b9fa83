"""The reference names every command, option and exit code, and no other option."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from facilitair.cli.exit_codes import ExitCode
from facilitair.cli.parser import PARSERS, top_parser

PAGE = (Path(__file__).parents[2] / "docs" / "terminal.md").read_text()


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


@pytest.mark.parametrize("name", PARSERS)
def test_every_command_and_option_is_in_the_reference(name: str) -> None:
    _, heading, rest = PAGE.partition(f"## facilitair {name}\n")
    assert heading
    section = rest.partition("\n## ")[0]
    for option in options(PARSERS[name]()) - {"-h", "--help"}:
        assert option in section, option


def test_the_reference_names_no_other_option() -> None:
    known = options(top_parser()).union(*(options(build()) for build in PARSERS.values()))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE)) <= known


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_in_the_reference(code: ExitCode) -> None:
    assert re.search(rf"^\| {code.value} \| \S", PAGE.partition("## Exit codes")[2], re.M)


@pytest.mark.parametrize("name", PARSERS)
def test_each_command_says_what_it_does_in_one_sentence_with_an_example(name: str) -> None:
    parser = PARSERS[name]()
    assert re.fullmatch(r"[A-Z][^.]*\.", parser.description or "")
    assert f"facilitair {name}" in (parser.epilog or "")
    assert all(action.help for action in parser._actions)


def test_the_examples_in_the_help_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    from facilitair.cli.parser import parse

    for build in PARSERS.values():
        command = (build().epilog or "").split("facilitair ", 1)[1].strip()
        assert parse(shlex.split(command)).command
