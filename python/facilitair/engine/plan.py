"""A run as decided before it starts: the task, the graph, and the models behind each agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..events import AgentInfo, Usage
from ..roles import Role
from .budget import EXPECTED_OUTPUT_TOKENS
from .graph import AgentSpec, Strategy
from .influence import Policy
from .source import Source

if TYPE_CHECKING:
    from ..config import LimitsConfig
    from ..providers.model import Model

_FIRST_TOKEN_S = 0.8  # what an estimate assumes before anything was measured
_TOKENS_PER_S = 60.0
_WRITING_S = EXPECTED_OUTPUT_TOKENS / _TOKENS_PER_S
TURN_S = _FIRST_TOKEN_S + _WRITING_S


class PlannedAgent(msgspec.Struct, frozen=True):
    """An agent with its role and its models, the first choice first."""

    spec: AgentSpec
    role: Role
    models: tuple[Model, ...]

    @property
    def name(self) -> str:
        """The agent's unique name."""
        return self.spec.name

    def info(self) -> AgentInfo:
        """Return how the agent is introduced."""
        model = self.models[0]
        return AgentInfo(
            name=self.name, role=self.spec.role, model=model.name, provider=model.provider, tier=model.tier
        )


class Plan(msgspec.Struct, frozen=True):
    """Everything a run needs. `nonce` marks control lines and quotes, and is random for each run. `given` is what
    every turn reads beside the others' turns."""

    nonce: str
    task: str
    context: Mapping[str, Any]
    strategy: Strategy
    agents: Mapping[str, PlannedAgent]
    sections: tuple[str, ...] | None
    limits: LimitsConfig
    policy: Policy
    notices: tuple[str, ...] = ()
    given: tuple[Source, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether any agent's first model is scripted."""
        return any(a.models[0].simulated for a in self.agents.values())

    @property
    def needs_simulator(self) -> bool:
        """Whether any model, fallbacks included, is scripted."""
        return any(model.simulated for agent in self.agents.values() for model in agent.models)

    @property
    def needs_prices(self) -> bool:
        """Whether any model's price has to be looked up."""
        return any(not m.free and m.known_price is None for a in self.agents.values() for m in a.models)

    def estimate_cost(self, sections: int) -> float | None:
        """Return US dollars for the run, `None` when a price is unknown. A rule of thumb, not a promise."""
        prompt = len(self.task) // 4 + EXPECTED_OUTPUT_TOKENS
        usage = Usage(input_tokens=prompt, output_tokens=EXPECTED_OUTPUT_TOKENS)
        costs = [a.models[0].cost(usage) for a in self.agents.values()]
        known = [c for c in costs if c is not None]
        return sum(known) * sections if len(known) == len(costs) else None

    def estimate_time(self) -> float:
        """Return seconds along the graph's longest path; live edges overlap all but their first tokens."""
        starts: dict[str, float] = {}
        synthesizer = self.strategy.synthesizer
        for name in (*self.strategy.in_order(), *(() if synthesizer is None else (synthesizer.name,))):
            waits = (
                starts[e.source] + (1.0 if e.kind == "live" else _WRITING_S)
                for e in self.strategy.sources(name)
            )
            starts[name] = _FIRST_TOKEN_S + max(waits, default=0.0)
        return round(max(starts.values()) + _WRITING_S, 1)
