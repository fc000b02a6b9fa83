"""`docs/library.md` names everything public, and its examples run as they stand, on simulated models."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

import facilitair
from facilitair import Client, errors, events, load_config
from facilitair.engine.graph import Strategy

PAGE = (Path(__file__).parents[1] / "docs" / "library.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def example_with(words: str) -> str:
    """Return the one example with these words."""
    (found,) = [example for example in EXAMPLES if words in example]
    return str(found)


def run_example(example: str) -> dict[str, object]:
    """Run an example as `python -m asyncio` would, and return its names."""
    names: dict[str, object] = {"facilitair": facilitair}
    code = compile(example, "docs/library.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:

        async def run() -> None:
            await eval(code, names)  # noqa: S307 (our own page)

        asyncio.run(run())
    else:
        exec(code, names)  # noqa: S102 (our own page)
    return names


def test_the_example_of_embeddings_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "embeddings.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    run_example(str(example))

    assert capsys.readouterr().out


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a project whose models are simulated, at high speed."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "facilitair.toml").write_text('[models]\nprovider = "simulator"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACILITAIR_SIMULATOR_SPEED", "1000")
    return tmp_path


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"example-{n}" for n in range(1, len(EXAMPLES) + 1)])
def test_every_example_runs(project: Path, capsys: pytest.CaptureFixture[str], example: str) -> None:
    run_example(example)

    assert capsys.readouterr().out or "assert" in example


def test_the_example_that_cancels_is_cancelled(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_example(example_with("run.cancel("))

    assert capsys.readouterr().out.startswith("cancelled ")


def test_the_example_that_runs_out_of_time_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_example(example_with("except facilitair.RunError"))

    assert "time limit" in capsys.readouterr().out


def test_the_strategy_in_toml_is_the_one_in_python(project: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S)
    with (project / "facilitair.toml").open("a") as file:
        file.write(example)
    in_python = run_example(example_with("pair = Strategy("))["pair"]
    table = load_config(project, {}).strategy["pair"]

    async def state() -> events.RunState:
        async with Client() as client:
            return (await client.run("Write a connection pool", strategy="pair")).state

    assert isinstance(in_python, Strategy)
    assert asyncio.run(state()).strategy == "pair"
    assert [(a.name, a.role, a.prompt) for a in table.agents] == [
        (a.name, a.role, a.prompt) for a in in_python.agents
    ]
    assert [(e.from_, e.to, e.kind) for e in table.edges] == [
        (e.source, e.target, e.kind) for e in in_python.edges
    ]
    assert table.loop is not None
    assert in_python.loop is not None
    assert (table.loop.reviewer, table.loop.max_rounds) == (
        in_python.loop.reviewer,
        in_python.loop.max_rounds,
    )
    assert table.synthesis == in_python.synthesis


@pytest.mark.parametrize("name", facilitair.__all__)
def test_every_public_name_is_on_the_page(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)


def test_the_table_of_options_is_complete() -> None:
    section = PAGE.partition("\n## Options\n")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \|", section, re.M) == list(facilitair.RunOptions.__annotations__)


def test_the_table_of_events_is_complete() -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| `(\w+Event)` \| \S", PAGE, re.M))

    assert shown == {str(kind.__struct_config__.tag): kind.__name__ for kind in get_args(events.AnyEvent)}


def test_the_table_of_the_result_is_complete() -> None:
    section = PAGE.partition("\n## The result\n")[2].partition("\n## ")[0]
    public = {name for name in dir(facilitair.Result) if not name.startswith("_")}

    assert set(re.findall(r"^\| `(\w+)` \|", section, re.M)) == public


def test_the_tree_of_errors_is_the_real_one() -> None:
    tree = re.findall(r"^((?:[│├└─ ]{4})*)(\w+Error)\b", PAGE.partition("\n## Errors\n")[2], re.M)
    shown: dict[str, str] = {}
    path: list[str] = []
    for indent, name in tree:
        path[len(indent) // 4 :] = [name]
        shown[name] = path[-2] if len(path) > 1 else ""
    real = {
        kind.__name__: kind.__bases__[0].__name__
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.FacilitairError)
    } | {"FacilitairError": ""}

    assert shown == {name: parent for name, parent in real.items() if name in facilitair.__all__}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([\w.]+\.md)", PAGE))))
def test_links_lead_somewhere(target: str) -> None:
    assert (Path(__file__).parents[1] / "docs" / target).is_file()
