"""The request as the Messages API of Anthropic takes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.config import Config, ProviderConfig
from facilitair.providers.catalog import Catalog
from facilitair.providers.messages import prompt
from facilitair.providers.model import Message, Model

KEY = "sk-ant-of-the-test-0123"
CHAT = [Message("system", "Be brief."), Message("user", "Hello")]


def model(name: str, *, provider: str = "anthropic", brief: bool = False, **own: Any) -> Model:
    config = Config(providers={provider: ProviderConfig(**own)} if own else {})
    env = {"ANTHROPIC_API_KEY": KEY, "ACME_API_KEY": KEY}
    return Catalog(config=config, env=env).resolve(f"{provider}/{name}", brief=brief)


def body(asked: Model, chat: list[Message] | None = None, **arguments: Any) -> Any:
    return json.loads(asked.request(CHAT if chat is None else chat, **arguments).body)


def test_the_system_prompt_stands_beside_the_messages() -> None:
    assert body(model("claude-sonnet-5-5"), max_tokens=9) == {
        "model": "claude-sonnet-5-5",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 9,
        "stream": True,
    }


def test_the_key_has_a_header_of_its_own() -> None:
    request = model("claude-sonnet-5-5").request(CHAT)

    assert request.url == "https://api.anthropic.com/v1/messages"
    assert request.wire == "anthropic"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers
    assert KEY not in repr(request)


@pytest.mark.parametrize("base_url", ["https://gate.example", "https://gate.example/v1"])
def test_an_address_may_end_in_v1(base_url: str) -> None:
    asked = model("m", provider="acme", base_url=base_url, api_key_env="ACME_API_KEY", wire="anthropic")

    assert asked.request(CHAT).url == "https://gate.example/v1/messages"


def test_a_version_of_the_users_own_comes_first() -> None:
    asked = model("claude-sonnet-5-5", headers={"Anthropic-Version": "2026-10-21"})

    assert asked.request(CHAT).headers["anthropic-version"] == "2026-10-21"


@pytest.mark.parametrize(
    ("name", "asked", "sent"),
    [
        ("claude-sonnet-5-5", None, 32_000),
        ("claude-sonnet-5-5", 100_000, 32_000),
        ("claude-sonnet-5-5", 16, 16),
        ("claude-3-haiku-20240307", None, 4096),
        ("claude-3-5-haiku-latest", 9000, 8192),
        ("claude-3-7-sonnet-latest", None, 32_000),
    ],
)
def test_it_always_says_how_much_may_be_written(name: str, asked: int | None, sent: int) -> None:
    assert body(model(name), max_tokens=asked)["max_tokens"] == sent


@pytest.mark.parametrize(
    "name",
    [
        "claude-3-haiku-20240307",
        "claude-3-7-sonnet-latest",
        "claude-opus-4-20250514",
        "claude-opus-4-1",
        "claude-opus-4-5-20251101",
        "claude-sonnet-4-0",
        "claude-sonnet-4-5",
        "claude-haiku-4-5-20251001",
    ],
)
def test_models_up_to_4_5_go_on_from_a_prefill(name: str) -> None:
    asked = model(name)

    assert (asked.tier, asked.reasoning, asked.family) == ("prefill", False, "claude")
    assert body(asked, prefill="So far")["messages"] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "So far"},
    ]


@pytest.mark.parametrize(
    ("name", "reasoning"),
    [
        ("claude-opus-4-6", False),
        ("claude-sonnet-4-6", False),
        ("claude-opus-4-8", False),
        ("claude-sonnet-5", True),
        ("claude-haiku-5-5", True),
        ("claude-opus-5-5-20260922", True),
        ("claude-fable-5-2", True),
    ],
)
def test_later_models_resume(name: str, reasoning: bool) -> None:
    asked = model(name)

    assert (asked.tier, asked.reasoning) == ("resume", reasoning)
    with pytest.raises(ValueError, match="its tier is 'resume'"):
        asked.request(CHAT, prefill="So far")


def test_in_a_hurry_a_reasoning_model_thinks_little() -> None:
    assert body(model("claude-haiku-5-5", brief=True))["output_config"] == {"effort": "low"}
    assert "output_config" not in body(model("claude-haiku-5-5"))
    assert "output_config" not in body(model("claude-haiku-4-5", brief=True))


def test_further_fields_are_sent_as_they_are() -> None:
    assert body(model("claude-haiku-4-5", body={"temperature": 0.2}))["temperature"] == 0.2


def test_neighbours_of_one_role_become_one_message() -> None:
    said = [
        Message("system", "A"),
        Message("user", "1"),
        Message("system", "B"),
        Message("user", "2"),
        Message("assistant", "3"),
        Message("user", "4"),
    ]
    sent = body(model("claude-sonnet-5-5"), said)

    assert sent["system"] == "A\n\nB"
    assert sent["messages"] == [
        {"role": "user", "content": "1\n\n2"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "4"},
    ]


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text("a \n", max_size=4))))
def test_whatever_was_said_the_messages_can_be_sent(said: list[tuple[str, str]]) -> None:
    made = prompt(said)
    roles = [turn["role"] for turn in made["messages"]]
    texts = [turn["content"] for turn in made["messages"]]

    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
    assert roles
    assert all(text.strip() for text in texts)
    assert roles[-1] == "user" or texts[-1] == texts[-1].rstrip()
    assert made.get("system", "x").strip()


def test_prices_are_known() -> None:
    price = model("claude-haiku-4-5").price

    assert price is not None
    assert (price.input_per_mtok, price.output_per_mtok, price.source) == (1.0, 5.0, "genai-prices")
