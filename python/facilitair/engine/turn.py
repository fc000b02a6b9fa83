"""One turn of one agent on one section: its text, its streams, what it was shown, and how it ends.

A turn outlives its streams: it is stopped and continued to be shown something new, tried again when a provider
fails before the first content, and cut back when what it built on is retracted. `Turn` holds that state and the
rules that concern this turn alone; who reads whom is `sections`, what happens when is `run`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from facilitair_rust import ChunkText

from .. import events as ev
from .budget import Settled, add_usage
from .plan import PlannedAgent
from .prompts import Quote, Shown
from .provenance import Exposure, Provenance
from .seam import NoSeam, Seam

if TYPE_CHECKING:
    from ..providers.model import Model

VERBS = ("section", "verdict", "retract", "object")


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
    started: float
    seam: Seam = field(default_factory=NoSeam)
    content: bool = False
    discard: bool = False


@dataclass(slots=True)
class Turn:
    """The state of one turn. Times are seconds on the run's clock."""

    section: str
    agent: PlannedAgent
    number: int
    text: ChunkText
    phase: Phase = Phase.WAITING
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
    verdict: str | None = None
    started: float | None = None
    first_content: float | None = None
    last_content: float = 0.0
    last_notice: float = 0.0
    reasoning: bool = False
    usage: ev.Usage | None = None
    cost: float | None = 0.0

    def __post_init__(self) -> None:
        self.provenance = Provenance(self.chunk_id)

    @property
    def chunk_id(self) -> str:
        """The turn's id, "<section>/<agent>.<turn>"."""
        return f"{self.section}/{self.agent.name}.{self.number}"

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
    def running(self) -> bool:
        """Whether somebody is waiting for its text right now."""
        return self.phase in (Phase.STREAMING, Phase.STOPPING, Phase.RETRYING, Phase.HOLDING)

    def quote(self, fragment_id: str) -> Quote | None:
        """Return one of its fragments as peers are shown it, or `None` when it no longer stands."""
        for fragment in self.provenance.fragments:
            if fragment.id == fragment_id:
                text = self.text.text[fragment.start : fragment.end]
                return Quote(fragment.id, f"the {self.agent.role.title.lower()}", text)
        return None

    def unseen_by(self, reader: Turn) -> list[str]:
        """Return the ids of its fragments that `reader` has not been shown."""
        shown = reader.provenance.shown()
        return [f.id for f in self.provenance.fragments if f.id not in shown]

    def expose(self, fragments: list[str]) -> None:
        """Record that the author is shown `fragments` now."""
        if fragments:
            self.provenance.exposures.append(Exposure(len(self.text), tuple(fragments)))
        self.own_since = 0

    def account(self, settled: Settled) -> None:
        """Add what one of its streams used and cost."""
        self.usage = settled.usage if self.usage is None else add_usage(self.usage, settled.usage)
        known = self.cost is not None and settled.cost_usd is not None
        self.cost = (self.cost or 0.0) + (settled.cost_usd or 0.0) if known else None

    def cut(self, keep: int, tainted: frozenset[str]) -> None:
        """Take its text back to `keep` code points."""
        self.text.truncate(keep)
        self.provenance.cut(keep, tainted)
        self.closed_out = False
        self.own_since = 0
        if self.attempt is not None:
            self.attempt.seam = NoSeam()


def shown_to(turn: Turn, peers: dict[str, Turn]) -> list[Shown]:
    """Return what `turn` was shown, by position, with the texts as they stand. `peers` by chunk id."""
    by_position: dict[int, list[Quote]] = {}
    for exposure in turn.provenance.exposures:
        for fragment_id in exposure.fragments:
            author = peers[fragment_id.rpartition("#")[0]]
            quote = author.quote(fragment_id)
            if quote is not None:
                by_position.setdefault(exposure.position, []).append(quote)
    return [Shown(position, tuple(quotes)) for position, quotes in sorted(by_position.items())]
