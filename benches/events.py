"""What a provider's chunk costs from the socket to an event that names its agent, against agent frameworks.

    python benches/events.py

Five agents write at the same time. `facilitair.collaborate` yields typed events; LangGraph streams messages of five
parallel nodes (`stream_mode="messages"`, langchain-openai); pydantic-ai streams the text of five agents (`run_stream`,
deltas, no debounce). CPU time of this process, all threads, divided by the provider's chunks; the provider runs in a
process of its own and every agent's text is checked. Rounds are interleaved, and the median is shown.
"""

import asyncio
import operator
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, TypedDict, cast

from langchain_core.messages import BaseMessageChunk
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import SecretStr
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from _machine import machine
from _provider import provider, text
from facilitair import Client, Config
from facilitair import events as ev
from facilitair.config import AgentConfig, ProviderConfig, StrategyConfig

AGENTS = 5
ROUNDS = 3
Texts = list[str]
Reader = Callable[[], Awaitable[Texts]]
Queue = asyncio.Queue[tuple[int, str | None]]


def config(base: str, brief: str) -> Config:
    """Each agent has a provider of its own, so that each gets its own stream."""
    places = {f"p{n}": f"{base}/s/{n}" for n in range(AGENTS)} | {"brief": f"{brief}/s/0"}
    providers = {
        name: ProviderConfig(base_url=url, free=True, tier="none", local=False)
        for name, url in places.items()
    }
    writers = tuple(AgentConfig(name=f"a{n}", role="coder", model=f"p{n}/m") for n in range(AGENTS))
    synthesizer = AgentConfig(name="synthesizer", role="synthesizer", model="brief/m")
    five = StrategyConfig(agents=(*writers, synthesizer), synthesizer="synthesizer", synthesis="end")
    return Config(default_strategy="five", strategy={"five": five}, providers=providers)


@asynccontextmanager
async def ours(base: str, brief: str) -> AsyncIterator[Reader]:
    async with Client(config(base, brief), env={}) as client:

        async def read() -> Texts:
            texts: dict[str, list[str]] = {f"a{n}": [] for n in range(AGENTS)}
            async for event in client.collaborate("Write."):
                if isinstance(event, ev.TokenStreamEvent):
                    texts[event.agent].append(event.tokens)
                elif isinstance(event, ev.TaskErrorEvent):
                    raise AssertionError(event)
            return ["".join(pieces) for pieces in texts.values()]

        yield read


class State(TypedDict):
    done: Annotated[list[str], operator.add]


def writer(model: ChatOpenAI) -> Callable[[State], Awaitable[State]]:
    async def node(_: State) -> State:
        await model.ainvoke("Write.")
        return {"done": ["written"]}

    return node


@asynccontextmanager
async def langgraph(base: str, _: str) -> AsyncIterator[Reader]:
    graph = StateGraph(State)
    for n in range(AGENTS):
        model = ChatOpenAI(
            model="m", base_url=f"{base}/s/{n}", api_key=SecretStr("sk-bench"), max_retries=0, streaming=True
        )

        graph.add_node(f"a{n}", RunnableLambda(writer(model)))
        graph.add_edge(START, f"a{n}")
        graph.add_edge(f"a{n}", END)
    compiled = graph.compile()

    async def read() -> Texts:
        texts: dict[str, list[str]] = {f"a{n}": [] for n in range(AGENTS)}
        async for part in compiled.astream({"done": []}, stream_mode="messages"):
            message, metadata = cast("tuple[BaseMessageChunk, dict[str, str]]", part)
            texts[metadata["langgraph_node"]].append(str(message.content))
        return ["".join(pieces) for pieces in texts.values()]

    yield read


@asynccontextmanager
async def pydantic_ai(base: str, _: str) -> AsyncIterator[Reader]:
    agents = [
        Agent(OpenAIChatModel("m", provider=OpenAIProvider(base_url=f"{base}/s/{n}", api_key="sk-bench")))
        for n in range(AGENTS)
    ]

    async def one(n: int, queue: Queue) -> None:
        async with agents[n].run_stream("Write.") as result:
            async for piece in result.stream_text(delta=True, debounce_by=None):
                await queue.put((n, piece))
        await queue.put((n, None))

    async def read() -> Texts:
        queue: Queue = asyncio.Queue(1024)
        texts: list[list[str]] = [[] for _ in range(AGENTS)]
        async with asyncio.TaskGroup() as tasks:
            for n in range(AGENTS):
                tasks.create_task(one(n, queue))
            left = AGENTS
            while left:
                n, piece = await queue.get()
                if piece is None:
                    left -= 1
                else:
                    texts[n].append(piece)
        return ["".join(pieces) for pieces in texts]

    yield read


CONTENDERS: dict[str, Callable[[str, str], AbstractAsyncContextManager[Reader]]] = {
    "facilitair": ours,
    "LangGraph": langgraph,
    "pydantic-ai": pydantic_ai,
}


async def measure(read: Reader, chunks: int) -> float:
    """Return the CPU time of a chunk in us."""
    began = time.process_time()
    texts = await asyncio.wait_for(read(), 120)
    used = time.process_time() - began
    for n, found in enumerate(texts):
        assert found.strip() == text(n, chunks).strip(), f"agent {n} differs: {found[:60]!r}"
    return 1e6 * used / AGENTS / chunks


async def compare(title: str, chunks: int, rate: float | None) -> None:
    found: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with provider(AGENTS, chunks, rate) as base, provider(1, 1, None) as brief:
        async with AsyncExitStack() as stack:
            readers = {
                name: await stack.enter_async_context(made(base, brief)) for name, made in CONTENDERS.items()
            }
            for read in readers.values():  # warms imports, connections and caches
                await measure(read, chunks)
            for _ in range(ROUNDS):
                for name, read in readers.items():
                    found[name].append(await measure(read, chunks))
    medians = {name: statistics.median(values) for name, values in found.items()}
    print(f"### {title}\n\n| {AGENTS} agents | CPU per chunk, us (min-max) | times ours |\n|---|---:|---:|")
    for name, values in found.items():
        spread = f"({min(values):.1f}-{max(values):.1f})"
        print(f"| {name} | {medians[name]:.1f} {spread} | {medians[name] / medians['facilitair']:.1f} |")
    print()


async def main() -> None:
    # One loop for all: langchain keeps its connections between graphs.
    await compare("Paced: 75 chunks a second each", 300, 75.0)
    await compare("Saturated: as fast as the client reads", 1000, None)
    print(machine("langgraph", "langchain-openai", "pydantic-ai-slim", "openai"))


if __name__ == "__main__":
    asyncio.run(main())
