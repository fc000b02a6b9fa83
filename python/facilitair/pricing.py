"""What tokens cost: the provider's own figure first, then the user's table, then genai-prices, else unknown.

Unknown is `None` and stays `None`; only what runs on the user's own machine costs 0. Prices are flat rates: the
surcharge that some providers take on prompts of more than 200,000 tokens is not counted.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from .events import Usage

if TYPE_CHECKING:
    from genai_prices.types import TieredPrices

CHARACTERS_PER_TOKEN: Final = 4  # of Latin script
# Chinese, Japanese, Korean: a token each; Greek to Georgian, with Cyrillic, Arabic, Hindi, Thai: two to a token.
_DENSE: Final = re.compile(
    r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
_HALF: Final = re.compile(r"[\u0370-\u10ff]")
_MILLION: Final = 1_000_000


def weight(text: str) -> int:
    """Return the length of `text` in characters of which four are a token, whatever its script."""
    if text.isascii():
        return len(text)
    dense, half = sum(1 for _ in _DENSE.finditer(text)), sum(1 for _ in _HALF.finditer(text))
    return len(text) + (CHARACTERS_PER_TOKEN - 1) * dense + half


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars for a million tokens, and who says so."""

    input_per_mtok: float
    output_per_mtok: float
    cached_input_per_mtok: float | None = None
    source: Literal["configured", "built in", "genai-prices", "free"]

    def __str__(self) -> str:
        if self.source == "free":
            return "free"
        return f"${self.input_per_mtok:g} in, ${self.output_per_mtok:g} out per million tokens"


FREE: Final = Price(input_per_mtok=0.0, output_per_mtok=0.0, source="free")


@lru_cache(maxsize=1024)
def published_price(base_url: str, model: str) -> Price | None:
    """Return what genai-prices knows about a model at an address, from the data that came with the package.

    The first call imports that package, about 0.3 s of CPU; call `load` in a thread where that would be felt.
    """
    from genai_prices.data_snapshot import (
        get_snapshot,
    )  # pulls in pydantic, so only once a price is asked for

    snapshot = get_snapshot()
    try:
        _, info = snapshot.find_provider_model(model, None, None, base_url)
    except LookupError:
        return None
    rates = info.get_prices(datetime.now(UTC))
    if rates.input_mtok is None or rates.output_mtok is None:
        return None
    return Price(
        input_per_mtok=_flat(rates.input_mtok),
        output_per_mtok=_flat(rates.output_mtok),
        cached_input_per_mtok=None if rates.cache_read_mtok is None else _flat(rates.cache_read_mtok),
        source="genai-prices",
    )


def load() -> None:
    """Import the price data, so that a later `published_price` answers at once."""
    published_price("https://api.openai.com/v1", "gpt-4o")


def cost(price: Price | None, usage: Usage, reported_usd: float | None = None) -> float | None:
    """Return the US dollars for a usage, or `None` when the price or the tokens are unknown.

    `reported_usd` is what the provider itself said, and beats every table. Cached input tokens are part of the input
    tokens, reasoning tokens part of the output tokens, as the chat protocol counts them.
    """
    if reported_usd is not None:
        return reported_usd
    if price is None:
        return None
    if price.source == "free":
        return 0.0
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached = min(usage.cached_input_tokens or 0, usage.input_tokens)
    cached_rate = price.input_per_mtok if price.cached_input_per_mtok is None else price.cached_input_per_mtok
    return (
        (usage.input_tokens - cached) * price.input_per_mtok
        + cached * cached_rate
        + usage.output_tokens * price.output_per_mtok
    ) / _MILLION


def _flat(rate: Decimal | TieredPrices) -> float:
    return float(rate if isinstance(rate, Decimal) else rate.base)
