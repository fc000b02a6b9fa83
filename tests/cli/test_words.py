"""Figures as they are said."""

from __future__ import annotations

import pytest

from facilitair.cli.render import words
from facilitair.events import Usage


@pytest.mark.parametrize(
    ("ts", "text"),
    [
        (0, "[00:00.00]"),
        (1.2, "[00:01.20]"),
        (59.999, "[01:00.00]"),
        (4500, "[75:00.00]"),
        (-1, "[00:00.00]"),
    ],
)
def test_stamp(ts: float, text: str) -> None:
    assert words.stamp(ts) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, "price unknown"),
        (0.0, "$0"),
        (0.00001, "less than $0.0001"),
        (0.00123, "$0.0012"),
        (0.0234, "$0.02"),
        (12.5, "$12.50"),
    ],
)
def test_money(usd: float | None, text: str) -> None:
    assert words.money(usd) == text


@pytest.mark.parametrize(
    ("duration", "text"), [(0.0123, "12 ms"), (3.21, "3.2 s"), (45.4, "45 s"), (150, "2 min 30 s")]
)
def test_seconds(duration: float, text: str) -> None:
    assert words.seconds(duration) == text


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        (None, "tokens unknown"),
        (Usage(), "tokens unknown"),
        (Usage(output_tokens=0), "0 out tokens"),
        (Usage(input_tokens=1200, output_tokens=3, estimated=True), "about 1,200 in, 3 out tokens"),
        (
            Usage(input_tokens=9, cached_input_tokens=4, output_tokens=3, reasoning_tokens=2),
            "9 in, 4 of them cached, 3 out, 2 of them reasoning tokens",
        ),
    ],
)
def test_tokens_that_nobody_reported_are_not_zero(usage: Usage | None, text: str) -> None:
    assert words.tokens(usage) == text
