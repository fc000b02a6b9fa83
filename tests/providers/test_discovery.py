"""What is found to work with, given files, variables, and servers that really listen."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from facilitair.config import FILE_NAME, load_config
from facilitair.errors import ConfigError
from facilitair.providers.catalog import Catalog
from facilitair.providers.discovery import discover

from .servers import Answer, answering, serving

NOWHERE = {"OLLAMA_HOST": "127.0.0.1:1"}  # nothing listens there; the real port might have a real Ollama
TAGS = json.dumps(
    {
        "models": [
            {"name": "qwen3:8b", "size": 5_000, "details": {"family": "qwen3"}},
            {"name": "nomic-embed-text:latest", "size": 10},
            {"name": "llama3.2:1b", "size": 1_000},
        ]
    }
).encode()


def found(place: Path, env: Mapping[str, str], project: str = "", *, probe_local: bool = True) -> Catalog:
    return asyncio.run(discovered(place, env, project, probe_local=probe_local))


async def discovered(
    place: Path, env: Mapping[str, str], project: str = "", *, probe_local: bool = True
) -> Catalog:
    (place / ".git").mkdir(exist_ok=True)
    (place / FILE_NAME).write_text(project, encoding="utf-8")
    return await discover(load_config(place, env), env, probe_local=probe_local)


def with_server(
    place: Path, answer: Answer, variable: str, path: str = "", **env: str
) -> tuple[Catalog, str, list[str]]:
    """Discover beside a server; return the catalog, the server's address and what it was asked."""

    async def run() -> tuple[Catalog, str, list[str]]:
        async with serving(answer) as server:
            catalog = await discovered(place, {**NOWHERE, variable: server.url + path, **env})
            return catalog, server.url, server.heads

    return asyncio.run(run())


class TestOrder:
    def test_without_anything_it_is_the_simulator_and_says_so(self, tmp_path: Path) -> None:
        catalog = found(tmp_path, {"FACILITAIR_SIMULATE": "1"}, probe_local=False)

        assert catalog.primary == "simulator"
        assert catalog.notices == ()
        assert catalog.needs_simulator
        assert all(model.simulated for model in catalog.for_role("coder"))

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            (("GROQ_API_KEY", "OPENAI_API_KEY"), "openai"),
            (("GROQ_API_KEY", "OPENROUTER_API_KEY"), "openrouter"),
            (("DEEPSEEK_API_KEY", "GROQ_API_KEY", "TOGETHER_API_KEY"), "groq"),
            (("MISTRAL_API_KEY", "DEEPSEEK_API_KEY"), "deepseek"),
            (("MISTRAL_API_KEY", "ARK_API_KEY"), "ark"),
            (("TOGETHER_API_KEY", "MISTRAL_API_KEY"), "mistral"),
            (("TOGETHER_API_KEY",), "together"),
        ],
    )
    def test_keys_are_taken_in_the_documented_order(
        self, tmp_path: Path, keys: tuple[str, ...], expected: str
    ) -> None:
        catalog = found(tmp_path, {**NOWHERE, **dict.fromkeys(keys, "value-of-the-key")})

        assert (catalog.primary, catalog.notices, catalog.needs_simulator) == (expected, (), False)

    def test_a_key_in_dotenv_counts(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("MISTRAL_API_KEY=value-of-the-key\n", encoding="utf-8")

        assert found(tmp_path, NOWHERE).primary == "mistral"

    @pytest.mark.parametrize(
        "project",
        [
            "[models]\nprovider = 'groq'\n",
            "[models]\ndefault = 'groq/x'\n",
            "[models]\npreset = 'mine'\n[presets.mine]\ndefault = ['groq/x', 'openai/y']\n",
        ],
    )
    def test_the_configuration_comes_first(self, tmp_path: Path, project: str) -> None:
        keys = {"OPENAI_API_KEY": "value-of-the-key", "GROQ_API_KEY": "value-of-the-key"}

        assert found(tmp_path, {**NOWHERE, **keys}, project).primary == "groq"

    def test_a_choice_without_a_key_fails_when_it_is_used_and_names_the_key(self, tmp_path: Path) -> None:
        catalog = found(tmp_path, NOWHERE, "[models]\nprovider = 'groq'\n")

        with pytest.raises(ConfigError, match="set GROQ_API_KEY"):
            catalog.for_role("coder")

    def test_an_unknown_choice_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="provider 'grok' is not known; did you mean groq"):
            found(tmp_path, NOWHERE, "[models]\nprovider = 'grok'\n")

    @pytest.mark.parametrize(
        ("env", "project"),
        [
            ({"OLLAMA_HOST": "http://public.example"}, ""),
            ({"VLLM_BASE_URL": "nonsense"}, ""),
            ({"OPENAI_BASE_URL": "nonsense"}, ""),
            ({"OLLAMA_API_KEY": "two words"}, "[models]\nprovider = 'ollama'\n"),
        ],
    )
    def test_a_server_that_cannot_be_asked_is_an_error(
        self, tmp_path: Path, env: Mapping[str, str], project: str
    ) -> None:
        with pytest.raises(ConfigError, match=r"OLLAMA_HOST|OPENAI_BASE_URL|VLLM_BASE_URL|OLLAMA_API_KEY"):
            found(tmp_path, {**NOWHERE, **env}, project)

    def test_the_simulator_can_be_chosen_without_a_notice(self, tmp_path: Path) -> None:
        catalog = found(
            tmp_path, {"OPENAI_API_KEY": "value-of-the-key"}, "[models]\nprovider = 'simulator'\n"
        )

        assert (catalog.primary, catalog.notices) == ("simulator", ())


class TestOllama:
    def test_its_installed_models_are_asked_for_and_embedders_left_out(self, tmp_path: Path) -> None:
        catalog, url, heads = with_server(tmp_path, answering(TAGS), "OLLAMA_HOST")

        assert catalog.primary == "ollama"
        assert catalog.notices == (f"using Ollama at {url}/v1, which has qwen3:8b, llama3.2:1b",)
        assert heads[0].startswith("GET /api/tags HTTP/1.1\r\n")
        fast = replace(catalog, config=catalog.config.with_overrides(preset="fast"))
        assert [m.name for m in fast.for_role("coder")] == ["llama3.2:1b"]
        assert [m.name for m in catalog.for_role("coder")] == ["qwen3:8b"]

    def test_it_is_not_asked_where_there_is_a_key(self, tmp_path: Path) -> None:
        catalog, _, heads = with_server(
            tmp_path, answering(TAGS), "OLLAMA_HOST", OPENAI_API_KEY="value-of-the-key"
        )

        assert (catalog.primary, heads) == ("openai", [])

    def test_the_user_is_told_when_it_has_no_model(self, tmp_path: Path) -> None:
        catalog, url, _ = with_server(tmp_path, answering(b'{"models": []}'), "OLLAMA_HOST")

        assert catalog.primary == "simulator"
        assert catalog.notices == (f"Ollama runs at {url}/v1 but has no model (run `ollama pull NAME`)",)

    @pytest.mark.parametrize(
        ("status", "says"),
        [
            ("503 Service Unavailable", "is still loading its model"),
            ("401 Unauthorized", "wants a key (401): set LLAMACPP_API_KEY"),
        ],
    )
    def test_a_server_that_somebody_named_and_that_is_not_ready_is_no_simulator(
        self, tmp_path: Path, status: str, says: str
    ) -> None:
        body = b'{"error": {"message": "no"}}'
        with pytest.raises(ConfigError, match=re.escape(says)):
            with_server(tmp_path, answering(body, status), "LLAMACPP_BASE_URL", "/v1")

    def test_the_user_is_told_when_nobody_answers_where_it_should_be(self, tmp_path: Path) -> None:
        assert found(tmp_path, NOWHERE).notices == ("Ollama does not answer at http://127.0.0.1:1/v1",)

    def test_chosen_but_without_models_it_says_what_to_do(self, tmp_path: Path) -> None:
        catalog = found(tmp_path, NOWHERE, "[models]\nprovider = 'ollama'\n")

        with pytest.raises(ConfigError, match=r"no model is known at ollama .* start it with one installed"):
            catalog.for_role("coder")


class TestOtherServers:
    MODELS = b'{"object": "list", "data": [{"id": "Qwen/Qwen3-8B", "object": "model"}]}'

    @pytest.mark.parametrize(
        ("variable", "name"), [("VLLM_BASE_URL", "vllm"), ("LLAMACPP_BASE_URL", "llamacpp")]
    )
    def test_a_server_that_a_variable_names_is_asked(self, tmp_path: Path, variable: str, name: str) -> None:
        catalog, url, heads = with_server(tmp_path, answering(self.MODELS), variable, "/v1")

        assert catalog.primary == name
        assert heads[0].startswith("GET /v1/models HTTP/1.1\r\n")
        assert [m.id for m in catalog.for_role("coder")] == [f"{name}/Qwen/Qwen3-8B"]
        assert catalog.notices[0].endswith(f"at {url}/v1, which has Qwen/Qwen3-8B")

    def test_it_gets_the_key_that_belongs_to_it(self, tmp_path: Path) -> None:
        _, _, heads = with_server(
            tmp_path, answering(self.MODELS), "VLLM_BASE_URL", "/v1", VLLM_API_KEY="key-of-vllm"
        )

        assert "authorization: Bearer key-of-vllm\r\n" in heads[0]

    def test_openai_moved_to_this_machine_uses_what_is_there(self, tmp_path: Path) -> None:
        catalog, url, _ = with_server(
            tmp_path, answering(self.MODELS), "OPENAI_BASE_URL", "/v1", OPENAI_API_KEY="value-of-the-key"
        )

        assert [m.id for m in catalog.for_role("coder")] == ["openai/Qwen/Qwen3-8B"]
        assert catalog.notices == (f"OPENAI_BASE_URL is {url}/v1, which has Qwen/Qwen3-8B",)

    def test_openai_moved_to_this_machine_needs_no_key(self, tmp_path: Path) -> None:
        catalog, _, heads = with_server(tmp_path, answering(self.MODELS), "OPENAI_BASE_URL", "/v1")
        model = catalog.for_role("coder")[0]

        assert (catalog.primary, model.id, str(model.price)) == ("openai", "openai/Qwen/Qwen3-8B", "free")
        assert "authorization" not in heads[0]

    def test_a_provider_of_the_users_own_on_this_machine_is_asked(self, tmp_path: Path) -> None:
        async def run() -> Catalog:
            async with serving(answering(self.MODELS)) as server:
                own = f"[providers.studio]\nbase_url = '{server.url}/v1'\n"
                return await discovered(tmp_path, NOWHERE, own)

        assert [m.id for m in asyncio.run(run()).for_role("coder")] == ["studio/Qwen/Qwen3-8B"]

    def test_openai_moved_elsewhere_keeps_its_names_and_says_so(self, tmp_path: Path) -> None:
        env = {
            **NOWHERE,
            "OPENAI_BASE_URL": "https://gateway.example/v1",
            "OPENAI_API_KEY": "value-of-the-key",
        }
        catalog = found(tmp_path, env)

        assert catalog.for_role("coder")[0].id == "openai/gpt-6.1-terra"
        assert catalog.notices[0].startswith(
            "OPENAI_BASE_URL is https://gateway.example/v1: its models are taken to be"
        )
        assert found(tmp_path, env, "[models]\ndefault = 'openai/m'\n").notices == ()


class TestServersThatMisbehave:
    @pytest.mark.parametrize(
        "answer",
        [
            answering(b"not json"),
            answering(b'{"models": 3}'),
            answering(b"[]"),
            answering(TAGS, status="404 Not Found"),
            answering(b"", status="302 Found", headers="location: https://evil.example\r\n"),
            answering(b'{"models": [' + b'{"name": "x"},' * 400_000 + b"]}"),
        ],
        ids=["not json", "wrong json", "list", "404", "redirect", "too large"],
    )
    def test_they_count_as_absent(self, tmp_path: Path, answer: Answer) -> None:
        catalog, _, _ = with_server(tmp_path, answer, "OLLAMA_HOST")

        assert (catalog.primary, dict(catalog.installed)) == ("simulator", {})

    @pytest.mark.parametrize(
        "garbage", [b"", b"\x00\xff\xfe\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"]
    )
    def test_they_may_send_anything(self, tmp_path: Path, garbage: bytes) -> None:
        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(garbage)

        catalog, _, _ = with_server(tmp_path, answer, "OLLAMA_HOST")

        assert catalog.primary == "simulator"

    def test_they_may_never_answer(self, tmp_path: Path) -> None:
        async def answer(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(20)

        catalog, _, _ = with_server(tmp_path, answer, "OLLAMA_HOST")

        assert catalog.primary == "simulator"

    def test_a_chunked_answer_is_read(self, tmp_path: Path) -> None:
        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for piece in (TAGS[:7], TAGS[7:]):
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")

        catalog, _, _ = with_server(tmp_path, answer, "OLLAMA_HOST")

        assert catalog.primary == "ollama"


def test_a_cancelled_discovery_leaves_nothing_open(tmp_path: Path) -> None:
    async def run() -> None:
        asked = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            asked.set()
            await asyncio.sleep(20)

        async with serving(answer) as server:
            task = asyncio.create_task(discovered(tmp_path, {"OLLAMA_HOST": server.url}))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert all("handle" in repr(task) for task in others)  # only the server's own side is still there

    asyncio.run(run())
