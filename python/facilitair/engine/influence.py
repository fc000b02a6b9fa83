"""When a model that is writing is shown its peers' new fragments.

An interruption costs a prefill and a first-token wait, so the policy spends the few it has where they carry most:
the first after a handful of new fragments, the next after twice as many, or as soon as the sources are complete.
What is left is shown once more when the author's own text has ended (the closing update), which is no
interruption.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Attention(msgspec.Struct):
    """How often, and when last, an author's attention was called to its peers' news."""

    interrupts: int = 0
    own_since: int = 0  # own fragments since the last exposure
    closed_out: bool = False  # has had its closing update


class Situation(msgspec.Struct, frozen=True, gc=False):
    """What a policy may look at, at a boundary of the author's text."""

    interrupts: int  # interruptions of this chunk so far
    pending: int  # peers' fragments the author has not been shown
    complete: bool  # whether all sources have finished
    own_since: int  # own fragments since the last exposure


class Policy(Protocol):
    """Decides at a boundary whether to interrupt."""

    def interrupts(self, situation: Situation) -> bool:
        """Return whether to stop the author now and show it what is pending."""
        ...


class SpacedPolicy(msgspec.Struct, frozen=True):
    """At most `max_interrupts`, each after twice as many new fragments as the one before."""

    max_interrupts: int = 2
    first: int = 6
    cooldown: int = 3

    def interrupts(self, situation: Situation) -> bool:
        """Return whether an interruption is left, cooled down, and worth its price."""
        if situation.interrupts >= self.max_interrupts or not situation.pending:
            return False
        if situation.own_since < self.cooldown:
            return False
        return situation.complete or situation.pending >= self.first << situation.interrupts
