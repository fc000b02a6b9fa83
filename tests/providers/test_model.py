"""The request as each provider gets it, and that no key is ever shown on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.config import Config, ProviderConfig, TimeoutsConfig, load_config
from facilitair.errors import ConfigError
from facilitair.providers.catalog import Catalog, table
from facilitair.providers.model import Message, Model

MESSAGES = [Message("system", "Be brief."), Message("user", "Hello\u2028there")]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello\u2028there"}]
OWN = {"role": "assistant", "content": "So far"}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
KEYS = {variable: "value-of-the-key" for spec in table().providers.values() for variable in spec.key_env}


def model(name: str, *, brief: bool = False, **own: Any) -> Model:
    provider = name.partition("/")[0]
    config = Config(providers={provider: ProviderConfig(**own)} if own else {})
    return Catalog(config=config, env=KEYS).resolve(name, brief=brief)


def body(asked: Model, **arguments: Any) -> Any:
    return json.loads(asked.request(MESSAGES, **arguments).body)


PLAIN = {
    "openai/gpt-4o": {"model": "gpt-4o", **USAGE, "max_tokens": 9},
    "openai/gpt-6.1-terra": {"model": "gpt-6.1-terra", **USAGE, "max_completion_tokens": 9},
    "openrouter/openai/gpt-6.1-sol": {"model": "openai/gpt-6.1-sol", **USAGE, "max_tokens": 9},
    "groq/openai/gpt-oss-20b": {"model": "openai/gpt-oss-20b", **USAGE, "max_completion_tokens": 9},
    "deepseek/deepseek-flash": {"model": "deepseek-flash", **USAGE, "max_tokens": 9},
    "ark/dola-seed-2-1-turbo-260628": {
        "model": "dola-seed-2-1-turbo-260628",
        **USAGE,
        "max_completion_tokens": 9,
    },
    "mistral/mistral-large-4-0": {"model": "mistral-large-4-0", "stream": True, "max_tokens": 9},
    "together/openai/gpt-oss-120b": {"model": "openai/gpt-oss-120b", **USAGE, "max_tokens": 9},
    "ollama/llama3.2": {"model": "llama3.2", **USAGE, "max_tokens": 9},
    "vllm/Qwen/Qwen3-8B": {"model": "Qwen/Qwen3-8B", **USAGE, "max_tokens": 9},
    "llamacpp/qwen": {"model": "qwen", **USAGE, "max_tokens": 9},
    "simulator/coder": {"model": "coder", **USAGE, "max_tokens": 9},
}


@pytest.mark.parametrize(("name", "expected"), PLAIN.items())
def test_the_request_of_each_provider(name: str, expected: dict[str, Any]) -> None:
    assert body(model(name), max_tokens=9) == {**expected, "messages": CHAT}


CONTINUED: dict[str, tuple[str, dict[str, Any]]] = {
    "deepseek/deepseek-flash": (
        "https://api.deepseek.com/beta/chat/completions",
        {"messages": [*CHAT, {**OWN, "prefix": True}], "thinking": {"type": "disabled"}},
    ),
    "mistral/mistral-large-4-0": (
        "https://api.mistral.ai/v1/chat/completions",
        {"messages": [*CHAT, {**OWN, "prefix": True}]},
    ),
    "vllm/Qwen/Qwen3-8B": (
        "http://127.0.0.1:8000/v1/chat/completions",
        {
            "messages": [*CHAT, OWN],
            "continue_final_message": True,
            "add_generation_prompt": False,
            "chat_template_kwargs": {"enable_thinking": False},
        },
    ),
    "llamacpp/qwen": (
        "http://127.0.0.1:8080/v1/chat/completions",
        {
            "messages": [*CHAT, OWN],
            "chat_template_kwargs": {"enable_thinking": False},
            "continue_final_message": True,
            "add_generation_prompt": False,
        },
    ),
    "openrouter/anthropic/claude-haiku-4.5": (
        "https://openrouter.ai/api/v1/chat/completions",
        {"messages": [*CHAT, OWN]},
    ),
    "simulator/coder": ("http://simulator.invalid/v1/chat/completions", {"messages": [*CHAT, OWN]}),
}


@pytest.mark.parametrize(("name", "expected"), CONTINUED.items())
def test_how_a_model_goes_on_from_its_own_text(name: str, expected: tuple[str, dict[str, Any]]) -> None:
    asked = model(name)
    request = asked.request(MESSAGES, prefill="So far")
    plain = {key: value for key, value in body(asked).items() if key != "messages"}

    assert asked.tier == "prefill"
    assert (request.url, json.loads(request.body)) == (expected[0], {**plain, **expected[1]})


@pytest.mark.parametrize(
    "name",
    [
        "openai/gpt-4o",
        "openrouter/anthropic/claude-opus-4.6",
        "openrouter/anthropic/claude-sonnet-5.5",
        "groq/openai/gpt-oss-20b",
        "ark/seed-2-0-mini-260428",
        "mistral/magistral-medium-latest",
        "together/openai/gpt-oss-120b",
        "ollama/llama3.2",
        "vllm/openai/gpt-oss-120b",
        "llamacpp/gpt-oss-20b",
        "simulator/coder+resume",
    ],
)
def test_the_others_resume_and_refuse_a_prefill(name: str) -> None:
    asked = model(name)

    assert asked.tier == "resume"
    with pytest.raises(ValueError, match="cannot go on from a prefill; its tier is 'resume'"):
        asked.request(MESSAGES, prefill="So far")


BRIEF: dict[str, dict[str, Any]] = {
    "openai/gpt-6-luna": {"reasoning_effort": "low"},
    "openai/gpt-4o": {},
    "openrouter/google/gemini-3.8-flash": {"reasoning": {"effort": "low"}},
    "groq/openai/gpt-oss-20b": {"reasoning_effort": "low"},
    "groq/qwen/qwen3.8-27b": {"reasoning_effort": "none"},
    "deepseek/deepseek-flash": {"thinking": {"type": "disabled"}},
    "ark/seed-2-0-mini-260428": {"thinking": {"type": "disabled"}},
    "vllm/Qwen/Qwen3-8B": {"chat_template_kwargs": {"enable_thinking": False}},
}


@pytest.mark.parametrize(("name", "expected"), BRIEF.items())
def test_a_reasoning_model_can_be_asked_to_answer_soon(name: str, expected: dict[str, Any]) -> None:
    assert body(model(name, brief=True)) == {**body(model(name)), **expected}


def test_the_users_body_wins_over_brevity() -> None:
    asked = model("openai/gpt-6-luna", brief=True, body={"reasoning_effort": "high", "temperature": 1})

    assert body(asked)["reasoning_effort"] == "high"
    assert body(asked)["temperature"] == 1


def test_the_users_template_arguments_survive_a_continuation() -> None:
    asked = model("vllm/m", body={"chat_template_kwargs": {"language": "en"}})

    assert body(asked, prefill="x")["chat_template_kwargs"] == {"language": "en", "enable_thinking": False}
    assert body(asked)["chat_template_kwargs"] == {"language": "en"}


def test_deepseek_has_one_beta_address_whatever_the_base() -> None:
    for base in ("https://api.deepseek.com", "https://api.deepseek.com/v1", "https://api.deepseek.com/beta"):
        asked = model("deepseek/deepseek-flash", base_url=base)
        assert asked.request(MESSAGES, prefill="x").url == "https://api.deepseek.com/beta/chat/completions"


def test_a_provider_of_the_users_own_takes_the_dialect_that_was_named() -> None:
    asked = model("sglang/m", base_url="http://127.0.0.1:30000/v1", tier="prefill", dialect="vllm")

    assert body(asked, prefill="x")["continue_final_message"] is True
    assert body(model("own/m", base_url="http://127.0.0.1:1/v1", tier="prefill"), prefill="x")["messages"][
        -1
    ] == {
        "role": "assistant",
        "content": "x",
    }


def test_headers_are_those_of_the_chat_protocol() -> None:
    headers = (
        model("openrouter/a/b", headers={"HTTP-Referer": "https://me.example"}).request(MESSAGES).headers
    )

    assert headers == {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "authorization": "Bearer value-of-the-key",
        "x-title": "Facilitair",
        "http-referer": "https://me.example",
    }


def test_clocks_come_from_provider_then_configuration_then_defaults() -> None:
    own = ProviderConfig(timeouts=TimeoutsConfig(between_content=7))
    config = Config(providers={"openai": own}, timeouts=TimeoutsConfig(between_content=8, total=90))
    clocks = Catalog(config=config, env=KEYS).resolve("openai/gpt-4o").timeouts

    assert (clocks.connect, clocks.first_content, clocks.between_content, clocks.total) == (5, 60, 7, 90)


# The beginning stands nowhere else, so that a key found in a text is the key.
keys = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=60).map(
    lambda rest: f"Zq9!{rest}"
)


@given(keys, st.sampled_from([name for name, spec in table().providers.items() if spec.key_env]))
def test_no_key_is_shown_by_anything_on_the_way_to_the_request(key: str, provider: str) -> None:
    variable = table().providers[provider].key_env[0]

    request, texts = everything(key, variable, provider)

    assert request == (key if provider == "anthropic" else f"Bearer {key}")
    assert not any(key in text for text in texts)


def everything(key: str, variable: str, provider: str) -> tuple[str, list[str]]:
    """Return the header that holds the key, and everything else that could be shown."""
    catalog = Catalog(config=Config(), env={variable: key})
    asked = catalog.resolve(f"{provider}/some-model")
    request = asked.request(MESSAGES, max_tokens=1)
    texts = [
        str(catalog),
        repr(catalog),
        str(asked),
        repr(asked),
        str(request),
        repr(request),
        repr(asked.endpoint),
    ]
    texts += [request.url, request.body.decode(), repr(catalog.secrets())]
    for name in (f"{provider}x/m", provider, "nowhere/m"):
        with pytest.raises(ConfigError) as caught:
            catalog.resolve(name)
        texts += [str(caught.value), repr(caught.value)]
    return request.headers["x-api-key" if provider == "anthropic" else "authorization"], texts


@given(key=keys)
def test_no_key_of_dotenv_is_shown_by_configuration_or_catalog(
    key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place: Path = tmp_path_factory.mktemp("project")
    (place / ".git").mkdir()
    (place / ".env").write_text(
        "OPENAI_API_KEY='" + key.replace("\\", "\\\\").replace("'", "\\'") + "'\n", "utf-8"
    )
    config = load_config(place, {})
    catalog = Catalog(config=config, env={})
    asked = catalog.resolve("openai/some-model")

    texts = [repr(config), str(config), repr(catalog), repr(asked)]

    assert asked.request(MESSAGES).headers["authorization"] == f"Bearer {key}"
    assert not any(key in text for text in texts)


@pytest.mark.parametrize(
    "key", ["with blank", "tab\there", "naïve-key-value", "line\nbreak", "escape\x1b[31m"]
)
def test_a_key_that_cannot_be_a_header_is_refused_unseen(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Catalog(config=Config(), env={"OPENAI_API_KEY": key}).resolve("openai/x")

    assert key not in str(caught.value)
