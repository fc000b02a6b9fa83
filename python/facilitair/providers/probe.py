"""What a model really does: how soon it begins, and whether it goes on in place from text it is given as its own.

One tiny request tells. The text ends inside a word, so that whoever continues it has to finish that word, and whoever
begins anew cannot be mistaken for one that goes on. Servers that take no such text refuse the request; then a second
one, without it, measures the time and shows that it was this that was refused.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Literal

import msgspec

from facilitair_rust import Closed, Content, Failed, Finished, Reasoning, StreamError

from ..errors import ConfigError
from ..events import Usage
from ..roles import built_in_roles
from ..transport import Transport
from .catalog import Catalog
from .model import Message, Model

QUESTION: Final = (Message("user", "What is the capital of France? Answer with one sentence."),)
BEGUN: Final = "The capital of France is Par"

_REFUSALS: Final = (400, 422)
_INPUT_TOKENS: Final = 100  # of both requests
_OUTPUT_TOKENS: Final = 8
_OUTPUT_TOKENS_REASONING: Final = 200  # so that something is left for a visible word
_LONGEST_S: Final = 60.0

Habit = Literal["continues", "restarts", "refuses", "silent"]


class Probed(msgspec.Struct, frozen=True):
    """What was found: seconds to the first token, what became of the begun text, or why neither is known."""

    seconds: float | None = None
    habit: Habit = "silent"
    error: StreamError | None = None
    late: bool = False


def used_models(catalog: Catalog) -> list[Model]:
    """Return the models that runs of this configuration ask, fallbacks included, without simulated ones and without
    those that cannot be used."""
    names: dict[str, None] = {}
    for role in (*built_in_roles(), *catalog.config.roles):
        with suppress(ConfigError):
            names |= dict.fromkeys(model.id for model in catalog.for_role(role))
    for graph in catalog.config.strategy.values():
        names |= dict.fromkeys(agent.model for agent in graph.agents if agent.model)
    models: list[Model] = []
    for name in names:
        with suppress(ConfigError):
            models.append(catalog.resolve(name, brief=True))
    return [model for model in models if not model.simulated]


def announcement(models: Iterable[Model]) -> str:
    """Return what the probe will do, and what it may cost at most."""
    models = list(models)
    costs = {model.id: model.cost(_most(model)) for model in models}
    known = sum(cost for cost in costs.values() if cost is not None)
    unknown = [name for name, cost in costs.items() if cost is None]
    several = "1 model" if len(models) == 1 else f"{len(models)} models"
    text = f"asking {several} for a few tokens each"
    if len(unknown) == len(models):
        return f"{text}; the price of {', '.join(unknown)} is unknown"
    text += f": at most about ${known:.4f}"
    return f"{text}, without {', '.join(unknown)}, whose price is unknown" if unknown else text


async def probe(model: Model, transport: Transport) -> Probed:
    """Ask `model`, and again where it refuses the begun text."""
    try:
        async with asyncio.timeout(_LONGEST_S):
            begun = await _ask(_as_prefilled(model), BEGUN, transport)
            if begun.error is None or begun.error.status not in _REFUSALS:
                return begun
            plain = await _ask(model, None, transport)
    except TimeoutError:
        return Probed(late=True)
    return plain if plain.error else msgspec.structs.replace(plain, habit="refuses")


def _as_prefilled(model: Model) -> Model:
    dialect = model.endpoint.dialect or "trailing"
    endpoint = msgspec.structs.replace(model.endpoint, dialect=dialect)
    return msgspec.structs.replace(model, tier="prefill", endpoint=endpoint)


def _most(model: Model) -> Usage:
    return Usage(input_tokens=_INPUT_TOKENS, output_tokens=_output_tokens(model))


def _output_tokens(model: Model) -> int:
    return _OUTPUT_TOKENS_REASONING if model.reasoning else _OUTPUT_TOKENS


async def _ask(model: Model, prefill: str | None, transport: Transport) -> Probed:
    channel = transport.channel()
    started, seconds, text = transport.clock.now(), None, ""
    try:
        channel.open(model.request(QUESTION, max_tokens=_output_tokens(model), prefill=prefill))
        while True:
            for delta in await channel.recv(None):
                if seconds is None and isinstance(delta, Content | Reasoning | Finished):
                    seconds = transport.clock.now() - started
                match delta:
                    case Content(text=piece):
                        text += piece
                    case Failed(error=error):
                        return Probed(seconds, error=error)
                    case Finished() | Closed():
                        return Probed(seconds, _habit(text))
    finally:
        await channel.aclose()


def _habit(text: str) -> Habit:
    if not text.strip():
        return "silent"
    # As the word goes on in English or in another language (Par|ís, Par|igi), and no new beginning.
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "continues" if plain[:1].islower() and not plain.lower().startswith("the ") else "restarts"
