"""The blocking twins, as a program without an event loop uses them; the provider runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import facilitair
from facilitair import events as ev
from facilitair.simulator.server import Simulator

from .engine.harness import check
from .live import KEY, LIVENESS_S, LONG, alone, brain, together


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Simulator]:
    """Run a simulator that the environment names as OpenAI, in a directory without a configuration."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    simulator = Simulator(brain())
    listening = threading.Event()
    loop = asyncio.new_event_loop()
    left = asyncio.Event()

    async def serve() -> None:
        async with simulator:
            listening.set()
            await left.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert listening.wait(LIVENESS_S)
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    yield simulator
    loop.call_soon_threadsafe(left.set)
    thread.join(LIVENESS_S)
    loop.close()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIVENESS_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_the_blocking_twins_give_what_the_others_give(simulator: Simulator) -> None:
    task, context = "Sort a list", {"language": "Go"}
    expected = asyncio.run(facilitair.run(task, context, strategy=together("echo"), sections=["Code"]))
    result = facilitair.run_sync(task, context, strategy=together("echo"), sections=["Code"])
    events = list(facilitair.collaborate_sync(task, context, strategy=together("echo"), sections=["Code"]))
    state = check(events)

    assert expected.content
    assert result.content == state.content == expected.content
    assert result.sections == expected.sections
    assert result.state.context == state.context == context


def test_the_first_event_comes_long_before_the_last(simulator: Simulator) -> None:
    events = facilitair.collaborate_sync("Sort a list", strategy=alone("steady"))
    with contextlib.closing(events):
        first = next(event for event in events if isinstance(event, ev.TokenStreamEvent))

        assert LONG.startswith(first.tokens)
        assert len(first.tokens) < len(LONG)
        assert simulator.open_streams == 1


@pytest.mark.parametrize("agents", [1, 3])
def test_closing_early_stops_the_provider(simulator: Simulator, agents: int) -> None:
    strategy = together("steady", agents)
    events = facilitair.collaborate_sync("Sort a list", strategy=strategy)
    next(event for event in events if isinstance(event, ev.TokenStreamEvent))
    wait_until(lambda: simulator.open_streams == agents)
    events.close()
    wait_until(lambda: simulator.open_streams == 0)

    assert simulator.requests == simulator.closed_early == agents


def test_breaking_out_of_the_loop_stops_the_provider(simulator: Simulator) -> None:
    for event in facilitair.collaborate_sync("Sort a list", strategy=alone("steady")):
        if isinstance(event, ev.TokenStreamEvent):
            break
    wait_until(lambda: simulator.open_streams == 0)

    assert simulator.closed_early == 1


def test_an_exception_in_the_loop_stops_the_provider(simulator: Simulator) -> None:
    def consume() -> None:
        for event in facilitair.collaborate_sync("Sort a list", strategy=alone("steady")):
            if isinstance(event, ev.TokenStreamEvent):
                raise LookupError(event.tokens)

    with pytest.raises(LookupError):
        consume()
    wait_until(lambda: simulator.open_streams == 0)

    assert simulator.closed_early == 1


@pytest.mark.parametrize(
    ("model", "options", "error"),
    [
        ("steady", {"timeout": 0.3}, facilitair.DeadlineExceededError),
        ("steady", {"max_tokens": 1100}, facilitair.BudgetExceededError),
        ("nobody", {}, facilitair.AgentsFailedError),
    ],
)
def test_a_run_that_fails_raises_with_the_partial_result(
    simulator: Simulator, model: str, options: Any, error: type[facilitair.RunError]
) -> None:
    with pytest.raises(error) as raised:
        facilitair.run_sync("Sort a list", strategy=alone(model), **options)
    wait_until(lambda: simulator.open_streams == 0)

    assert isinstance(raised.value, facilitair.RunError)
    assert isinstance(raised.value, facilitair.FacilitairError)
    assert raised.value.result.state.status == "failed"
    assert bool(raised.value.result.content) == (model == "steady")


def test_a_failed_run_is_an_event_for_who_iterates(simulator: Simulator) -> None:
    *_, last = facilitair.collaborate_sync("Sort a list", strategy=alone("steady"), timeout=0.2)

    assert isinstance(last, ev.TaskErrorEvent)
    assert last.code == "deadline_exceeded"


def test_wrong_arguments_raise_as_they_do_without_blocking(simulator: Simulator) -> None:
    with pytest.raises(facilitair.UsageError, match="empty"):
        facilitair.run_sync(" ")
    with pytest.raises(facilitair.UsageError, match="fastest"):
        next(facilitair.collaborate_sync("Sort a list", strategy="fastest"))
    with pytest.raises(facilitair.ConfigError, match="nowhere"):
        facilitair.run_sync("Sort a list", models="nowhere/gpt")


@pytest.mark.parametrize("twin", ["run", "collaborate"])
def test_inside_a_running_loop_they_name_the_other_form(simulator: Simulator, twin: str) -> None:
    async def blocking_in_a_loop() -> None:
        if twin == "run":
            facilitair.run_sync("Sort a list")
        else:
            next(facilitair.collaborate_sync("Sort a list"))

    with pytest.raises(facilitair.UsageError, match=rf"facilitair\.{twin}\("):
        asyncio.run(blocking_in_a_loop())
    assert simulator.requests == 0


def test_threads_can_run_side_by_side(simulator: Simulator) -> None:
    results: dict[str, str] = {}

    def work(task: str) -> None:
        results[task] = facilitair.run_sync(task, strategy=alone("echo")).content

    threads = [threading.Thread(target=work, args=(f"Sort list {n}",), daemon=True) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIVENESS_S)

    assert results == {f"Sort list {n}": f"This is about Sort list {n}. It is short." for n in range(3)}
