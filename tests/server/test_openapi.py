"""The server does what its OpenAPI document says, whatever it is sent: schemathesis makes the requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from facilitair import Client, Config
from facilitair.server.app import create_app
from facilitair.server.settings import server_settings
from tests.cli.command import start
from tests.cli.server import KEY

APP = create_app(server_settings(Config(), {"FACILITAIR_SERVER_KEY": KEY}), Client(Config(), env={}))
Operation = schemathesis.APIOperation[Any, Any, Any, Any]


def operations() -> list[Operation]:
    found = schemathesis.openapi.from_dict(APP.openapi()).get_all_operations()
    return [result.ok() for result in found if isinstance(result, Ok)]


OPERATIONS = operations()
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Runs are simulated at a thousand times their speed, so that what is made up here ends by itself at once.
PROJECT = """
[models]
default = "simulator/coder"

[server]
requests_per_minute = 100000
max_runs = 100
max_runs_per_key = 100
heartbeat_s = 0.2
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("openapi")
    (directory / "facilitair.toml").write_text(PROJECT)
    env = {"FACILITAIR_SERVER_KEY": KEY, "FACILITAIR_SIMULATOR_SPEED": "1000"}
    with start("serve", "--port", "0", cwd=directory, **env) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.terminate()
        process.communicate(timeout=10)


@pytest.mark.parametrize("operation", OPERATIONS, ids=[operation.label for operation in OPERATIONS])
def test_whatever_is_sent_the_answer_is_a_documented_one(url: str, operation: Operation) -> None:
    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def check(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=url, headers={"X-API-Key": KEY}, timeout=20)
        case.validate_response(response, checks=CHECKS)

    check()


def test_nothing_but_the_health_is_open_without_a_key(url: str) -> None:
    paths = APP.openapi()["paths"]
    routes = {(path, method) for path, methods in paths.items() for method in methods}
    assert len(routes) == len(OPERATIONS) >= 10
    for path, method in routes - {("/healthz", "get")}:
        concrete = path.replace("{stream_id}", "abc").replace("{model}", "abc")
        query = {"task": "a"} if path.endswith("collaborate/stream") else {}
        body = {"task": "a", "stream_id": "abc", "model": "facilitair/balanced", "messages": []}
        answer = httpx.request(
            method, f"{url}{concrete}", params=query, json=body if method == "post" else None, timeout=10
        )
        assert answer.status_code == 401, (method, path, answer.text)
