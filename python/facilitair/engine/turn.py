"""One turn of one agent on one section: its text, its streams, what it was shown, and how it ends.

A turn outlives its streams: it is stopped and continued to be shown something new, tried again when a provider
fails before the first content, and cut back when what it built on is retracted. `AgentTurn` holds that state and the
rules that concern this turn alone; who reads whom is `sections`, what happens when is `run`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from facilitair_rust import ChunkText

from .. import events as ev
from ..stream import Figures
from .budget import Settled, add_usage
from .control import Verdict
from .plan import PlannedAgent
from .provenance import Provenance
from .seam import NoSeam, Seam

if TYPE_CHECKING:
    from ..providers.model import Model


class Phase(Enum):
    """Where a turn stands."""

    WAITING = "waiting"  # for what it reads
    STREAMING = "streaming"
    STOPPING = "stopping"  # asked the provider to stop, to go on with something new
    RETRYING = "retrying"  # waits out a provider's failure
    HOLDING = "holding"  # own text ended, what it reads has not
    DONE = "done"
    SKIPPED = "skipped"  # never needed


@dataclass(slots=True)
class Attempt:
    """The stream that is open now. `discard`: what still arrives belongs to text already taken back."""

    stream: int
    seam: Seam = field(default_factory=NoSeam)
    content: bool = False
    discard: bool = False


@dataclass(slots=True)
class AgentTurn:
    """The state of one turn, which is a `Source` for others. Times are seconds on the run's clock."""

    section: str
    agent: PlannedAgent
    number: int
    draft: ChunkText
    answers: bool = False  # writes its section's answer, and no chunk
    phase: Phase = Phase.WAITING
    id: str = field(init=False)
    provenance: Provenance = field(init=False)
    attempt: Attempt | None = None
    model_index: int = 0
    tries: int = 0
    retry_at: float | None = None
    interrupts: int = 0
    rollbacks: int = 0
    closed_out: bool = False  # has had its closing update
    own_since: int = 0  # own fragments since the last exposure
    finish_reason: str = "stop"
    failure: str | None = None
    verdict: Verdict | None = None
    started: float | None = None
    first_content: float | None = None
    last_content: float = 0.0
    last_notice: float = 0.0
    reasoning: bool = False
    usage: ev.Usage | None = None
    cost: float | None = 0.0

    def __post_init__(self) -> None:
        self.id = f"{self.section}/{self.agent.name}.{self.number}"
        self.provenance = Provenance(self.id)

    @property
    def author(self) -> str:
        """Its agent, as a prompt introduces it."""
        return f"the {self.agent.role.title.lower()}"

    @property
    def text(self) -> str:
        """The text as it stands."""
        return self.draft.text

    @property
    def model(self) -> Model:
        """The model in use: the first choice, or the fallback that is tried now."""
        return self.agent.models[self.model_index]

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be expected of it, unless something is retracted."""
        return self.phase in (Phase.DONE, Phase.SKIPPED)

    @property
    def failed(self) -> bool:
        """Whether it ended without its model having finished."""
        return self.phase is Phase.DONE and self.failure is not None

    @property
    def cut_short(self) -> bool:
        """Whether its text ends for another reason than that its model had finished."""
        return self.failure is not None or self.finish_reason == "budget"

    @property
    def loss(self) -> str | None:
        """What it ended with less than it should have, or `None`."""
        if not self.cut_short and self.finish_reason != "length":
            return None
        why = "cut by its model's length limit" if self.finish_reason == "length" else "ended early"
        return f"{self.agent.name} on {self.section}: {self.failure or why}"

    @property
    def running(self) -> bool:
        """Whether somebody is waiting for its text right now."""
        return self.phase in (Phase.STREAMING, Phase.STOPPING, Phase.RETRYING, Phase.HOLDING)

    @property
    def figures(self) -> Figures:
        """What it used until now, as its completion says it."""
        waited = self.first_content is not None and self.started is not None
        ttft = round(self.first_content - self.started, 6) if waited else None  # type: ignore[operator]
        return Figures(self.usage, self.cost, ttft)

    def expose(self, fragments: list[str]) -> None:
        """Record that the author is shown `fragments` now."""
        if fragments:
            self.provenance.expose(len(self.draft), tuple(fragments))
        self.own_since = 0

    def account(self, settled: Settled) -> None:
        """Add what one of its streams used and cost."""
        self.usage = settled.usage if self.usage is None else add_usage(self.usage, settled.usage)
        known = self.cost is not None and settled.cost_usd is not None
        self.cost = (self.cost or 0.0) + (settled.cost_usd or 0.0) if known else None

    def cut(self, keep: int, tainted: frozenset[str]) -> None:
        """Take its text back to `keep` code points."""
        self.draft.truncate(keep)
        self.provenance.cut(keep, tainted)
        self.failure, self.finish_reason = None, "stop"
        self.closed_out = False
        self.own_since = 0
        if self.attempt is not None:
            self.attempt.seam = NoSeam()
