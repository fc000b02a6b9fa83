"""The server does what its OpenAPI document says, whatever it is sent: schemathesis makes the requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from facilitair import Client, Config
from facilitair.server.app import create_app
from facilitair.server.settings import server_settings
from tests.cli.command import start
from tests.cli.server import KEY

Operation = schemathesis.APIOperation[Any, Any, Any, Any]

DOCUMENT: Final = create_app(
    server_settings(Config(), {"FACILITAIR_SERVER_KEY": KEY}), Client(Config(), env={})
).openapi()
OPERATIONS: Final[dict[str, Operation]] = {
    result.ok().label: result.ok()
    for result in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
    if isinstance(result, Ok)
}
OPEN: Final = {"GET /healthz"}
TAKES_SOMETHING: Final = [
    label for label, o in OPERATIONS.items() if {"parameters", "requestBody"} & o.definition.raw.keys()
]
CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
KEYED: Final = {"X-API-Key": KEY}
CHAT: Final = {"model": "facilitair/balanced", "messages": [{"role": "user", "content": "Sort a list"}]}
# Runs are simulated at a thousand times their speed, so that what is made up here ends by itself at once.
PROJECT = """
[models]
default = "simulator/coder"

[pricing."simulator/coder"]
input_per_mtok = 1000
output_per_mtok = 1000

[server]
requests_per_minute = 100000
max_runs = 100
max_runs_per_key = 100
max_body_bytes = 100000
heartbeat_s = 0.2
"""


@dataclass(frozen=True)
class At:
    """A server, and the name of a run that has ended on it."""

    url: str
    stream_id: str

    def path_of(self, operation: Operation) -> dict[str, str]:
        """Return parameters of the operation's path that lead somewhere."""
        known = {"stream_id": self.stream_id, "model": "facilitair/balanced"}
        return {name: value for name, value in known.items() if f"{{{name}}}" in operation.path}

    def good(self, label: str, **more: Any) -> schemathesis.Case[Any]:
        """Return a request that is as it should be; `more` are fields of its body beside the usual ones."""
        bodies: dict[str, dict[str, Any]] = {
            "POST /api/stream/task": {"task": "Sort a list"},
            "POST /api/stream/cancel/{stream_id}": {"reason": "enough"},
            "POST /api/stream/ticket": {"stream_id": self.stream_id},
            "POST /v1/chat/completions": CHAT,
        }
        operation = OPERATIONS[label]
        query = {"task": "Sort a list"} if label == "GET /api/collaborate/stream" else {}
        given: dict[str, Any] = {"path_parameters": self.path_of(operation), "query": query}
        if label in bodies:
            given |= {"body": {**bodies[label], **more}, "media_type": "application/json"}
        return operation.Case(**given)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[At]:
    directory: Path = tmp_path_factory.mktemp("openapi")
    (directory / "facilitair.toml").write_text(PROJECT)
    env = {"FACILITAIR_SERVER_KEY": KEY, "FACILITAIR_SIMULATOR_SPEED": "1000"}
    with start("serve", "--port", "0", cwd=directory, **env) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            body = {"task": "Sort a list", "stream": False}
            ended = httpx.post(f"{url}/api/stream/task", json=body, headers=KEYED, timeout=20)
            assert ended.json()["status"] == "completed", ended.text
            yield At(url, ended.json()["stream_id"])
        finally:
            process.terminate()
            process.communicate(timeout=10)


@pytest.mark.parametrize("label", OPERATIONS)
def test_whatever_is_sent_the_answer_is_a_documented_one(at: At, label: str) -> None:
    operation = OPERATIONS[label]
    kinds = [operation.as_strategy(), operation.as_strategy(path_parameters=at.path_of(operation))]

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(kinds))
    def check(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=at.url, headers=KEYED, timeout=20)
        case.validate_response(response, checks=[not_a_server_error, *CHECKS])

    check()


@pytest.mark.parametrize("label", TAKES_SOMETHING)
def test_what_is_not_as_described_is_refused(at: At, label: str) -> None:
    operation = OPERATIONS[label]
    wrong = operation.as_strategy(
        schemathesis.GenerationMode.NEGATIVE, path_parameters=at.path_of(operation) or None
    )

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(wrong)
    def check(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=at.url, headers=KEYED, timeout=20)
        case.validate_response(response, checks=[not_a_server_error, negative_data_rejection, *CHECKS])

    check()


@pytest.mark.parametrize("label", OPERATIONS)
def test_a_good_request_succeeds_with_the_key_and_only_with_it(at: At, label: str) -> None:
    assert bool(OPERATIONS[label].definition.raw.get("security")) == (label not in OPEN)
    case = at.good(label)
    response = case.call(base_url=at.url, headers=KEYED, timeout=20)
    assert 200 <= response.status_code < 300, response.text
    case.validate_response(response, checks=[*CHECKS, ignored_auth], headers=KEYED)

    for keys in (
        {},
        {"X-API-Key": "sk-fac-wrong-0123456789"},
        {"Authorization": "Bearer sk-fac-wrong-012345"},
    ):
        case = at.good(label)
        response = case.call(base_url=at.url, headers=keys, timeout=20)
        assert response.status_code == (200 if label in OPEN else 401)
        case.validate_response(response, checks=CHECKS)


@pytest.mark.parametrize("label", [label for label in OPERATIONS if label.startswith("POST")])
def test_a_body_that_is_too_large_is_a_documented_problem(at: At, label: str) -> None:
    case = at.good(label, more="x" * 200_000)
    response = case.call(base_url=at.url, headers=KEYED, timeout=20)
    assert response.status_code == 413
    case.validate_response(response, checks=CHECKS)


@pytest.mark.parametrize(
    ("extras", "status"),
    [
        ({"models": "simulator/coder+500x99"}, 502),
        ({"max_cost": 0.0001}, 402),
        ({"timeout": 0.0001}, 504),
        ({"models": "nobody/none"}, 422),
    ],
)
def test_a_run_that_fails_is_a_documented_problem(at: At, extras: dict[str, object], status: int) -> None:
    case = at.good("POST /v1/chat/completions", facilitair=extras)
    response = case.call(base_url=at.url, headers=KEYED, timeout=20)
    assert response.status_code == status, response.text
    case.validate_response(response, checks=CHECKS)


def test_other_methods_are_refused_with_those_that_there_are(at: At) -> None:
    with httpx.Client(base_url=at.url, headers=KEYED, timeout=20) as client:
        for path, operations in DOCUMENT["paths"].items():
            concrete = path.format(stream_id=at.stream_id, model="facilitair/balanced")
            there = {method.upper() for method in operations}
            head = {"HEAD"} if "GET" in there else set()
            for method in (
                {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - there - head
            ):
                answer = client.request(method, concrete)
                assert answer.status_code == 405, (method, path)
                assert {name.strip() for name in answer.headers["allow"].split(",")} == there
                if method != "HEAD":
                    problem = answer.json()
                    assert problem.get("status") == 405 or problem["error"]["code"] == "method_not_allowed"
