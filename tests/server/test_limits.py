"""What one key may use, on a clock of the test's."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.config import PriceConfig, ServerConfig
from facilitair.errors import Busy
from facilitair.server.limits import DAY_S, Limits, Slot
from facilitair.simulator.brain import Brain, Script

from .harness import served

PRICES = {"openai/gpt-4o": PriceConfig(input_per_mtok=2.5, output_per_mtok=10)}
NOON = 20_000 * DAY_S + DAY_S // 2


class Clock:
    def __init__(self) -> None:
        self.now = float(NOON)

    def __call__(self) -> float:
        return self.now


def retry_after(error: pytest.ExceptionInfo[Busy]) -> int:
    return int(error.value.headers["Retry-After"])


def test_requests_of_a_minute_can_come_at_once_and_come_back_steadily() -> None:
    clock = Clock()
    limits = Limits(ServerConfig(requests_per_minute=6), clock)
    for _ in range(6):
        limits.count_request("a")

    with pytest.raises(Busy) as error:
        limits.count_request("a")

    assert retry_after(error) == 10
    limits.count_request("b")
    clock.now += retry_after(error)
    limits.count_request("a")
    with pytest.raises(Busy):
        limits.count_request("a")


def test_a_clock_set_back_gives_nothing_and_takes_nothing() -> None:
    clock = Clock()
    limits = Limits(ServerConfig(requests_per_minute=2), clock)
    limits.count_request("a")
    clock.now -= 3600

    limits.count_request("a")

    with pytest.raises(Busy):
        limits.count_request("a")


@given(st.lists(st.floats(0, 120), max_size=60), st.integers(1, 20))
def test_never_more_than_two_minutes_worth_in_a_minute(pauses: list[float], rate: int) -> None:
    clock = Clock()
    limits = Limits(ServerConfig(requests_per_minute=rate), clock)
    taken = []
    for pause in pauses:
        clock.now += pause
        try:
            limits.count_request("a")
        except Busy:
            continue
        taken.append(clock.now)

    for start in taken:
        assert sum(start <= at < start + 60 for at in taken) <= 2 * rate


def test_runs_are_limited_for_each_key_and_for_all() -> None:
    limits = Limits(ServerConfig(max_runs=3, max_runs_per_key=2))
    first = limits.acquire("a")
    limits.acquire("a")

    with pytest.raises(Busy, match="this key has 2 runs") as error:
        limits.acquire("a")
    limits.acquire("b")
    with pytest.raises(Busy, match="all 3 runs"):
        limits.acquire("c")

    assert retry_after(error) > 0
    first.release(0.0)
    first.release(0.0)
    assert limits.running == 2
    limits.acquire("c")


def test_without_a_limit_a_run_keeps_its_own() -> None:
    limits = Limits(ServerConfig())

    assert limits.acquire("a").max_cost is None
    assert limits.acquire("a", 0.25).max_cost == 0.25


def test_a_day_is_spent_until_midnight() -> None:
    clock = Clock()
    limits = Limits(ServerConfig(dollars_per_day=2.0), clock)
    limits.acquire("a", 1.5).release(1.5)
    assert limits.acquire("a", 9.0).max_cost == pytest.approx(0.5)

    with pytest.raises(Busy, match="wait for one to end"):
        limits.acquire("a", 0.1)
    limits.acquire("b", 2.0).release(None)  # nobody knows what it cost: all that it might have
    with pytest.raises(Busy, match="midnight") as error:
        limits.acquire("b", 0.1)

    assert retry_after(error) == DAY_S // 2
    clock.now += DAY_S // 2
    assert limits.acquire("b", 2.0).max_cost == 2.0


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "end"]), st.none() | st.floats(0.01, 3), st.floats(0, 1)),
        max_size=50,
    )
)
def test_no_day_costs_more_than_its_dollars(steps: list[tuple[str, float | None, float]]) -> None:
    limits = Limits(ServerConfig(dollars_per_day=5.0, max_runs_per_key=4), Clock())
    running: list[Slot] = []
    spent = 0.0
    for what, max_cost, share in steps:
        if what == "end" and running:
            slot = running.pop(0)
            assert slot.max_cost is not None
            spent += slot.max_cost * share  # a run keeps its limit
            slot.release(slot.max_cost * share)
        elif what == "start":
            try:
                running.append(limits.acquire("a", max_cost))
            except Busy:
                continue
    assert spent + sum(slot.max_cost or 0.0 for slot in running) <= 5.0 + 1e-6


def test_the_runs_of_a_server_spend_the_day() -> None:
    script = Brain({"gpt-4o": Script(text="One thing. Another thing.", ttft_s=0.01, between_s=0.001)})
    task = {
        "task": "Sort",
        "models": "openai/gpt-4o",
        "strategy": "alone",
        "max_cost": 0.02,
        "stream": False,
    }

    async def run() -> None:
        async with served(ServerConfig(dollars_per_day=0.02), script, 20, PRICES) as at:
            first = (await at.http.post("/api/stream/task", json=task)).json()
            assert first["status"] == "completed", first
            assert 0 < first["cost_usd"] <= 0.02
            day = first["cost_usd"]
            for _ in range(100):
                answer = await at.http.post("/api/stream/task", json=task)
                if answer.status_code == 429 or answer.json()["error_code"] == "budget_exceeded":
                    break
                day += answer.json()["cost_usd"]

        assert answer.status_code == 429 or answer.json()["error_code"] == "budget_exceeded"
        assert 0 < day <= 0.02

    asyncio.run(run())
