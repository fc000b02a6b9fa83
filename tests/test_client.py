"""Runs through the client over real HTTP: how they go, how they end, and that whoever leaves stops the provider.

The provider is the simulator's server, reached as OpenAI is, or a small server that answers what the test says. Time
is real, so nothing is asserted about it but generous bounds.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import facilitair
from facilitair import AgentSpec, Client, Collaboration, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig, ProviderConfig
from facilitair.simulator.server import Simulator

from .engine.harness import check
from .live import KEY, LIVENESS_S, LONG, Prompts, alone, brain, provided, together, until
from .providers.servers import Answer, answering, serving, streaming
from .providers.servers import event as sse

FAST = {"FACILITAIR_SIMULATOR_SPEED": "2000"}


async def collected(run: Collaboration) -> list[ev.AnyEvent]:
    return [event async for event in run]


async def in_the_middle(model: str, simulator: Simulator, event: ev.AnyEvent, streams: int = 1) -> bool:
    """Say whether a run has come to the point at which the tests leave it: in mid-text, or before the first word."""
    if model == "mute" and isinstance(event, ev.ChunkStartedEvent):
        await until(lambda: simulator.open_streams == streams)
        return True
    return isinstance(event, ev.TokenStreamEvent) and simulator.open_streams == streams


# --- a run that goes well ----------------------------------------------------------------------------------------


def test_events_end_in_one_that_is_terminal_and_fold_to_the_state() -> None:
    async def run() -> None:
        async with provided(speed=100) as (_, client):
            run = client.collaborate("Sort a list", models="openai/coder", sections=["Design", "Code"])
            events = await collected(run)

        assert check(events) == run.state
        end = events[-1]
        assert isinstance(end, ev.TaskCompletedEvent)
        assert end.content
        assert not end.simulated, "a provider with a key is not known to be a simulator"
        assert len({event.stream_id for event in events}) == 1

    asyncio.run(run())


def test_run_returns_the_result() -> None:
    async def run() -> None:
        async with provided() as (_, client):
            result = await client.run("Sort a list", strategy=alone("brief"), sections=["Design", "Code"])

        assert list(result.sections) == ["Design", "Code"]
        assert result.content == "\n\n".join(result.sections.values())
        assert "Sort a list" in result.content
        assert result.usage.input_tokens is not None
        assert result.usage.input_tokens > 0
        assert result.cost_usd is None, "nobody knows the price of these models"
        assert result.degraded == ()
        assert result.state.status == "completed"

    asyncio.run(run())


def test_without_a_provider_the_built_in_simulator_answers_and_says_so() -> None:
    async def run() -> None:
        async with Client(Config(), env=FAST) as client:
            result = await client.run("Sort a list", models="simulator/generic")

        assert result.simulated
        assert "imulated" in result.content
        assert result.cost_usd == 0

    asyncio.run(run())


def test_the_module_functions_bring_a_client_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()

    async def run() -> None:
        async with Simulator(brain()) as simulator:
            monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            strategy = alone("brief")
            result = await facilitair.run("Sort a list", strategy=strategy)
            events = [event async for event in facilitair.collaborate("Sort a list", strategy=strategy)]

            assert check(events).content == result.content
            async for event in facilitair.collaborate("Sort a list", strategy=alone("steady")):
                if await in_the_middle("steady", simulator, event):
                    break
            await until(lambda: simulator.open_streams == 0)
            assert simulator.closed_early == 1

    asyncio.run(run())


def test_the_context_and_the_task_reach_every_prompt() -> None:
    prompts = Prompts()

    async def run() -> None:
        config = Config(context={"team": "blue-42", "language": "Rust"})
        async with provided(config, prompts) as (_, client):
            events = await collected(
                client.collaborate(
                    "Sort 🦀 a list", {"framework": "axum", "language": "Go"}, strategy=alone("echo")
                )
            )

        assert len(prompts.seen) >= 2
        for prompt in prompts.seen:
            assert prompt.task == "Sort 🦀 a list"
            assert (prompt.framework, prompt.language) == ("axum", "Go")
        assert prompts.text().count("blue-42") == len(prompts.seen)
        assert isinstance(events[0], ev.TaskStartedEvent)
        assert events[0].context == {"team": "blue-42", "framework": "axum", "language": "Go"}

    asyncio.run(run())


def test_a_strategy_of_ones_own_decides_who_reads_whom() -> None:
    async def run() -> None:
        strategy = Strategy(
            name="pair",
            agents=(
                AgentSpec("poet", "coder", prompt="You write verse 77."),
                AgentSpec("critic", "reviewer"),
            ),
            edges=(Edge("poet", "critic"),),
        )
        prompts = Prompts()
        async with provided(prompts=prompts) as (_, client):
            state = check(
                await collected(client.collaborate("Rhyme", strategy=strategy, models="openai/echo"))
            )

        assert state.strategy == "pair"
        assert [agent.name for agent in state.agents] == ["poet", "critic", "synthesizer"]
        assert "You write verse 77." in prompts.text()
        readers = [prompt for prompt in prompts.seen if "poet" in {peer.agent for peer in prompt.peers}]
        assert len(readers) >= 2, "the critic and the synthesizer read the poet"

    asyncio.run(run())


def test_one_role_can_have_its_own_model() -> None:
    async def run() -> None:
        async with provided(speed=100) as (simulator, client):
            await client.run(
                "Sort a list",
                strategy="pipeline",
                models={"*": "openai/brief", "reviewer": "openai/reviewer"},
                sections="Code",
            )

            assert set(simulator.brain.requests) == {"brief", "reviewer"}

    asyncio.run(run())


def test_providers_and_models_can_be_configured_in_code() -> None:
    async def run() -> None:
        async with Simulator(brain()) as simulator:
            config = Config(
                providers={"acme": ProviderConfig(base_url=simulator.base_url, api_key_env="ACME_API_KEY")},
                models={"default": "acme/brief", "synthesizer": "acme/echo"},
            )
            async with Client(config, env={"ACME_API_KEY": KEY}) as client:
                result = await client.run("Sort a list")

            assert "Sort a list" in result.content
            assert set(simulator.brain.requests) == {"brief", "echo"}

    asyncio.run(run())


def test_the_configuration_of_a_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "facilitair.toml").write_text(
        'default_strategy = "solo"\n[models]\ndefault = "simulator/generic"\n'
        '[strategy.solo]\nagents = [{ name = "soloist", role = "coder" }]\n'
    )

    async def run() -> None:
        async with Client(directory=tmp_path, env=FAST) as client:
            result = await client.run("Sort a list")

        assert [agent.name for agent in result.state.agents] == ["soloist", "synthesizer"]

    asyncio.run(run())


# --- leaving stops the provider ----------------------------------------------------------------------------------


class LeftError(Exception):
    """What the body of a loop raises."""


async def by_break(run: Collaboration, here: Callable[[ev.AnyEvent], Awaitable[bool]]) -> None:
    async for event in run:
        if await here(event):
            break


async def by_an_exception(run: Collaboration, here: Callable[[ev.AnyEvent], Awaitable[bool]]) -> None:
    try:
        async for event in run:
            if await here(event):
                raise LeftError
    except LeftError:
        return
    pytest.fail("the exception did not come out of the loop")


async def by_aclose(run: Collaboration, here: Callable[[ev.AnyEvent], Awaitable[bool]]) -> None:
    events: AsyncGenerator[ev.AnyEvent] = run.__aiter__()
    while not await here(await anext(events)):
        pass
    await events.aclose()


async def by_cancelling_the_task(run: Collaboration, here: Callable[[ev.AnyEvent], Awaitable[bool]]) -> None:
    there = asyncio.Event()

    async def consume() -> None:
        async for event in run:
            if await here(event):
                there.set()

    task = asyncio.create_task(consume())
    await there.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_cancelling_the_run(run: Collaboration, here: Callable[[ev.AnyEvent], Awaitable[bool]]) -> None:
    events = []
    async for event in run:
        events.append(event)
        if run.state.status == "running" and await here(event):
            run.cancel("enough")
    assert isinstance(events[-1], ev.TaskCancelledEvent)
    assert check(events) == run.state


@pytest.mark.parametrize("model", ["steady", "mute"])
@pytest.mark.parametrize(
    "leave",
    [by_break, by_an_exception, by_aclose, by_cancelling_the_task, by_cancelling_the_run],
    ids=lambda leave: leave.__name__,
)
@pytest.mark.parametrize("agents", [1, 3])
def test_leaving_a_run_stops_its_providers(
    leave: Callable[[Collaboration, Callable[[ev.AnyEvent], Awaitable[bool]]], Awaitable[None]],
    model: str,
    agents: int,
) -> None:
    async def run() -> None:
        async with provided() as (simulator, client):

            async def here(event: ev.AnyEvent) -> bool:
                return await in_the_middle(model, simulator, event, agents)

            strategy = together(model, agents) if agents > 1 else alone(model)
            left = client.collaborate("Sort a list", strategy=strategy)
            await leave(left, here)
            await until(lambda: simulator.open_streams == 0)
            await until(lambda: left.state.status == "cancelled")

            assert simulator.requests == simulator.closed_early == agents
            after = await client.run("Sort a list", strategy=alone("brief"))
            assert after.content, "the client serves the next run"

    asyncio.run(run())


def test_a_run_that_is_closed_has_ended_when_its_block_is_left() -> None:
    async def run() -> None:
        async with provided() as (simulator, client):
            run = client.collaborate("Sort a list", strategy=alone("steady"))
            async with aclosing(aiter(run)) as events:
                async for event in events:
                    if isinstance(event, ev.TokenStreamEvent):
                        break
                seen = [run.state.status]
            seen.append(run.state.status)
            assert seen == ["running", "cancelled"]
            await until(lambda: simulator.open_streams == 0)

    asyncio.run(run())


def test_a_run_that_nobody_iterates_asks_nobody() -> None:
    async def run() -> None:
        async with provided() as (simulator, client):
            client.collaborate("Sort a list", strategy=alone("brief"))
            events = client.collaborate("Sort a list", strategy=alone("brief")).__aiter__()
            await events.aclose()

            assert simulator.requests == 0

    asyncio.run(run())


def test_a_cancelled_run_keeps_what_was_written() -> None:
    async def run() -> None:
        async with provided() as (_, client):
            run = client.collaborate("Sort a list", strategy=alone("steady"))
            seen = ""
            async for event in run:
                if isinstance(event, ev.TokenStreamEvent):
                    seen += event.tokens
                if len(seen) > 200:
                    run.cancel("enough")
                    run.cancel("another reason")
            run.cancel("too late")

            assert isinstance(event, ev.TaskCancelledEvent)
            assert event.reason == "enough"
            assert len(event.partial) > 200
            assert LONG.startswith(event.partial)
            assert run.state.status == "cancelled"

    asyncio.run(run())


def test_the_result_of_a_cancelled_run_is_an_error_that_holds_the_partial_text() -> None:
    async def run() -> None:
        async with provided() as (_, client):
            run = client.collaborate("Sort a list", strategy=alone("steady"))
            waiting = asyncio.create_task(run.result())
            await until(lambda: any(len(c.text) > 200 for c in run.state.chunks.values()))
            run.cancel("enough")
            with pytest.raises(facilitair.RunCancelledError, match="enough") as raised:
                await waiting

            assert LONG.startswith(raised.value.result.content)
            assert len(raised.value.result.content) > 200

    asyncio.run(run())


def test_a_run_can_be_cancelled_before_it_begins() -> None:
    async def run() -> None:
        async with provided() as (simulator, client):
            run = client.collaborate("Sort a list", strategy=alone("steady"))
            run.cancel("never mind")
            events = await collected(run)
            await until(lambda: simulator.open_streams == 0)

            assert isinstance(events[-1], ev.TaskCancelledEvent)
            assert check(events).error_message == "never mind"

    asyncio.run(run())


# --- limits and failures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "model", "error"),
    [
        ({"timeout": 0.3}, "mute", facilitair.DeadlineExceededError),
        ({"timeout": 0.5}, "steady", facilitair.DeadlineExceededError),
        ({"max_tokens": 1100}, "steady", facilitair.BudgetExceededError),
    ],
)
def test_a_limit_stops_the_providers_and_keeps_what_there_is(
    options: Any, model: str, error: type[facilitair.RunError]
) -> None:
    async def run() -> None:
        async with provided() as (simulator, client):
            with pytest.raises(error) as raised:
                await client.run("Sort a list", strategy=alone(model), **options)
            await until(lambda: simulator.open_streams == 0)

            assert raised.value.result.state.status == "failed"
            assert bool(raised.value.result.content) == (model == "steady")
            assert LONG.startswith(raised.value.result.content)

    asyncio.run(run())


def test_a_provider_that_only_fails_is_an_error_of_the_run() -> None:
    async def run() -> None:
        async with provided(Config(limits=LimitsConfig(retries=0))) as (_, client):
            with pytest.raises(facilitair.AgentsFailedError, match="500") as raised:
                await client.run("Sort a list", strategy=alone("brief+500x9"))

            assert raised.value.result.content == ""

    asyncio.run(run())


def test_one_failed_agent_degrades_the_result_and_ends_nothing() -> None:
    async def run() -> None:
        async with provided(Config(limits=LimitsConfig(retries=0))) as (_, client):
            strategy = Strategy(
                name="three",
                agents=tuple(
                    AgentSpec(name, "coder", model=f"openai/{model}")
                    for name, model in {"one": "brief", "two": "brief", "broken": "brief+500x9"}.items()
                ),
                synthesizer=AgentSpec("synthesizer", "synthesizer", model="openai/echo"),
            )
            result = await client.run("Sort a list", strategy=strategy)

        assert "Sort a list" in result.content
        assert len(result.degraded) == 1
        assert "broken" in result.degraded[0]

    asyncio.run(run())


ECHOES: dict[str, Answer] = {
    "refused": answering(
        f'{{"error":{{"message":"Incorrect API key provided: {KEY}."}}}}'.encode(), "401 Unauthorized"
    ),
    "no JSON": answering(f"<p>Bearer {KEY} is not known</p>".encode(), "403 Forbidden"),
    "in mid-text": streaming(
        sse('{"choices":[{"index":0,"delta":{"content":"word "}}]}'),
        sse(f'{{"error":{{"message":"the key {KEY} is over its quota","code":"quota"}}}}'),
    ),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_that_a_provider_echoes_appears_nowhere(caplog: pytest.LogCaptureFixture, echo: str) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []

    async def run() -> None:
        async with serving(ECHOES[echo]) as server:
            env = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": KEY}
            async with Client(Config(limits=LimitsConfig(retries=0)), env=env) as client:
                run = client.collaborate("Sort a list", strategy=alone("any"))
                shown.extend(ev.encode(event).decode() for event in await collected(run))
                with pytest.raises((facilitair.AgentsFailedError, facilitair.KeyRefusedError)) as raised:
                    await client.run("Sort a list", strategy=alone("any"))
                shown.extend(traceback.format_exception(raised.value))
                shown.extend(repr(thing) for thing in (raised.value, raised.value.result, run, client))
            assert any(KEY in head for head in server.heads), "the key reached the provider"

    asyncio.run(run())

    text = "\n".join(shown) + caplog.text
    assert "task_error" in text
    assert KEY not in text
    assert KEY[8:] not in text


# --- one client, many runs ---------------------------------------------------------------------------------------


def test_runs_on_one_client_do_not_mix() -> None:
    async def run() -> None:
        async with provided() as (_, client):
            tasks = [f"Sort list number {n}" for n in range(8)]
            results = await asyncio.gather(*(client.run(task, strategy=together("echo")) for task in tasks))

        assert len({result.state.stream_id for result in results}) == len(tasks)
        for task, result in zip(tasks, results, strict=True):
            texts = [result.content, *(chunk.text for chunk in result.state.chunks.values())]
            assert texts == [f"This is about {task}. It is short."] * 4

    asyncio.run(run())


def test_leaving_one_run_leaves_the_others_alone() -> None:
    async def run() -> None:
        async with provided() as (simulator, client):
            other = asyncio.create_task(client.run("Sort a list", strategy=together("echo")))
            async for event in client.collaborate("Sort a list", strategy=alone("steady")):
                if isinstance(event, ev.TokenStreamEvent):
                    break

            assert (await other).state.status == "completed"
            await until(lambda: simulator.open_streams == 0)

    asyncio.run(run())


@asynccontextmanager
async def counted(port: int) -> AsyncIterator[tuple[int, Callable[[], int]]]:
    """Run a relay to `port`: its own port, and how many connections it was opened."""
    relays: set[asyncio.Task[None]] = set()
    connections = 0

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))
        finally:
            writer.close()
            upstream_writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        relays.add(asyncio.create_task(relay(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], lambda: connections
    finally:
        server.close()
        for task in relays:
            task.cancel()
        await asyncio.gather(*relays, return_exceptions=True)


def test_connections_are_used_again() -> None:
    async def run() -> None:
        async with Simulator(brain()) as simulator:
            port = int(simulator.base_url.removesuffix("/v1").rpartition(":")[2])
            async with counted(port) as (relay, connections):
                env = {"OPENAI_BASE_URL": f"http://127.0.0.1:{relay}/v1", "OPENAI_API_KEY": KEY}
                async with Client(Config(), env=env) as client:
                    for _ in range(4):
                        await client.run("Sort a list", strategy=alone("brief"))

                assert simulator.requests == 8
                assert connections() < 4, (
                    "one stream is open at a time, so a run needs no connection of its own"
                )

    asyncio.run(run())


def test_two_event_loops_with_a_client_each() -> None:
    results: dict[str, str] = {}

    def in_a_loop_of_its_own(task: str) -> None:
        async def run() -> None:
            async with provided() as (_, client):
                results[task] = (await client.run(task, strategy=together("echo"))).content

        asyncio.run(run())

    tasks = ["Sort a list", "Merge two lists"]
    threads = [threading.Thread(target=in_a_loop_of_its_own, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIVENESS_S)

    assert results == {task: f"This is about {task}. It is short." for task in tasks}


# --- mistakes are found before the first event -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "context", "options", "names"),
    [
        ("", None, {}, "task is empty"),
        (" \n\t", None, {}, "task is empty"),
        ("a\0b", None, {}, "NUL"),
        ("a" * (1 << 20) + "b", None, {}, "1,048,576"),
        ("Sort", {"when": object()}, {}, "context"),
        ("Sort", "python", {}, "context"),
        ("Sort", {"odd": "\ud800"}, {}, "context"),
        ("Sort", None, {"strategy": "fastest"}, "fastest.*balanced"),
        ("Sort", None, {"preset": "cheap"}, "cheap.*budget"),
        ("Sort", None, {"models": {"poet": "openai/x"}}, "poet.*coder"),
        ("Sort", None, {"models": "gpt"}, "provider/model"),
        ("Sort", None, {"models": {"coder": 7}}, "models"),
        ("Sort", None, {"sections": []}, "sections"),
        ("Sort", None, {"sections": ["Design", " "]}, "sections"),
        ("Sort", None, {"sections": [str(n) for n in range(65)]}, "sections.*64"),
        ("Sort", None, {"max_cost": 0}, "max_cost"),
        ("Sort", None, {"max_cost": float("nan")}, "max_cost"),
        ("Sort", None, {"max_tokens": -1}, "max_tokens"),
        ("Sort", None, {"timeout": -1.0}, "timeout"),
        ("Sort", None, {"temperature": 1}, "temperature.*strategy"),
    ],
)
def test_a_wrong_argument_is_named_at_once(task: str, context: Any, options: Any, names: str) -> None:
    client = Client(Config(), env={})

    with pytest.raises(facilitair.UsageError, match=f"(?s){names}") as raised:
        client.collaborate(task, context, **options)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, ValueError)


async def first_event(client: Client, **options: Any) -> ev.AnyEvent:
    async with aclosing(client.collaborate("Sort a list", **options).__aiter__()) as events:
        return await anext(events)


@pytest.mark.parametrize(
    ("models", "error", "names"),
    [
        ("nowhere/gpt", facilitair.ConfigError, "nowhere.*openai"),
        ("openai/gpt", facilitair.ConfigError, "OPENAI_API_KEY"),
        ("groq/gpt", facilitair.ConfigError, "GROQ_API_KEY"),
        ("simulator/nobody", facilitair.ConfigError, "nobody.*coder"),
        ("simulator/coder+explode", facilitair.ConfigError, "explode.*429"),
    ],
)
def test_a_model_that_cannot_be_had_is_an_error_before_the_first_event(
    models: str, error: type[Exception], names: str
) -> None:
    async def run() -> None:
        async with Client(Config(), env=FAST) as client:
            with pytest.raises(error, match=names):
                await first_event(client, models=models)

    asyncio.run(run())


def test_a_cost_limit_needs_the_price_of_every_model() -> None:
    async def run() -> None:
        async with provided() as (simulator, client):
            with pytest.raises(facilitair.UsageError, match=r'openai/brief.*pricing."openai/'):
                await first_event(client, strategy=alone("brief"), max_cost=1.0)
            assert simulator.requests == 0

    asyncio.run(run())


@pytest.mark.parametrize("speed", ["fast", "0", "-1", "inf", "nan", ""])
def test_a_speed_that_cannot_be_is_named(speed: str) -> None:
    with pytest.raises(facilitair.ConfigError, match="FACILITAIR_SIMULATOR_SPEED"):
        Client(Config(), env={"FACILITAIR_SIMULATOR_SPEED": speed})


def test_a_collaboration_is_iterated_once() -> None:
    async def run() -> None:
        async with provided() as (simulator, client):
            run = client.collaborate("Sort a list", strategy=alone("brief"))
            await run.result()
            with pytest.raises(facilitair.UsageError, match="once"):
                await first_of(run)
            assert (await run.result()).content
            assert simulator.requests == 2

    async def first_of(run: Collaboration) -> ev.AnyEvent:
        return await anext(run.__aiter__())

    asyncio.run(run())


def test_a_closed_client_says_so() -> None:
    async def run() -> None:
        async with provided() as (_, client):
            await client.run("Sort a list", strategy=alone("brief"))
            begun = client.collaborate("Sort a list", strategy=alone("brief"))
            await client.aclose()
            await client.aclose()
            for run in (begun.result(), client.run("Sort a list", strategy=alone("brief"))):
                with pytest.raises(facilitair.UsageError, match="closed"):
                    await run

    asyncio.run(run())
