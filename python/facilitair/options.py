"""The options of a run: what a call decides beside its task and its context.

One type for the library, the configuration, the command line, HTTP and `/v1`. What is left out, or `None`, stays as
configured. The limits written here hold wherever a value comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypedDict, get_type_hints

import msgspec
from msgspec import Meta

from .errors import UsageError

if TYPE_CHECKING:
    from .engine.graph import Strategy

Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=86_400)]
Dollars: TypeAlias = Annotated[float, Meta(gt=0, le=1_000_000)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000_000)]
# One model "provider/name" for all roles, or by role ("*" is all roles) one or several: first choice, then fallbacks.
Models: TypeAlias = str | Mapping[str, str | Sequence[str]]


class RunOptions(TypedDict, total=False):
    """What a call decides; see the module. Only the library can give a graph itself as `strategy`."""

    strategy: Annotated[str | Strategy | None, Meta(description="The graph of agents: its name.")]
    preset: Annotated[
        str | None,
        Meta(description="Which models the roles get: fast, balanced, quality, budget, or a configured one."),
    ]
    models: Annotated[
        Models | None,
        Meta(
            description='"provider/model" for all agents, or a mapping from role to model ("*" is all roles).'
        ),
    ]
    sections: Annotated[
        Sequence[str] | None,
        Meta(description="The parts of the answer; without them the architect's outline decides."),
    ]
    max_cost: Annotated[Dollars | None, Meta(description="US dollars that the run may cost.")]
    max_tokens: Annotated[Count | None, Meta(description="Tokens, in and out, that the run may use.")]
    timeout: Annotated[Seconds | None, Meta(description="Seconds that the run may take.")]
    cache: Annotated[bool | None, Meta(description="Whether the cache may answer and store.")]
    simulate: Annotated[
        bool | None,
        Meta(
            description="Let the scripts of the built-in simulator stand in for all models; false: never, not even "
            "where no model is found."
        ),
    ]


NAMES: Final = tuple(RunOptions.__annotations__)


def check_names(options: Mapping[str, object]) -> None:
    """Raise `UsageError` for an option that does not exist."""
    unknown = sorted(set(options) - set(NAMES))
    if unknown:
        raise UsageError(f"unknown option {unknown[0]!r}; known: {', '.join(NAMES)}.")


def check_values(options: Mapping[str, object]) -> None:
    """Raise `UsageError` for a value that cannot be sent: of another type, or beyond its limits."""
    for name, value in options.items():
        try:
            msgspec.convert(value, wire_types()[name])
        except msgspec.ValidationError as error:
            raise UsageError(f"{name}: {error}") from None


def wire_types() -> dict[str, Any]:
    """Return the types that the options have where they come as JSON: there a strategy is a name."""
    return get_type_hints(RunOptions, localns={"Strategy": str}, include_extras=True)
