"""`docs/server.md` names every route and metric, and its examples run as they stand against a real server."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .cli.server import KEY, serving

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "server.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server"), speed="100") as url:
        yield url


def get(url: str) -> str:
    request = urllib.request.Request(url, headers={"X-API-Key": KEY})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return str(answer.read().decode())


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are for curl")
@pytest.mark.parametrize("example", EXAMPLES, ids=range(1, len(EXAMPLES) + 1))
def test_every_example_runs(server: str, example: str) -> None:
    env = {**os.environ, "FAC_API_BASE": server, "FAC_API_KEY": KEY}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example], env=env, capture_output=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    (expected,) = (
        words
        for part, words in (
            ("/cancel/", b'"status":"cancelled"'),
            ("/status/", b'"status":'),
            ('"stream": false', b'"status":"completed"'),
            ("/v1/", b'"finish_reason":"stop"'),
            ("/metrics", b"facilitair_runs_active 0.0"),
        )
        if part in example
    )
    assert expected in done.stdout


def test_the_table_of_routes_is_complete(server: str) -> None:
    described: dict[str, Any] = json.loads(get(f"{server}/openapi.json"))["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}
    assert set(re.findall(r"^\| `((?:GET|POST) [^`]+)` \| \S", PAGE, re.M)) == routes


def test_the_table_of_metrics_is_complete(server: str) -> None:
    served = set(re.findall(r"^# TYPE (facilitair_\w+) (?!.*_created)", get(f"{server}/metrics"), re.M))
    section = PAGE.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(facilitair_\w+)`", section)) == {
        n for n in served if not n.endswith("_created")
    }


def test_the_example_of_the_library_page_runs(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "library.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python no-run\n(.*?)^```", page, re.M | re.S)
    code = compile(
        example.replace("http://127.0.0.1:8420", server),
        "docs/library.md",
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
    )

    async def run() -> None:
        await eval(code, {"api_key": KEY})  # noqa: S307 (our own page)

    asyncio.run(run())
    assert capsys.readouterr().out.rstrip().endswith(" completed")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([\w.]+\.md)", PAGE))))
def test_links_lead_somewhere(target: str) -> None:
    assert (DOCS / target).is_file()
