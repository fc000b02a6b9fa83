"""What the server counts, in Prometheus's text format at `/metrics`.

Counted is what the events say, so that the numbers agree with what viewers saw. Labels are never taken from requests.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Depends
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.responses import Response

from .. import events as ev
from .auth import Principal, principal
from .problems import documented
from .runs import LiveRun, Runs

_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)


class Metrics:
    """The counters of one server; a `runs.Listener`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._runs = Counter(
            "facilitair_runs", "Runs that ended, by how.", ["status"], registry=self.registry
        )
        self._errors = Counter(
            "facilitair_run_errors", "Runs that failed, by code.", ["code"], registry=self.registry
        )
        self._refused = Counter(
            "facilitair_runs_not_begun", "Runs that ended before their first event.", registry=self.registry
        )
        self._first = Histogram(
            "facilitair_time_to_first_token_seconds",
            "From the request to the first text of any agent.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._duration = Histogram(
            "facilitair_run_duration_seconds", "How long runs took.", buckets=_SECONDS, registry=self.registry
        )
        self._events = Counter("facilitair_events", "Events appended to logs.", registry=self.registry)
        self._tokens = Counter(
            "facilitair_tokens", "Tokens that providers reported.", ["direction"], registry=self.registry
        )
        self._cost = Counter(
            "facilitair_cost_usd", "US dollars of all runs, as far as known.", registry=self.registry
        )
        self._cache = Counter("facilitair_cache", "Answers of the cache.", ["result"], registry=self.registry)
        for status in ("completed", "failed", "cancelled"):
            self._runs.labels(status)

    def observe(self, runs: Runs) -> None:
        """Let the gauges show what `runs` holds, at the moment of each scrape."""

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=self.registry)

        gauge("facilitair_runs_active", "Runs going on.").set_function(runs.active)
        records = runs.directory.records
        gauge("facilitair_streams_kept", "Runs that can be read.").set_function(lambda: len(records()))
        gauge("facilitair_viewers", "Connections that watch a run.").set_function(
            lambda: sum(record.viewers for record in records())
        )
        gauge("facilitair_log_events", "Events that this server holds of all runs.").set_function(
            lambda: sum(record.log.held.events for record in records())
        )
        gauge("facilitair_log_bytes", "About how many bytes these take.").set_function(
            lambda: sum(record.log.held.bytes for record in records())
        )

    def started(self, run: LiveRun) -> None:
        """Nothing can be counted yet."""

    def spoke(self, run: LiveRun) -> None:
        """Count the time to the first token."""
        self._first.observe(time.perf_counter() - run.started)

    def happened(self, run: LiveRun, notable: Sequence[ev.AnyEvent], count: int) -> None:  # noqa: ARG002 - one of many
        """Count events."""
        self._events.inc(count)
        for event in notable:
            match event:
                case ev.CacheHitEvent():
                    self._cache.labels("hit").inc()
                case ev.CacheMissEvent():
                    self._cache.labels("miss").inc()
                case ev.TaskErrorEvent():
                    self._errors.labels(event.code).inc()

    def ended(self, run: LiveRun) -> None:
        """Count a run."""
        if not run.begun:
            self._refused.inc()
            return
        state = run.state
        self._runs.labels(state.status).inc()
        self._duration.observe(time.perf_counter() - run.started)
        usage = state.usage or ev.Usage()
        self._tokens.labels("input").inc(usage.input_tokens or 0)
        self._tokens.labels("output").inc(usage.output_tokens or 0)
        self._cost.inc(state.cost_usd or 0)


def router(metrics: Metrics) -> APIRouter:
    """Return `/metrics`; it asks for a key, because what others do here is nobody's business."""
    api = APIRouter(tags=["operation"], responses=documented(400, 401, 403, 429))

    @api.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def scrape(who: Annotated[Principal, Depends(principal)]) -> Response:
        """Return all metrics."""
        who.check_may_act()
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return api
