"""One turn of one agent on one section: its text, its streams, what it was shown, and how it ends.

A turn outlives its streams: it is stopped and continued to be shown something new, tried again when a provider
fails before the first content, and cut back when what it built on is retracted. `AgentTurn` holds that state and the
rules that concern this turn alone; who reads whom is `sections`, what happens when is `run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from facilitair_rust import ChunkText

from ..finish import described, is_length, is_whole
from ..stream import Figures
from .budget import Spending
from .control import Verdict
from .includes import Inclusions, as_prompted
from .influence import Attention
from .plan import PlannedAgent
from .prompts import Asking
from .provenance import Glimpse, Provenance
from .seam import FirstSeam, LineSeam, OpenSeam, Seam

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


class Attempt(msgspec.Struct):
    """The stream that is open now. `discard`: what still arrives belongs to text already taken back."""

    stream: int
    seam: Seam = msgspec.field(default_factory=FirstSeam)
    last: bool = False  # whether it answers a last request
    content: bool = False  # whether any has come
    reasoning: bool = False  # whether the model thinks, and writes nothing
    discard: bool = False


class Calls(msgspec.Struct):
    """The calls of a turn to its agent's models, which `streams` makes."""

    attempt: Attempt | None = None
    model_index: int = 0
    tries: int = 0  # that failed, of this model, since it last wrote
    empty: int = 0  # that left no text, of this model
    reasoned: bool = False  # whether the last one thought
    asked_again: bool = False  # because a reply did not go on from the text
    mended: bool = False  # a stream that broke in mid-text was continued
    loading_since: float | None = None  # its server said that it loads the model
    retry_at: float | None = None  # `None`: as soon as a stream may be opened

    def next_model(self) -> None:
        """Ask the agent's next model from now on."""
        self.model_index += 1
        self.tries = self.empty = 0
        self.loading_since = None

    def due(self, now: float) -> bool:
        """Whether the pause before the next try is over."""
        return self.retry_at is None or now >= self.retry_at


class Pulse(msgspec.Struct):
    """When a turn gave which sign of life, in seconds on the run's clock; `watch` says so when it gives none."""

    started: float | None = None
    first_content: float | None = None
    last_content: float = 0.0
    last_notice: float = 0.0

    def opened(self, now: float) -> None:
        """A stream was opened: from now on words are waited for."""
        if self.started is None:
            self.started = now
        self.last_content = self.last_notice = now

    def heard(self, now: float) -> None:
        """Words came."""
        if self.first_content is None:
            self.first_content = now
        self.last_content = now

    @property
    def silent_since(self) -> float:
        """When it was last heard of."""
        return max(self.last_content, self.last_notice)

    @property
    def ttft_s(self) -> float | None:
        """Seconds from its start to its first words."""
        if self.started is None or self.first_content is None:
            return None
        return round(self.first_content - self.started, 6)


class AgentTurn:
    """The state of one turn, which is a `Source` for others.

    Each part of it is written by one module: `calls` by `streams`, `spent` with what `budget` settled, `attention` by
    who shows it news, `inclusions` by `run` and `writing`, and `pulse` by `streams` and `watch`.
    """

    __slots__ = (
        "agent", "answers", "asking", "attention", "begins_line", "calls", "decided_at", "directed", "draft", "early",
        "failure", "finish_reason", "foregone", "hidden", "id", "inclusions", "number", "patient", "phase",
        "provenance", "pulse", "rollbacks", "section", "spent", "stopped_short", "unread", "verdict",
    )  # fmt: skip

    def __init__(
        self, section: str, agent: PlannedAgent, number: int, draft: ChunkText, answers: bool = False
    ) -> None:
        self.section = section
        self.agent = agent
        self.number = number
        self.draft = draft
        self.answers = answers  # writes its section's answer, and no chunk
        self.id = f"{section}/{agent.name}.{number}"
        self.provenance = Provenance(self.id)
        self.phase = Phase.WAITING
        self.verdict: Verdict | None = None
        self.foregone: Verdict | None = None  # one given before what it is on was there
        self.decided_at = 0  # where in its text the verdict stands
        self.directed = False  # whether it wrote a control line
        self.asking = Asking.TEXT  # what its next request asks for
        self.begins_line: LineSeam | None = None  # through which it goes on after it took text back
        self.early = False  # whether what it reads was still being written when it began
        self.rollbacks = 0
        self.patient = False  # waits for ends, because too much of what it built on was retracted
        self.stopped_short = False  # was interrupted, and its model would not go on
        self.unread: str | None = None  # why it was not asked what the last news changes
        self.inclusions = Inclusions()
        self.hidden: dict[str, int] = {}  # code points of a deliverable that a cap kept from it, by source
        self.finish_reason = "stop"
        self.failure: str | None = None
        self.calls = Calls()
        self.attention = Attention()
        self.pulse = Pulse()
        self.spent = Spending()

    @property
    def author(self) -> str:
        """Its agent, as a prompt introduces it."""
        title = self.agent.role.title.lower()
        return f"the {title}" if self.agent.name == title else f"the {title} {self.agent.name}"

    @property
    def text(self) -> str:
        """The text as it stands."""
        return self.draft.text

    @property
    def prompted(self) -> str:
        """The text as its author is shown it, with lines for what it took over."""
        return as_prompted(self.text, self.inclusions.taken)

    @property
    def model(self) -> Model:
        """The model in use: the first choice, or the fallback that is tried now."""
        return self.agent.models[self.calls.model_index]

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
        """Whether its text ends for another reason than that its model had finished, or had no more room."""
        return self.failure is not None or not (is_whole(self.finish_reason) or is_length(self.finish_reason))

    @property
    def loss(self) -> str | None:
        """What it ended with less than it should have, or `None`."""
        if self.failure is None and is_whole(self.finish_reason):
            return self._shortcoming()
        why = "ended early" if self.finish_reason == "budget" else described(self.finish_reason)
        return f"{self.agent.name} on {self.section}: {self.failure or why}"

    def _shortcoming(self) -> str | None:
        where = f"{self.agent.name} on {self.section}"
        if self.stopped_short:
            return f"{where}: was interrupted, and did not go on from its text"
        if self.unread is not None:
            return f"{where}: did not read to the end: {self.unread}"
        if self.inclusions.missing:
            return (
                f"{where}: wanted to include {', '.join(self.inclusions.missing)}, and there is no such work"
            )
        if self.hidden:
            count = sum(self.hidden.values())
            return f"{where}: was not shown {count} characters of {', '.join(self.hidden)}, which is too long"
        return None

    @property
    def running(self) -> bool:
        """Whether somebody is waiting for its text right now."""
        return self.phase in (Phase.STREAMING, Phase.STOPPING, Phase.RETRYING, Phase.HOLDING)

    @property
    def figures(self) -> Figures:
        """What it used until now, as its completion says it."""
        return Figures(self.spent.usage, self.spent.cost_usd, self.pulse.ttft_s)

    def decide(self, verdict: Verdict) -> None:
        """Note its verdict on what it has written until now."""
        self.verdict, self.decided_at = verdict, len(self.draft)

    def fail(self, why: str) -> None:
        """Note that its model did not finish."""
        self.failure, self.finish_reason = why, "error"

    def expose(self, fragments: list[str], sources: Mapping[str, Glimpse]) -> None:
        """Record that the author is shown `fragments` now, and how their sources stand."""
        if fragments or sources:
            self.provenance.expose(len(self.draft), tuple(fragments), sources)
        self.attention.own_since = 0

    def cut(self, keep: int, tainted: frozenset[str]) -> None:
        """Take its text back to `keep` code points, from where it may be told all again."""
        self.draft.truncate(keep)
        self.provenance.cut(keep, tainted)
        self.inclusions.cut(keep)
        self.failure, self.finish_reason, self.stopped_short, self.unread = None, "stop", False, None
        if keep <= self.decided_at:  # what the verdict was given on, or its own paragraph, no longer stands
            self.verdict = None
        self.attention.own_since = 0
        if self.calls.attempt is not None:
            self.calls.attempt.seam = OpenSeam() if keep else FirstSeam()
        fenced = self.draft.open_fence is not None
        self.begins_line = LineSeam(self.text, fenced=fenced) if keep else None
