"""The provider streams of a run's turns: opened, continued, stopped, paid for, and tried again.

There is one retry loop, and it ends with the first visible content of a stream: what a user has seen is never
played again. A failure that may pass, an answer of nothing included, is tried again after the provider's Retry-After or
a growing pause, then the role's next model is taken. A stream that broke in mid-text is continued once.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import msgspec

from facilitair_rust import Closed, Content, Failed, Finished, Reasoning

from ..clock import Clock
from ..finish import is_length, is_whole
from ..pricing import weight
from ..stream import EventStream
from ..transport import Channel
from .budget import Budget
from .plan import Plan
from .prompts import Asking, Assignment, Brief, Own, compose, own_quotes, shown_to
from .seam import ContinuationSeam, FirstSeam, LastSeam, Passage, Seam
from .source import Source
from .turn import AgentTurn, Attempt, Phase

if TYPE_CHECKING:
    from random import Random

    from ..providers.model import Model

_FIRST_PAUSE_S: Final = 0.5
_LOADING_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 30.0  # a provider that asks for more is given up for the next model
# No model has worked, where nothing came before such an end and no usage was reported.
_NOT_SERVED: Final = (
    "connect_failed", "connect_timeout", "tls_failed", "invalid_request", "http_status", "rate_limited", "auth_failed",
    "provider_error", "malformed",
)  # fmt: skip


class Trouble(msgspec.Struct, frozen=True):
    """Why a call gave no text; `retryable`, whether the same call may."""

    code: str
    message: str
    retryable: bool
    retry_after_s: float | None = None
    status: int | None = None

    @property
    def is_wrong_key(self) -> bool:
        """Whether no call with this key can succeed. A 403 may be about one model."""
        return self.code == "auth_failed" and self.status != 403


class Ending(Enum):
    """What the end of a stream means for its turn."""

    CONTINUE = auto()  # stopped by us: go on with what is new
    ENDED = auto()  # the model has finished its text
    BROKEN = auto()  # in mid-text: go on from what is whole of it
    RETRY = auto()  # waits; `Calls.retry_at` says until when
    FAILED = auto()  # `AgentTurn.failure` says why


class Streams:
    """Opens and ends the streams of turns. `sources` holds all that can be read, by id."""

    def __init__(
        self, plan: Plan, channel: Channel, clock: Clock, events: EventStream, sources: Mapping[str, Source]
    ) -> None:
        self._plan = plan
        self._channel = channel
        self._clock = clock
        self._events = events
        self._sources = sources
        self._turns: dict[int, AgentTurn] = {}
        self._jitter: Random | None = None
        self.budget = Budget(plan.limits.max_cost, plan.limits.max_tokens)
        self.models_used: dict[str, Model] = {}
        self._refused: dict[str, str] = {}  # providers that do not take their key, and what to do about it

    @property
    def full(self) -> bool:
        """Whether as many streams are open as may be."""
        return len(self._turns) >= self._plan.limits.max_streams

    @property
    def idle(self) -> bool:
        """Whether no stream is open."""
        return not self._turns

    def received(self, delta: Content) -> tuple[AgentTurn, Passage] | None:
        """Count what a stream sent; return whose text it is and what of it can be released, or `None` when it is no
        longer wanted."""
        self.budget.received(delta.stream, weight(delta.text))
        turn = self._turns.get(delta.stream)
        attempt = None if turn is None else turn.calls.attempt
        if turn is None or attempt is None or attempt.discard:
            return None
        if delta.text.strip():
            attempt.content, attempt.reasoning, turn.calls.tries = True, False, 0
        passage = attempt.seam.feed(delta.text)
        if passage.text:  # what is held back is silence to who waits
            turn.pulse.heard(self._clock.now())
        return turn, passage

    def reasons(self, delta: Reasoning) -> None:
        """Count what a model thinks; nobody is shown it."""
        self.budget.received(delta.stream, weight(delta.text))
        turn = self._turns.get(delta.stream)
        if turn is not None and turn.calls.attempt is not None:
            turn.calls.attempt.reasoning = True

    @property
    def refused(self) -> str | None:
        """What to do about the keys, when none of the run's providers takes its own; else `None`."""
        needed = {model.provider for agent in self._plan.agents.values() for model in agent.models}
        return "; ".join(self._refused.values()) if self._refused.keys() >= needed else None

    def lost_its_key(self, turn: AgentTurn) -> bool:
        """Whether all that `turn` could ask do not take their keys."""
        return all(model.provider in self._refused for model in turn.agent.models)

    def serve(self, turn: AgentTurn) -> bool:
        """Let `turn` ask the next of its models whose provider takes its key; return whether there is one."""
        models = turn.agent.models
        while turn.model.provider in self._refused:
            if turn.calls.model_index + 1 == len(models):
                turn.fail(self._refused[turn.model.provider])
                return False
            turn.calls.next_model()
        return True

    def refusal(self, turn: AgentTurn, work: Assignment) -> str | None:
        """Return why the budget does not allow to open a stream for `turn` now."""
        return self.budget.refusal(turn.model, self._brief(turn, work).characters)

    def open(self, turn: AgentTurn, work: Assignment) -> str | None:
        """Begin or continue the text of `turn`; return why the budget does not allow it, if it does not."""
        # The model is shown the text without a control line it was stopped in, so it begins that line anew.
        turn.draft.truncate(len(turn.draft))
        brief = self._brief(turn, work)
        refusal = self.budget.refusal(turn.model, brief.characters)
        if refusal is not None:
            return refusal
        caps = (
            self.budget.affordable(turn.model, brief.characters),
            turn.agent.role.max_output_tokens,
            turn.model.max_output_tokens,
        )
        most = min((cap for cap in caps if cap is not None), default=None)
        stream = self._channel.open(
            turn.model.request(brief.messages, max_tokens=most, prefill=brief.prefill)
        )
        self._turns[stream] = turn
        self.models_used[turn.model.id] = turn.model
        self.budget.open(stream, turn.model, brief.characters)
        turn.calls.attempt = Attempt(
            stream, self._seam(turn, brief, work.heading), last=turn.asking is Asking.LAST
        )
        turn.calls.retry_at, turn.begins_line = None, None
        turn.phase = Phase.STREAMING
        turn.pulse.opened(self._clock.now())
        return None

    def postpone(self, turn: AgentTurn) -> None:
        """Let `turn` be opened again as soon as there is room for a stream."""
        turn.phase, turn.calls.retry_at = Phase.RETRYING, None

    def stop(self, turn: AgentTurn, *, discard: bool) -> None:
        """Ask the provider to stop; `discard` what still comes, because it follows text taken back."""
        if turn.calls.attempt is None:
            return
        turn.calls.attempt.discard = turn.calls.attempt.discard or discard
        if turn.phase is Phase.STREAMING:
            turn.phase = Phase.STOPPING
        self._channel.close_stream(turn.calls.attempt.stream)

    def abandon(self, turn: AgentTurn) -> None:
        """Stop the stream of a turn that is over, and settle it by what was counted."""
        if turn.calls.attempt is not None:
            stream, turn.calls.attempt = turn.calls.attempt.stream, None
            self._channel.close_stream(stream)
            del self._turns[stream]
            turn.spent.add(self.budget.settle(stream, None))

    def end(self, delta: Finished | Failed | Closed) -> tuple[AgentTurn, Attempt, Passage, Ending] | None:
        """Settle an ended stream: its turn, what it was, the text its seam still held, and what follows; `None` when
        the stream had been abandoned."""
        turn = self._turns.pop(delta.stream, None)
        attempt = turn.calls.attempt if turn is not None else None
        if turn is None or attempt is None:
            return None
        turn.calls.attempt, turn.calls.reasoned = None, attempt.reasoning
        self._settle(turn, attempt, delta)
        whole = isinstance(delta, Finished) and not is_length(delta.reason)
        held = Passage() if attempt.discard else attempt.seam.end(whole=whole)
        stopped = turn.phase is Phase.STOPPING
        if isinstance(delta, Failed) and not stopped:
            error = delta.error
            trouble = Trouble(error.code, error.message, error.retryable, error.retry_after_s, error.status)
            return turn, attempt, held, self._failed(turn, trouble, attempt)
        if isinstance(delta, Finished) and not attempt.discard:
            if not turn.attention.last:
                turn.finish_reason = delta.reason
            return turn, attempt, held, Ending.ENDED
        return turn, attempt, held, Ending.CONTINUE

    def answered_nothing(self, turn: AgentTurn) -> Ending:
        """Take an end of `turn` that left no text for a failure, and return what follows."""
        what = "only reasoned, and wrote no answer" if turn.calls.reasoned else "answered with nothing"
        reason = turn.finish_reason
        # One that says why would do so again. Blanks, and lines that were taken out, had counted as a success.
        turn.calls.empty += 1
        again = is_whole(reason) and turn.calls.empty <= self._plan.limits.retries
        trouble = Trouble("empty_answer", f"it {what} (finish reason {reason})", retryable=again)
        turn.finish_reason = "stop"
        return self._failed(turn, trouble, None)

    def _settle(self, turn: AgentTurn, attempt: Attempt, delta: Finished | Failed | Closed) -> None:
        refused = isinstance(delta, Failed) and delta.error.code in _NOT_SERVED
        if refused and not (attempt.content or attempt.reasoning) and delta.usage is None:
            self.budget.refund(delta.stream)
        else:
            turn.spent.add(self.budget.settle(delta.stream, delta.usage))

    def _brief(self, turn: AgentTurn, work: Assignment) -> Brief:
        shown = shown_to(turn.provenance, self._sources, turn.inclusions.taken)
        tier = turn.model.tier
        own = Own(
            turn.prompted,
            own_quotes(turn, turn.inclusions.taken),
            asking=turn.asking,
            fence=turn.draft.open_fence,
            early=turn.early,
            again=turn.calls.asked_again,
        )
        return compose(self._plan, work, shown, own, tier)

    def _seam(self, turn: AgentTurn, brief: Brief, heading: str) -> Seam:
        own, nonce = turn.prompted, self._plan.nonce
        if not own:
            return FirstSeam(heading)
        if turn.asking is Asking.LAST:
            return LastSeam(own, nonce=nonce)
        fenced, patient = turn.draft.open_fence is not None, not turn.calls.asked_again
        return ContinuationSeam(own, nonce=nonce, anchor=brief.anchor, fenced=fenced, patient=patient)

    def _failed(self, turn: AgentTurn, error: Trouble, attempt: Attempt | None) -> Ending:
        """Return what follows a failure of `attempt`, or (`None`) an end of it that left no text."""
        reason = f"{turn.model.id}: {error.message} ({error.code})"
        if attempt is not None and attempt.content:
            return self._broken(turn, reason)
        if error.is_wrong_key:
            return self._wrong_key(turn, error)
        now = self._clock.now()
        if error.status == 503 and "loading" in error.message.lower() and self._may_still_load(turn, now):
            turn.phase, turn.calls.retry_at = Phase.RETRYING, now + _LOADING_PAUSE_S
            return Ending.RETRY
        pause = self._pause(turn, error)
        if error.retryable and turn.calls.tries < self._plan.limits.retries and pause <= _LONGEST_PAUSE_S:
            turn.calls.tries += 1
            turn.phase, turn.calls.retry_at = Phase.RETRYING, now + pause
            self._events.tell(f"{turn.agent.name}: {reason}; trying again in {pause:.1f} s", "warning")
            return Ending.RETRY
        if turn.calls.model_index + 1 < len(turn.agent.models):
            turn.calls.next_model()
            turn.phase, turn.calls.retry_at = Phase.RETRYING, now
            self._events.tell(f"{turn.agent.name}: {reason}; going on with {turn.model.id}", "warning")
            return Ending.RETRY
        if turn.attention.last:
            return self._unread(turn, reason)
        if turn.provenance.hide_news(len(turn.draft)):
            turn.phase, turn.calls.retry_at = Phase.RETRYING, now
            self._events.tell(f"{turn.agent.name}: {reason}; going on without the news", "warning")
            return Ending.RETRY
        turn.fail(reason)
        return Ending.FAILED

    def _broken(self, turn: AgentTurn, reason: str) -> Ending:
        if not turn.calls.mended:
            turn.calls.mended = True
            self._events.tell(
                f"{turn.agent.name}: {reason}; going on from what is whole of its text", "warning"
            )
            return Ending.BROKEN
        if turn.attention.last:
            return self._unread(turn, reason)
        turn.fail(reason)
        return Ending.FAILED

    def _unread(self, turn: AgentTurn, reason: str) -> Ending:
        """End a turn whose text had ended, and who could not be asked what changes in it."""
        turn.unread = reason
        return Ending.ENDED

    def _may_still_load(self, turn: AgentTurn, now: float) -> bool:
        """Whether a server that is loading its model is still waited for: as long as for the first word of one that
        was slow to load it."""
        if turn.calls.loading_since is None:
            turn.calls.loading_since = now
            self._events.tell(f"{turn.agent.name} waits: {turn.model.provider} is loading {turn.model.name}")
        return now - turn.calls.loading_since < turn.model.timeouts.first_content

    def _wrong_key(self, turn: AgentTurn, error: Trouble) -> Ending:
        """Ask a provider nothing more that does not take its key."""
        provider, endpoint = turn.model.provider, turn.model.endpoint
        if provider not in self._refused:
            key = f"the key in {endpoint.key_from}" if endpoint.key_from else "a request without a key"
            check = f"check {endpoint.key_from}" if endpoint.key_from else "set its key"
            reason = f"{provider} refuses {key} ({error.message}); {check}, or run `facilitair doctor`"
            self._refused[provider] = reason
            self._events.tell(reason, "error")
        if turn.attention.last:
            return self._unread(turn, self._refused[provider])
        if not self.serve(turn):
            return Ending.FAILED
        turn.phase, turn.calls.retry_at = Phase.RETRYING, self._clock.now()
        self._events.tell(f"{turn.agent.name} goes on with {turn.model.id}", "warning")
        return Ending.RETRY

    def _pause(self, turn: AgentTurn, error: Trouble) -> float:
        if error.retry_after_s is not None:
            return error.retry_after_s
        if self._jitter is None:
            from random import Random  # only where something failed

            self._jitter = Random(self._plan.nonce)  # noqa: S311 - spreads retries, guards nothing
        return float(_FIRST_PAUSE_S * 2**turn.calls.tries) * self._jitter.uniform(0.8, 1.2)
