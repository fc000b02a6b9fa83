"""Runs as OpenTelemetry spans, named by the semantic conventions for generative AI.

One span for a run (`invoke_workflow`), and below it one for each turn of an agent (`invoke_agent`). Prompts and texts
are never in them. Without a tracer provider a span is nothing and costs nothing: whoever embeds the server sets one,
and `facilitair serve` does so when the usual variables name a collector.

Source: https://github.com/open-telemetry/semantic-conventions-genai (in development; its names may change).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from .. import events as ev
from ..errors import ConfigError
from .runs import LiveRun

FLUSH_S: Final = 1.0
ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_DISABLED: Final = "OTEL_SDK_DISABLED"
_log = logging.getLogger(__name__)


@contextmanager
def exporting(env: Mapping[str, str]) -> Iterator[None]:
    """Send spans to the collector that `env` names, if it names one, until the block ends; OTLP over HTTP.

    A tracer provider that is there already is left alone, and a collector that does not answer gets `FLUSH_S` at the
    end. Raises `ConfigError` when a collector is named but the extra is not installed.
    """
    wanted = any(env.get(name) for name in ENDPOINT_VARIABLES) and env.get(_DISABLED, "").lower() != "true"
    if not wanted or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield
        return
    if find_spec("opentelemetry.sdk") is None or find_spec("opentelemetry.exporter") is None:
        raise ConfigError(
            f"{ENDPOINT_VARIABLES[1]} names a collector, but the exporter is not installed; "
            "it comes with the extra `otel`: pip install '.[otel]' in the checkout of Facilitair."
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = {} if env.get("OTEL_SERVICE_NAME") else {"service.name": "facilitair"}
    about = Resource.create({**name, "service.version": version("facilitair")})
    provider = TracerProvider(resource=about, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # Its own limits are 10 s and more, and a stop of the server takes less than 5.
        flushing = threading.Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_S)
        if flushing.is_alive():
            _log.warning("the collector did not take the last spans within %g s", FLUSH_S)


class Tracing:
    """Makes the spans of runs; a `runs.Listener`."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("facilitair", version("facilitair"))
        self._runs: dict[LiveRun, Span] = {}
        self._agents: dict[LiveRun, dict[str, ev.AgentInfo]] = {}
        self._turns: dict[LiveRun, dict[str, Span]] = {}
        self._ends: dict[LiveRun, dict[str, int]] = {}

    def started(self, run: LiveRun) -> None:
        """Begin the span of a run."""
        span = self._tracer.start_span("invoke_workflow", kind=SpanKind.INTERNAL)
        if span.is_recording():
            self._runs[run] = span
            self._turns[run], self._ends[run] = {}, {}
            self._agents[run] = {}

    def spoke(self, run: LiveRun) -> None:
        """Say nothing: each turn says when it spoke first."""

    def happened(self, run: LiveRun, notable: Sequence[ev.AnyEvent], count: int) -> None:  # noqa: ARG002 - one of many
        """Begin and end the spans of turns."""
        if run in self._runs:
            for event in notable:
                self._take(run, event)

    def _take(self, run: LiveRun, event: ev.AnyEvent) -> None:
        match event:
            case ev.TaskStartedEvent():
                self._introduce(run, event)
            case ev.ChunkStartedEvent():
                self._turns[run][event.chunk_id] = self._turn(run, event)
            case ev.ChunkCompletedEvent():
                if span := self._turns[run].get(event.chunk_id):
                    _describe(span, event)
                    self._ends[run][event.chunk_id] = time.time_ns()
            case ev.AgentReactionEvent():
                if span := self._turns[run].get(event.chunk_id):
                    span.add_event(f"facilitair.{event.action}", {"facilitair.because": event.because})
            case ev.FragmentsRetractedEvent():
                if span := self._turns[run].get(event.chunk_id):
                    what = {"facilitair.fragments": event.fragments, "facilitair.cause": event.cause}
                    span.add_event("facilitair.retracted", what)
                    self._ends[run].pop(event.chunk_id, None)  # it is open again

    def ended(self, run: LiveRun) -> None:
        """End all spans of a run. A turn can be reopened by a retraction, so its span is kept until here; it ends
        when the turn was completed last."""
        span = self._runs.pop(run, None)
        self._agents.pop(run, None)
        ends = self._ends.pop(run, {})
        for chunk_id, turn in self._turns.pop(run, {}).items():
            turn.end(ends.get(chunk_id))
        if span is None:
            return
        state = run.state
        _use(span, state.usage)
        _set(span, "facilitair.cost_usd", state.cost_usd)
        _set(span, "facilitair.degraded", len(state.degraded))
        if state.status != "completed":
            code = state.error_code or (state.status if run.begun else "not_begun")
            span.set_attribute("error.type", code)
            span.set_status(Status(StatusCode.ERROR, code))
        span.end()

    def _introduce(self, run: LiveRun, event: ev.TaskStartedEvent) -> None:
        span = self._runs[run]
        span.update_name(f"invoke_workflow {event.strategy}")
        span.set_attributes(
            {
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": event.strategy,
                "gen_ai.conversation.id": event.stream_id,
                "facilitair.stream_id": event.stream_id,
                "facilitair.simulated": event.simulated,
            }
        )
        self._agents[run] = {agent.name: agent for agent in event.agents}

    def _turn(self, run: LiveRun, event: ev.ChunkStartedEvent) -> Span:
        agent = self._agents[run].get(event.agent)
        return self._tracer.start_span(
            f"invoke_agent {event.agent}",
            context=trace.set_span_in_context(self._runs[run]),
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": event.agent,
                "gen_ai.agent.id": event.chunk_id,
                "gen_ai.provider.name": "facilitair" if agent is None else agent.provider,
                "gen_ai.request.model": event.model,
                "gen_ai.request.stream": True,
                "gen_ai.conversation.id": event.stream_id,
            },
        )


def _describe(span: Span, event: ev.ChunkCompletedEvent) -> None:
    """Say how a turn ended. After a retraction it ends again, and the last end stands."""
    span.set_attribute("gen_ai.response.finish_reasons", (event.finish_reason,))
    _use(span, event.usage)
    _set(span, "facilitair.cost_usd", event.cost_usd)
    _set(span, "facilitair.duration_s", event.duration_s)
    _set(span, "gen_ai.response.time_to_first_chunk", event.ttft_s)
    if event.finish_reason == "error":
        span.set_attribute("error.type", "stream_failed")
        span.set_status(Status(StatusCode.ERROR))


def _use(span: Span, usage: ev.Usage | None) -> None:
    if usage is not None:
        _set(span, "gen_ai.usage.input_tokens", usage.input_tokens)
        _set(span, "gen_ai.usage.output_tokens", usage.output_tokens)
        _set(span, "gen_ai.usage.cache_read.input_tokens", usage.cached_input_tokens)


def _set(span: Span, name: str, value: float | None) -> None:
    if value is not None:
        span.set_attribute(name, value)
