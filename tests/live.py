"""A provider for tests of whole runs: the simulator's server with scripts of its own, and graphs that ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from facilitair import AgentSpec, Client, Config, Strategy
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.prompt import Prompt
from facilitair.simulator.server import Simulator

LIVENESS_S = 20.0
KEY = "sk-live-0123456789abcdefghij"
LONG = "\n\n".join(
    " ".join(f"Sentence number {number} of a text that goes on." for number in range(first, first + 5))
    for first in range(0, 2000, 5)
)


@dataclass
class Prompts:
    """A script that notes what it is asked."""

    seen: list[Prompt] = field(default_factory=list)

    def __call__(self, prompt: Prompt) -> str:
        self.seen.append(prompt)
        return f"This is about {prompt.task}. It is short."

    def text(self) -> str:
        return "\n".join(turn.content for prompt in self.seen for turn in prompt.turns)


def brain(prompts: Prompts | None = None) -> Brain:
    return Brain(
        {
            "steady": Script(text=LONG, ttft_s=0.01, between_s=0.002),
            "mute": Script(text="Never said.", ttft_s=3600),
            "echo": Script(text=prompts or Prompts(), ttft_s=0.01, between_s=0.001),
            "brief": Script(text="One thing. Another thing.", ttft_s=0.01, between_s=0.001),
        }
    )


@asynccontextmanager
async def provided(
    config: Config | None = None, prompts: Prompts | None = None, speed: float = 1.0
) -> AsyncIterator[tuple[Simulator, Client]]:
    """Run a simulator and a client that takes it for OpenAI; neither may hang."""
    async with asyncio.timeout(LIVENESS_S), Simulator(brain(prompts), speed=speed) as simulator:
        env = {"OPENAI_BASE_URL": simulator.base_url, "OPENAI_API_KEY": KEY}
        async with Client(config or Config(), env=env) as client:
            yield simulator, client


def alone(model: str) -> Strategy:
    """Return a graph of one agent; its synthesizer begins when it has ended, so one stream is open at a time."""
    return Strategy(
        name="alone",
        agents=(AgentSpec("writer", "coder", model=f"openai/{model}"),),
        synthesizer=AgentSpec("synthesizer", "synthesizer", model="openai/echo"),
        synthesis="end",
    )


def together(model: str, agents: int = 3) -> Strategy:
    """Return a graph of agents that read nobody."""
    specs = tuple(AgentSpec(f"writer-{n}", "coder", model=f"openai/{model}") for n in range(agents))
    return Strategy(
        name="together",
        agents=specs,
        synthesizer=AgentSpec("synthesizer", "synthesizer", model="openai/echo"),
        synthesis="end",
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIVENESS_S):
        while not condition():  # noqa: ASYNC110 (the simulator's counters are numbers)
            await asyncio.sleep(0.002)
