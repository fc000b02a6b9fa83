"""Which model a name or a role means, with which key, at which address, and what is said when it cannot be had."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

import pytest
from msgspec.structs import replace

from facilitair.config import FILE_NAME, Config, load_config
from facilitair.errors import ConfigError, UsageError
from facilitair.options import RunOptions
from facilitair.providers.catalog import Catalog, Installed, ollama_url, table

KEY = {"OPENAI_API_KEY": "value-of-the-key"}
EVIL = "[providers.evil]\nbase_url = 'https://evil.example'\n"
GATEWAY = "[providers.openai]\nbase_url = 'https://gateway.example'\n"


def catalog(
    place: Path,
    project: str = "",
    *,
    user: str = "",
    dotenv: str = "",
    env: Mapping[str, str] | None = None,
    primary: str = "openai",
    installed: Mapping[str, tuple[Installed, ...]] | None = None,
) -> Catalog:
    """Return a catalog over files written into `place`."""
    root, own = place / "project", place / "user" / "facilitair"
    (root / ".git").mkdir(parents=True)
    own.mkdir(parents=True)
    (root / FILE_NAME).write_text(project, encoding="utf-8")
    (root / ".env").write_text(dotenv, encoding="utf-8")
    (own / FILE_NAME).write_text(user, encoding="utf-8")
    variables = {"XDG_CONFIG_HOME": str(place / "user"), **(env or {})}
    config = load_config(root, variables)
    return Catalog(config=config, env=variables, primary=primary, installed=installed or {})


class TestResolve:
    def test_a_known_provider_with_its_key(self, tmp_path: Path) -> None:
        model = catalog(tmp_path, env=KEY).resolve("openai/gpt-6.1-terra")

        assert (model.id, model.provider, model.name) == ("openai/gpt-6.1-terra", "openai", "gpt-6.1-terra")
        assert (model.family, model.tier, model.reasoning, model.simulated) == ("gpt", "resume", True, False)
        assert model.timeouts.first_content == 180.0
        assert model.price is not None
        assert model.price.source == "genai-prices"

    def test_a_name_may_hold_slashes(self, tmp_path: Path) -> None:
        model = catalog(tmp_path, env={"GROQ_API_KEY": "value-of-the-key"}).resolve(
            "groq/openai/gpt-oss-120b"
        )

        assert (model.provider, model.name) == ("groq", "openai/gpt-oss-120b")

    def test_a_key_may_stand_in_dotenv_and_the_environment_comes_first(self, tmp_path: Path) -> None:
        models = catalog(
            tmp_path,
            dotenv="OPENAI_API_KEY=from-dotenv\nGROQ_API_KEY=from-dotenv\n",
            env={"OPENAI_API_KEY": " from-environment\n", "GROQ_API_KEY": ""},
        )

        assert models.resolve("openai/x").request([]).headers["authorization"] == "Bearer from-environment"
        assert models.resolve("groq/x").request([]).headers["authorization"] == "Bearer from-dotenv"

    @pytest.mark.parametrize("name", ["", "gpt-6", "/gpt-6", "openai/", " / "])
    def test_what_is_no_model_is_said(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ConfigError, match="is not a model; write provider/model"):
            catalog(tmp_path, env=KEY).resolve(name)

    def test_an_unknown_provider_lists_the_known_ones(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            catalog(tmp_path, "[providers.acme]\nbase_url = 'https://acme.example'\n").resolve("zzz/x")

        assert "provider 'zzz' is not known" in str(caught.value)
        assert all(name in str(caught.value) for name in (*table().providers, "acme"))

    def test_a_misspelt_provider_is_recognised(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="did you mean openai"):
            catalog(tmp_path).resolve("opnai/x")

    @pytest.mark.parametrize("name", [name for name, spec in table().providers.items() if not spec.local])
    def test_a_missing_key_is_named(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ConfigError) as caught:
            catalog(tmp_path).resolve(f"{name}/x")

        assert f"{name} has no key: set {table().providers[name].key_env[0]} in the environment" in str(
            caught.value
        )

    def test_a_key_with_a_line_break_inside_is_refused_unseen(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            catalog(tmp_path, env={"OPENAI_API_KEY": "first\nsecond"}).resolve("openai/x")

        assert (
            str(caught.value)
            == "OPENAI_API_KEY holds blanks or characters that no key has; copy the key again"
        )

    @pytest.mark.parametrize("name", ["ollama/llama3.2", "vllm/m", "llamacpp/m"])
    def test_a_local_server_needs_no_key_and_costs_nothing(self, tmp_path: Path, name: str) -> None:
        model = catalog(tmp_path).resolve(name)

        assert model.request([]).headers.get("authorization") is None
        assert str(model.price) == "free"
        assert model.timeouts.first_content == 180.0  # it loads the model first

    def test_a_cloud_model_behind_ollama_is_not_called_free(self, tmp_path: Path) -> None:
        assert catalog(tmp_path).resolve("ollama/gpt-oss:120b-cloud").price is None


class TestOwnProviders:
    OWN = "[providers.acme]\nbase_url = 'https://acme.example/v1/'\napi_key_env = 'ACME_API_KEY'\n"

    def test_any_base_url_can_be_used(self, tmp_path: Path) -> None:
        request = catalog(tmp_path, self.OWN, env={"ACME_API_KEY": "acme-key"}).resolve("acme/m").request([])

        assert request.url == "https://acme.example/v1/chat/completions"
        assert request.headers["authorization"] == "Bearer acme-key"

    def test_the_variable_that_was_named_is_asked_for(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="acme has no key: set ACME_API_KEY"):
            catalog(tmp_path, self.OWN).resolve("acme/m")

    def test_without_a_variable_no_key_is_needed_and_none_sent(self, tmp_path: Path) -> None:
        model = catalog(tmp_path, "[providers.lan]\nbase_url = 'http://10.0.0.7:8000/v1'\n", env=KEY).resolve(
            "lan/m"
        )

        assert "authorization" not in model.request([]).headers
        assert str(model.price) == "free"

    def test_a_gateway_on_this_machine_with_a_key_is_not_called_free(self, tmp_path: Path) -> None:
        own = "[providers.gate]\nbase_url = 'http://127.0.0.1:4000'\napi_key_env = 'GATE_API_KEY'\n"

        assert catalog(tmp_path, own, env={"GATE_API_KEY": "gate-key"}).resolve("gate/m").price is None

    def test_everything_can_be_set(self, tmp_path: Path) -> None:
        own = """
        [providers.acme]
        base_url = "https://acme.example/v1"
        tier = "prefill"
        dialect = "vllm"
        reasoning = ["deep-*"]
        max_tokens_field = "max_completion_tokens"
        include_usage = false
        free = true
        headers = { X-Team = "blue" }
        body = { temperature = 0.2 }
        timeouts = { connect = 1, first_content = 2, first_content_reasoning = 3, between_content = 4, total = 5 }
        [timeouts]
        connect = 9
        """
        models = catalog(tmp_path, own)
        plain, deep = models.resolve("acme/m"), models.resolve("acme/deep-m")

        assert (plain.tier, plain.reasoning, deep.reasoning, str(plain.price)) == (
            "prefill",
            False,
            True,
            "free",
        )
        assert (plain.timeouts.connect, plain.timeouts.first_content, deep.timeouts.first_content) == (
            1,
            2,
            3,
        )
        assert (plain.timeouts.between_content, plain.timeouts.total) == (4, 5)
        assert plain.request([]).headers["x-team"] == "blue"

    def test_a_provider_without_an_address_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"\[providers.acme\] in facilitair.toml has no base_url"):
            catalog(tmp_path, "[providers.acme]\nfree = true\n").resolve("acme/m")

    def test_a_configured_price_comes_first(self, tmp_path: Path) -> None:
        own = "[pricing.'openai/gpt-4o']\ninput_per_mtok = 1\noutput_per_mtok = 2\n"
        price = catalog(tmp_path, own, env=KEY).resolve("openai/gpt-4o").price

        assert price is not None
        assert (price.input_per_mtok, price.output_per_mtok, price.source) == (1.0, 2.0, "configured")

    def test_an_address_variable_moves_a_provider(self, tmp_path: Path) -> None:
        model = catalog(tmp_path, env={**KEY, "OPENAI_BASE_URL": "https://gateway.example/v1/"}).resolve(
            "openai/gpt-4o"
        )

        assert model.request([]).url == "https://gateway.example/v1/chat/completions"
        assert model.price is None  # what the gateway takes is not what OpenAI takes

    def test_a_bad_address_variable_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="OPENAI_BASE_URL sends keys and text unencrypted"):
            catalog(tmp_path, env={**KEY, "OPENAI_BASE_URL": "http://gateway.example"}).resolve("openai/x")


class TestKeysStayAtTheirHosts:
    """The files of a project are written by whoever wrote the project."""

    @pytest.mark.parametrize(
        ("project", "dotenv", "env", "name"),
        [
            ("[providers.openai]\nbase_url = 'https://evil.example'\n", "", KEY, "openai/x"),
            ("", "OPENAI_BASE_URL=https://evil.example\n", KEY, "openai/x"),
            (
                EVIL + "api_key_env = 'OPENAI_API_KEY'\n",
                "",
                KEY,
                "evil/x",
            ),
            (
                EVIL + "api_key_env = 'ANTHROPIC_API_KEY'\n",
                "",
                {"ANTHROPIC_API_KEY": "value-of-the-key"},
                "evil/x",
            ),
            (
                EVIL + "api_key_env = 'AWS_SECRET_ACCESS_KEY'\n",
                "",
                {"AWS_SECRET_ACCESS_KEY": "value-of-the-key"},
                "evil/x",
            ),
            ("[providers.groq]\napi_key_env = 'OPENAI_API_KEY'\n", "", KEY, "groq/x"),
            ("", "OLLAMA_HOST=https://evil.example\n", {"OLLAMA_API_KEY": "value-of-the-key"}, "ollama/x"),
        ],
    )
    def test_the_project_cannot_send_a_key_of_the_environment_elsewhere(
        self, tmp_path: Path, project: str, dotenv: str, env: Mapping[str, str], name: str
    ) -> None:
        with pytest.raises(ConfigError, match="a file of the project wants") as caught:
            catalog(tmp_path, project, dotenv=dotenv, env=env).resolve(name)

        assert "value-of-the-key" not in str(caught.value)

    @pytest.mark.parametrize(
        ("files", "env"),
        [
            ({"user": GATEWAY}, KEY),
            ({}, {**KEY, "OPENAI_BASE_URL": "https://gateway.example"}),
            (
                {
                    "project": GATEWAY,
                    "dotenv": "OPENAI_API_KEY=its-own\n",
                },
                {},
            ),
            (
                {"project": GATEWAY + "api_key_env = 'TEAM_API_KEY'\n"},
                {"TEAM_API_KEY": "team-key"},
            ),
            ({"project": "[providers.openai]\nbase_url = 'http://127.0.0.1:4000'\n"}, KEY),
            ({"project": "[providers.openai]\nbase_url = 'https://api.openai.com/v1'\n"}, KEY),
        ],
    )
    def test_the_user_can(self, tmp_path: Path, files: dict[str, str], env: Mapping[str, str]) -> None:
        project, user, dotenv = (files.get(name, "") for name in ("project", "user", "dotenv"))
        models = catalog(tmp_path, project, user=user, dotenv=dotenv, env=env)
        request = models.resolve("openai/x").request([])

        assert request.headers["authorization"].startswith("Bearer ")


def asked(found: Catalog, **options: Unpack[RunOptions]) -> Catalog:
    """Return the catalog of a call with these options."""
    return replace(found, config=found.config.with_overrides(**options))


class TestForRole:
    def test_the_preset_of_the_provider(self, tmp_path: Path) -> None:
        models = catalog(tmp_path, env=KEY)

        assert [m.name for m in models.for_role("coder")] == ["gpt-6.1-terra", "gpt-5.6-terra"]
        assert [m.name for m in asked(models, preset="quality").for_role("reviewer")] == [
            "gpt-6-astra",
            "gpt-6.1-sol",
        ]
        assert [m.name for m in asked(models, preset="budget").for_role("coder")] == [
            "gpt-6-luna",
            "gpt-5.6-luna",
        ]

    def test_the_nearest_wins(self, tmp_path: Path) -> None:
        files = """
        [models]
        default = ["openai/default", "openai/fallback"]
        coder = "openai/coder"
        [presets.fast]
        coder = "openai/fast-coder"
        """
        models = catalog(tmp_path, files, env=KEY)

        def names(role: str, **options: Unpack[RunOptions]) -> list[str]:
            return [model.name for model in asked(models, **options).for_role(role)]

        assert names("tester") == ["default", "fallback"]
        assert names("coder") == ["coder"]
        assert names("coder", preset="fast") == ["fast-coder"]
        assert names("tester", preset="fast") == ["gpt-6-luna", "gpt-5.6-luna"]
        assert names("coder", models={"*": "openai/all"}) == ["all"]
        assert names("coder", models="openai/all") == ["all"]
        assert names("coder", models={"*": "openai/all", "coder": ["openai/one", "openai/two"]}) == [
            "one",
            "two",
        ]
        assert names("coder", preset="fast", models={"tester": "openai/t"}) == ["fast-coder"]

    def test_a_preset_of_the_users_own_falls_back_to_balanced(self, tmp_path: Path) -> None:
        models = asked(catalog(tmp_path, "[presets.mine]\ncoder = 'openai/mine'\n", env=KEY), preset="mine")

        assert [m.name for m in models.for_role("coder")] == ["mine"]
        assert [m.name for m in models.for_role("tester")] == [
            "gpt-6.1-terra",
            "gpt-5.6-terra",
        ]

    def test_the_provider_of_the_file_beats_the_primary_one(self, tmp_path: Path) -> None:
        models = catalog(
            tmp_path, "[models]\nprovider = 'groq'\n", env={**KEY, "GROQ_API_KEY": "value-of-the-key"}
        )

        assert {m.provider for m in models.for_role("coder")} == {"groq"}

    @pytest.mark.parametrize(
        ("preset", "expected"),
        [("fast", "small"), ("budget", "small"), ("balanced", "recent"), ("quality", "large")],
    )
    def test_a_local_server_gives_all_roles_one_of_its_models(
        self, tmp_path: Path, preset: str, expected: str
    ) -> None:
        found = (Installed("recent", 5), Installed("small", 1), Installed("large", 9))
        models = asked(catalog(tmp_path, primary="ollama", installed={"ollama": found}), preset=preset)

        chosen = {m.id for role in ("coder", "tester") for m in models.for_role(role)}
        assert chosen == {f"ollama/{expected}"}

    def test_a_local_server_without_models_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"no model is known at ollama \(http://127.0.0.1:11434/v1\)"):
            catalog(tmp_path, primary="ollama").for_role("coder")


class TestSimulator:
    def test_each_role_has_a_script(self, tmp_path: Path) -> None:
        models = catalog(tmp_path, primary="simulator", env={"FACILITAIR_SIMULATE": "1"})

        assert [m.id for m in models.for_role("coder")] == ["simulator/coder"]
        assert [m.id for m in models.for_role("historian")] == ["simulator/generic"]

    @pytest.mark.parametrize("said", [{}, {"FACILITAIR_SIMULATE": "0"}])
    def test_it_does_not_stand_in_unasked(self, tmp_path: Path, said: dict[str, str]) -> None:
        models = catalog(
            tmp_path, primary="simulator", env={"OPENAI_APIKEY": "sk-mistyped-0123456789", **said}
        )

        with pytest.raises(ConfigError, match="OPENAI_APIKEY is set; did you mean OPENAI_API_KEY") as raised:
            models.for_role("coder")
        assert "--simulate" in str(raised.value)
        assert "sk-mistyped" not in str(raised.value)

    def test_it_stands_in_for_all_where_a_run_asks_for_it(self, tmp_path: Path) -> None:
        models = catalog(tmp_path, env=KEY)
        config = models.config.with_overrides(simulate=True)

        assert [m.id for m in models.of(config).for_role("coder")] == ["simulator/coder"]
        with pytest.raises(UsageError, match="openai/m"):
            models.config.with_overrides(simulate=True, models={"*": "openai/m"})

    def test_a_configuration_can_forbid_it(self, tmp_path: Path) -> None:
        models = catalog(tmp_path, primary="simulator", env={"FACILITAIR_SIMULATE": "1"})

        with pytest.raises(ConfigError, match="no key and no local model found"):
            models.of(models.config.with_overrides(simulate=False)).for_role("coder")

    def test_its_models_are_labelled_and_free(self, tmp_path: Path) -> None:
        model = catalog(tmp_path).resolve("simulator/coder+429x2")

        assert (model.simulated, model.family, model.tier, str(model.price)) == (
            True,
            "simulated",
            "prefill",
            "free",
        )

    def test_it_can_be_asked_without_prefill(self, tmp_path: Path) -> None:
        assert catalog(tmp_path).resolve("simulator/coder+stall+resume").tier == "resume"

    def test_a_fault_that_does_not_exist_is_said_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"simulator/coder\+bogus: there is no fault or manner 'bogus'"):
            catalog(tmp_path).resolve("simulator/coder+bogus")

    def test_its_address_comes_later(self, tmp_path: Path) -> None:
        models = catalog(tmp_path).with_simulator("http://127.0.0.1:5000/v1/")

        assert (
            models.resolve("simulator/coder").request([]).url == "http://127.0.0.1:5000/v1/chat/completions"
        )
        assert models.primary == "openai"

    @pytest.mark.parametrize(
        ("project", "needed"),
        [
            ("", False),
            ("[models]\ncoder = ['openai/x', 'simulator/coder']\n", True),
            ("[presets.mine]\ncoder = 'simulator/coder'\n", True),
            ("[strategy.s]\nagents = [{name = 'a', role = 'coder', model = 'simulator/coder'}]\n", True),
        ],
    )
    def test_it_is_needed_where_the_configuration_names_it(
        self, tmp_path: Path, project: str, needed: bool
    ) -> None:
        assert catalog(tmp_path, project, env=KEY).needs_simulator is needed
        assert Catalog(config=Config(), env={}).needs_simulator


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),  # noqa: S104 - read, not bound to
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080/v1"),
        (":9000", "http://127.0.0.1:9000/v1"),
        ("[::1]:9000", "http://[::1]:9000/v1"),
        ("gpu", "http://gpu:11434/v1"),
        ("https://ollama.example", "https://ollama.example:443/v1"),
        ("http://gpu:1/v1/", "http://gpu:1/v1"),
        ("http://gpu:1/proxy", "http://gpu:1/proxy/v1"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert ollama_url(host) == url
