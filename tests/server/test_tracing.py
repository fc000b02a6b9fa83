"""Runs as spans at a collector: a real one over HTTP, which reads what `facilitair serve` sends."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from facilitair.errors import ConfigError
from facilitair.server import tracing
from tests.cli.command import start
from tests.cli.server import KEY, SIMULATED

STOP_S = 5.0
TASK = "Plan the secret surprise"


class Collector(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collect)
        self.bodies: list[bytes] = []

    def spans(self) -> list[Span]:
        found = []
        for body in self.bodies:
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                found += [span for scope in resource.scope_spans for span in scope.spans]
        return found


class _Collect(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
        pass


@contextmanager
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def attributes(span: Span) -> dict[str, object]:
    values = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind or "string_value")
        values[pair.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return values


def test_a_run_is_a_span_and_its_turns_are_below_it(tmp_path: Path) -> None:
    (tmp_path / "facilitair.toml").write_text(SIMULATED)
    with collector() as server:
        env = {
            "FACILITAIR_SERVER_KEY": KEY,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        }
        with start("serve", "--port", "0", cwd=tmp_path, **env) as process:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            request = urllib.request.Request(  # noqa: S310
                f"{url}/api/stream/task",
                json.dumps({"task": TASK, "stream": False}).encode(),
                {"X-API-Key": KEY, "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                told = json.load(answer)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=10)
        assert (process.returncode, err) == (0, b"")
        spans, bodies = server.spans(), b"".join(server.bodies)

    run = next(span for span in spans if span.name.startswith("invoke_workflow"))
    turns = [span for span in spans if span.name.startswith("invoke_agent")]
    assert run.name == "invoke_workflow balanced"
    found = attributes(run)
    assert found["gen_ai.operation.name"] == "invoke_workflow"
    assert found["gen_ai.conversation.id"] == told["stream_id"]
    assert found["gen_ai.usage.output_tokens"] == told["output_tokens"]
    assert found["facilitair.simulated"] is True
    assert len(turns) == told["total_chunks"] >= 4
    for turn in turns:
        assert turn.parent_span_id == run.span_id
        about = attributes(turn)
        assert turn.name == f"invoke_agent {about['gen_ai.agent.name']}"
        assert about["gen_ai.provider.name"] == "simulator"
        assert about["gen_ai.request.model"]
        assert about["gen_ai.response.finish_reasons"] == ["stop"]
        lasted = (turn.end_time_unix_nano - turn.start_time_unix_nano) / 1e9
        assert lasted == pytest.approx(about["facilitair.duration_s"], abs=0.2)
    assert found["facilitair.stream_id"] == told["stream_id"]
    assert any(event.name == "facilitair.considers" for turn in turns for event in turn.events)
    assert len(spans) == 1 + len(turns), "the framework's own would hold queries"
    assert TASK.encode() not in bodies, "no text of anybody is in a span"
    assert all(word.encode() not in bodies for word in told["content"].split(". ") if len(word) > 20)


@pytest.mark.parametrize("answers", [True, False])
def test_a_collector_that_is_dead_keeps_nobody_waiting(tmp_path: Path, answers: bool) -> None:
    (tmp_path / "facilitair.toml").write_text(SIMULATED)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1] if answers else 1}"
        env = {"FACILITAIR_SERVER_KEY": KEY, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}"}
        with start("serve", "--port", "0", "--log-format", "json", cwd=tmp_path, **env) as process:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            request = urllib.request.Request(  # noqa: S310
                f"{url}/api/stream/task",
                json.dumps({"task": TASK, "stream": False}).encode(),
                {"X-API-Key": KEY, "Content-Type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=20).close()  # noqa: S310
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=30)
            took = time.monotonic() - began
    assert took < STOP_S
    assert process.returncode == 0
    assert [json.loads(line) for line in err.splitlines()], "it is said that spans were lost"


def test_a_collector_without_the_exporter_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    with (
        pytest.raises(ConfigError, match=r"\.\[otel\]"),
        tracing.exporting({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}),
    ):
        pass
    with tracing.exporting(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}
    ):
        pass
