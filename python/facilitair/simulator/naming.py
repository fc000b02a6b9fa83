"""What the simulator's models are called: `<script>`, then faults and manners, then `+resume` for one that takes no
prefill.

`coder+stall+resume` stalls, and says that it cannot go on from a text of its own. The last part is for whoever asks:
the simulator itself answers as if it were not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..events import ModelTier
from .faults import parse_faults
from .manners import is_manner, parse_manners
from .personas import personas

_PREFIX: Final = "simulator/"
_RESUME: Final = "+resume"
_ANY_ROLE: Final = "generic"


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name in its parts. `played` is the whole of it without `+resume`."""

    played: str
    script: str
    faults: tuple[str, ...]
    manners: tuple[str, ...]
    tier: ModelTier


def read_name(model: str) -> ModelName:
    """Return the parts of a model's name. Neither its script nor its faults need exist."""
    played = model.removesuffix(_RESUME)
    script, *traits = played.removeprefix(_PREFIX).split("+")
    return ModelName(
        played=played,
        script=script,
        faults=tuple(trait for trait in traits if not is_manner(trait)),
        manners=tuple(trait for trait in traits if is_manner(trait)),
        tier="prefill" if played == model else "resume",
    )


def tier_of(model: str) -> ModelTier:
    """Return how a model takes news. Raises `FaultError` for a fault or a manner that does not exist."""
    name = read_name(model)
    parse_faults(name.faults)
    parse_manners(name.manners)
    return name.tier


def script_for(role: str) -> str:
    """Return the built-in script that plays a role."""
    return role if role in personas() else _ANY_ROLE
