from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.events import Usage
from facilitair.pricing import CHARACTERS_PER_TOKEN, FREE, Price, cost, published_price, weight

PRICE = Price(input_per_mtok=2.0, output_per_mtok=10.0, cached_input_per_mtok=0.5, source="configured")
counts = st.integers(0, 10_000_000)


def test_input_and_output_have_their_own_rates() -> None:
    assert cost(PRICE, Usage(input_tokens=1_000_000, output_tokens=100_000)) == pytest.approx(3.0)


def test_cached_input_has_its_own_rate() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=0, cached_input_tokens=600_000)

    assert cost(PRICE, usage) == pytest.approx(0.4 * 2.0 + 0.6 * 0.5)


def test_without_a_cached_rate_cached_input_costs_as_input() -> None:
    price = Price(input_per_mtok=2.0, output_per_mtok=0.0, source="configured")

    assert cost(
        price, Usage(input_tokens=1_000_000, output_tokens=0, cached_input_tokens=600_000)
    ) == pytest.approx(2.0)


@given(counts, counts, counts)
def test_a_cost_is_never_negative(inputs: int, outputs: int, cached: int) -> None:
    usage = Usage(input_tokens=inputs, output_tokens=outputs, cached_input_tokens=cached)

    assert (cost(PRICE, usage) or 0.0) >= 0.0


def test_what_the_provider_reported_comes_first() -> None:
    assert cost(PRICE, Usage(input_tokens=1_000_000, output_tokens=0), reported_usd=0.25) == 0.25
    assert cost(None, Usage(), reported_usd=0.0) == 0.0


@pytest.mark.parametrize(
    ("price", "usage"),
    [
        (None, Usage(input_tokens=1, output_tokens=1)),
        (PRICE, Usage()),
        (PRICE, Usage(input_tokens=1)),
        (PRICE, Usage(output_tokens=1)),
    ],
)
def test_the_unknown_stays_unknown(price: Price | None, usage: Usage) -> None:
    assert cost(price, usage) is None


def test_free_is_free_even_where_nobody_counted() -> None:
    assert cost(FREE, Usage()) == 0.0


def test_published_prices_are_found_by_address_and_model() -> None:
    price = published_price("https://api.openai.com/v1", "gpt-4o")

    assert price == Price(
        input_per_mtok=2.5, output_per_mtok=10.0, cached_input_per_mtok=1.25, source="genai-prices"
    )


@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        ("https://api.openai.com/v1", "no-such-model"),
        ("https://gateway.example/v1", "gpt-4o"),
        ("http://127.0.0.1:4000/v1", "gpt-4o"),
    ],
)
def test_what_nobody_published_is_unknown(base_url: str, model: str) -> None:
    assert published_price(base_url, model) is None


def test_a_price_can_be_read() -> None:
    assert str(PRICE) == "$2 in, $10 out per million tokens"
    assert str(FREE) == "free"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("word", 1),
        ("aé, ö!", 1),
        ("速率限制器", 5),
        ("레이트 리밋", 5),
        ("レート制限", 5),
        ("привет", 3),
        ("a速b率", 2),
    ],
)
def test_characters_are_counted_by_script(text: str, tokens: int) -> None:
    assert weight(text) // CHARACTERS_PER_TOKEN == tokens
