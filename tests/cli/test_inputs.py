"""What is typed or piped is read as text, put together, and refused by name when it cannot be used."""

from __future__ import annotations

import io

import pytest

from facilitair.cli.inputs import MAX_INPUT_BYTES, context_of, models_of, read_task
from facilitair.errors import UsageError


def piped(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data))


def test_a_task_comes_from_the_argument_or_from_a_pipe() -> None:
    assert read_task("a task", None) == "a task"
    assert read_task(None, piped(b"piped")) == "piped"
    assert read_task("-", piped("\ufeffgrößer".encode())) == "größer"


@pytest.mark.parametrize(
    ("argument", "data", "words"),
    [
        (None, b" \n", "the task is empty"),
        ("-", b"a\0b", "standard input holds NUL bytes"),
        (None, b"\xff", "standard input is not UTF-8"),
        ("\udcff", None, "the task is not UTF-8"),
        (None, b"x" * (MAX_INPUT_BYTES + 1), "standard input is larger than 1 MiB"),
    ],
)
def test_what_is_no_task_is_refused(argument: str | None, data: bytes | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_task(argument, None if data is None else piped(data))


def test_a_value_of_the_context_is_json_if_it_can_be() -> None:
    items = ["a=1", "b=[true]", "c=x=y", "d=", " e =0"]
    assert context_of(None, items) == {"a": 1, "b": [True], "c": "x=y", "d": "", "e": 0}


def test_the_later_kind_of_context_wins() -> None:
    text = '{"language": "go", "frameworks": [], "team": 3}'
    context = context_of(text, ["language=c", "team=4"], language="rust", frameworks=["nom"])
    assert context == {"language": "rust", "frameworks": ["nom"], "team": 4}


@pytest.mark.parametrize(
    ("json", "items", "words"),
    [
        ("[1]", (), "CONTEXT_JSON must be a JSON object"),
        ("{", (), "CONTEXT_JSON is not JSON"),
        (None, ("novalue",), "--context 'novalue' is not KEY=VALUE"),
        (None, ("a=\udcff",), "--context is not UTF-8"),
    ],
)
def test_what_is_no_context_is_refused(json: str | None, items: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        context_of(json, items)


def test_models_are_by_role_and_none_without_arguments() -> None:
    assert models_of([]) is None
    assert models_of(["a/b", "coder=c/d", "e/f=g"]) == {"*": "e/f=g", "coder": "c/d"}


@pytest.mark.parametrize("argument", ["", "model", "/m", "p/", "coder=", "=a/b", "coder=m"])
def test_what_is_no_model_is_refused(argument: str) -> None:
    with pytest.raises(UsageError, match="neither PROVIDER/MODEL nor ROLE=PROVIDER/MODEL"):
        models_of([argument])
