"""What a run leaves behind, read off its folded state."""

from __future__ import annotations

import msgspec

from . import errors
from . import events as ev


class Result(msgspec.Struct, frozen=True):
    """The answer of a run, or what there is of it.

    `cost_usd` is `None` when a model's price is unknown; `degraded` names what was lost on the way.
    """

    content: str
    state: ev.RunState

    @property
    def sections(self) -> dict[str, str]:
        """The answer by section title."""
        return {
            s.title: self.state.syntheses[s.id].text
            for s in self.state.sections
            if s.id in self.state.syntheses
        }

    @property
    def files(self) -> dict[str, str]:
        """The files of the answer, fenced code that has a name: content by name."""
        return {a.name: self.content[a.start : a.end] for a in self.state.artifacts}

    @property
    def usage(self) -> ev.Usage:
        """Tokens of the whole run."""
        return self.state.usage or ev.Usage()

    @property
    def cost_usd(self) -> float | None:
        """US dollars of the whole run."""
        return self.state.cost_usd

    @property
    def degraded(self) -> tuple[str, ...]:
        """What was lost on the way; empty for a full result."""
        return self.state.degraded

    @property
    def simulated(self) -> bool:
        """Whether any text came from the simulator."""
        return self.state.simulated


def result_of(state: ev.RunState) -> Result:
    """Return the result of a run that reached its end.

    Raises `RunError` (with the partial result) when the run failed or was cancelled.
    """
    result = Result(content=state.content, state=state)
    if state.status == "completed":
        return result
    message = state.error_message or "the run has not ended"
    if state.status == "cancelled":
        raise errors.RunCancelledError(f"the run was cancelled: {message}", result)
    raise errors.run_error(state.error_code)(message, result)
