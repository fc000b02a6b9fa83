"""`table.toml` against what others publish: the names of the models exist, and each has a price."""

from __future__ import annotations

import pytest

from facilitair.config import BUILTIN_PRESETS, as_models, check_base_url
from facilitair.pricing import published_price
from facilitair.providers.catalog import SIMULATOR, family_of, table
from facilitair.roles import built_in_roles

PROVIDERS = table().providers
WITH_PRESETS = [name for name, spec in PROVIDERS.items() if spec.presets]


@pytest.mark.parametrize("name", WITH_PRESETS)
def test_every_model_of_a_preset_has_a_price(name: str) -> None:
    spec = PROVIDERS[name]
    models = {
        model for preset in spec.presets.values() for choice in preset.values() for model in as_models(choice)
    }
    unpriced = {m for m in models if m not in spec.prices and published_price(spec.base_url, m) is None}

    assert unpriced == set()


@pytest.mark.parametrize("name", WITH_PRESETS)
def test_every_preset_has_a_default_with_a_fallback_and_known_roles(name: str) -> None:
    presets = PROVIDERS[name].presets

    assert sorted(presets) == sorted(BUILTIN_PRESETS)
    for preset in presets.values():
        assert preset.keys() <= {"default", *built_in_roles()}
        for choice in preset.values():
            models = as_models(choice)
            assert len(models) == len(set(models)) >= 2


def test_where_a_provider_has_several_families_the_reviewer_is_of_another_one_than_the_coder() -> None:
    for name in ("openrouter", "groq", "ark", "together"):
        for preset in ("balanced", "quality"):
            models = PROVIDERS[name].presets[preset]
            coder, reviewer = (
                as_models(models.get(role, models["default"]))[0] for role in ("coder", "reviewer")
            )
            assert family_of(coder) != family_of(reviewer), (name, preset)


@pytest.mark.parametrize(("name", "spec"), PROVIDERS.items())
def test_every_address_is_one_that_a_user_could_configure(name: str, spec: object) -> None:
    allow_http = name == SIMULATOR  # its address is never used

    assert check_base_url(PROVIDERS[name].base_url, allow_http=allow_http) == PROVIDERS[name].base_url


def test_a_provider_in_the_cloud_has_a_key_and_an_address_variable() -> None:
    for spec in PROVIDERS.values():
        if not spec.local:
            assert spec.key_env
            assert spec.base_url_env


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-6.1-terra", "gpt"),
        ("openai/gpt-oss-120b", "gpt"),
        ("o3-mini", "gpt"),
        ("anthropic/claude-opus-5.5", "claude"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama"),
        ("llama3.2:latest", "llama"),
        ("qwen/qwen3.8-27b", "qwen"),
        ("qwq:32b", "qwen"),
        ("deepseek-r1-distill-llama-70b", "deepseek"),
        ("google/gemini-3.8-flash", "gemini"),
        ("gemma4:27b", "gemini"),
        ("codestral-2508", "mistral"),
        ("dola-seed-2-1-turbo-260628", "seed"),
        ("hf.co/unsloth/Big-Qwen3-GGUF", "qwen"),
        ("smollm2:1.7b", "smollm"),
        ("42", "42"),
    ],
)
def test_families(model: str, family: str) -> None:
    assert family_of(model) == family
