"""Money and tokens of a run: reserved before a stream opens, counted while it runs, settled when it ends.

What a provider reports wins over what we count; figures counted by us are marked estimated. A price nobody knows
makes the cost of the run unknown (`None`), never zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from facilitair_rust import Usage as ReportedUsage

from .. import events as ev
from ..pricing import CHARACTERS_PER_TOKEN

if TYPE_CHECKING:
    from ..providers.model import Model

LEAST_OUTPUT_TOKENS = 64  # a stream that may not even write this much is not opened
EXPECTED_OUTPUT_TOKENS = 800  # what is reserved for an answer whose length nobody knows


def tokens_in(characters: int) -> int:
    """Return an estimate of the tokens in a text of that many characters."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def add_usage(a: ev.Usage, b: ev.Usage) -> ev.Usage:
    """Return the sum; a figure that one side never reported is what the other says."""

    def plus(x: int | None, y: int | None) -> int | None:
        return y if x is None else x if y is None else x + y

    return ev.Usage(
        input_tokens=plus(a.input_tokens, b.input_tokens),
        output_tokens=plus(a.output_tokens, b.output_tokens),
        cached_input_tokens=plus(a.cached_input_tokens, b.cached_input_tokens),
        reasoning_tokens=plus(a.reasoning_tokens, b.reasoning_tokens),
        estimated=a.estimated or b.estimated,
    )


class _Open(msgspec.Struct):
    model: Model
    input_tokens: int
    output_chars: int = 0

    def estimate(self) -> ev.Usage:
        return ev.Usage(
            input_tokens=self.input_tokens, output_tokens=tokens_in(self.output_chars), estimated=True
        )


class Settled(msgspec.Struct, frozen=True):
    """What one stream used and cost; `cost_usd` is `None` when the price is unknown."""

    usage: ev.Usage
    cost_usd: float | None


class Spending(msgspec.Struct):
    """What the ended streams of one turn used and cost: `None` is no usage yet, or an unknown price."""

    usage: ev.Usage | None = None
    cost_usd: float | None = 0.0

    def add(self, settled: Settled) -> None:
        """Add what one more stream used and cost."""
        self.usage = settled.usage if self.usage is None else add_usage(self.usage, settled.usage)
        known = self.cost_usd is not None and settled.cost_usd is not None
        self.cost_usd = (self.cost_usd or 0.0) + (settled.cost_usd or 0.0) if known else None


class Budget:
    """Keeps the accounts of one run against its limits (US dollars, tokens; `None` is no limit)."""

    def __init__(self, max_cost: float | None, max_tokens: int | None) -> None:
        self._max_cost = max_cost
        self._max_tokens = max_tokens
        self._open: dict[int, _Open] = {}
        self._settled = ev.Usage(input_tokens=0, output_tokens=0)
        self._cost: float | None = 0.0

    def refusal(self, model: Model, input_characters: int) -> str | None:
        """Return why a stream with that prompt cannot be paid for, or `None` when it can."""
        need = ev.Usage(input_tokens=tokens_in(input_characters), output_tokens=EXPECTED_OUTPUT_TOKENS)
        cost, spent = model.cost(need), self.cost_usd
        if self._max_cost is not None and cost is not None and spent is not None:
            reserved = sum(self._reserve(o) for o in self._open.values())
            if spent + reserved + cost > self._max_cost:
                return (
                    f"the next turn may cost ${cost:.4f}, ${spent + reserved:.4f} of ${self._max_cost:.4f} "
                    "is spent or reserved"
                )
        tokens = tokens_in(input_characters) + LEAST_OUTPUT_TOKENS
        if self._max_tokens is not None and self._tokens() + tokens > self._max_tokens:
            return f"the next turn needs {tokens} tokens, {self._tokens()} of {self._max_tokens} are used"
        return None

    def affordable(self, model: Model, input_characters: int) -> int | None:
        """Return how many tokens a stream may write before a limit is reached, thoughts included; `None` is no
        limit. Other open streams write too, so this bounds one stream, and `exceeded` the run."""
        bounds: list[float] = []
        tokens = tokens_in(input_characters)
        if self._max_tokens is not None:
            bounds.append(self._max_tokens - self._tokens() - tokens)
        spent = self.cost_usd
        price = model.cost(ev.Usage(input_tokens=0, output_tokens=1_000_000))
        if self._max_cost is not None and spent is not None and price:
            prompt = model.cost(ev.Usage(input_tokens=tokens, output_tokens=0)) or 0.0
            bounds.append((self._max_cost - spent - prompt) / price * 1_000_000)
        return max(LEAST_OUTPUT_TOKENS, int(min(bounds))) if bounds else None

    def open(self, stream: int, model: Model, input_characters: int) -> None:
        """Reserve for a stream that starts now."""
        self._open[stream] = _Open(model, tokens_in(input_characters))

    def received(self, stream: int, characters: int) -> None:
        """Count text of a stream, if it is open."""
        if account := self._open.get(stream):
            account.output_chars += characters

    def settle(self, stream: int, reported: ReportedUsage | None) -> Settled:
        """Close the account of a stream and return what it used."""
        account = self._open.pop(stream)
        usage = _merged(account.estimate(), reported)
        cost = account.model.cost(usage, None if reported is None else reported.cost_usd)
        self._settled = add_usage(self._settled, usage)
        self._cost = None if cost is None or self._cost is None else self._cost + cost
        return Settled(usage, cost)

    def refund(self, stream: int) -> None:
        """Forget a stream that the provider refused to serve."""
        self._open.pop(stream)

    def exceeded(self) -> str | None:
        """Return which limit has been reached, or `None`."""
        if self._max_cost is None and self._max_tokens is None:
            return None
        cost = self.cost_usd
        if self._max_cost is not None and cost is not None and cost >= self._max_cost:
            return f"${cost:.4f} of ${self._max_cost:.4f} is spent"
        if self._max_tokens is not None and self._tokens() >= self._max_tokens:
            return f"{self._tokens()} of {self._max_tokens} tokens are used"
        return None

    @property
    def cost_usd(self) -> float | None:
        """What the run has cost until now, open streams included."""
        costs = [self._cost, *(o.model.cost(o.estimate()) for o in self._open.values())]
        known = [c for c in costs if c is not None]
        return sum(known) if len(known) == len(costs) else None

    @property
    def usage(self) -> ev.Usage:
        """What the run has used until now, open streams included."""
        usage = self._settled
        for account in self._open.values():
            usage = add_usage(usage, account.estimate())
        return usage

    def _reserve(self, account: _Open) -> float:
        left = max(0, EXPECTED_OUTPUT_TOKENS - tokens_in(account.output_chars))
        return account.model.cost(ev.Usage(input_tokens=0, output_tokens=left)) or 0.0

    def _tokens(self) -> int:
        usage = self.usage
        return (usage.input_tokens or 0) + (usage.output_tokens or 0)


def _merged(counted: ev.Usage, reported: ReportedUsage | None) -> ev.Usage:
    if reported is None:
        return counted
    # No prompt has no tokens, and text has some: a zero there was said by somebody who did not count.
    prompt = reported.input_tokens or None
    written = reported.output_tokens if reported.output_tokens or not counted.output_tokens else None
    if prompt is None and written is None:
        return counted
    return ev.Usage(
        input_tokens=counted.input_tokens if prompt is None else prompt,
        output_tokens=counted.output_tokens if written is None else written,
        cached_input_tokens=reported.cached_input_tokens,
        reasoning_tokens=reported.reasoning_tokens,
        estimated=prompt is None or written is None,
    )
