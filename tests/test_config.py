"""`facilitair.toml` and `.env`: which one wins, where they are searched, and one clear line for each mistake."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from platformdirs import user_config_path

from facilitair.config import FILE_NAME, Config, check_base_url, load_config
from facilitair.errors import ConfigError, UsageError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory that is the root of a repository."""
    place = tmp_path / "project"
    (place / ".git").mkdir(parents=True)
    return place


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """An environment whose configuration directory is empty."""
    place = tmp_path / "user"
    (place / "facilitair").mkdir(parents=True)
    return {"XDG_CONFIG_HOME": str(place)}


def write(place: Path, text: str) -> Path:
    path = place / FILE_NAME
    path.write_text(text, encoding="utf-8")
    return path


def write_user(user: dict[str, str], text: str) -> Path:
    return write(Path(user["XDG_CONFIG_HOME"]) / "facilitair", text)


def refusal(place: Path, text: str) -> str:
    """Return what is said about a file, and check that it is one line that names the file."""
    path = write(place, text)
    with pytest.raises(ConfigError) as caught:
        load_config(place, {})
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


class TestPrecedence:
    def test_defaults_hold_without_any_file(self, project: Path) -> None:
        config = load_config(project, {})

        assert config == Config()
        assert config.preset == "balanced"
        assert config.limits.max_cost is None
        assert (config.limits.max_interrupts, config.limits.max_rollbacks, config.limits.quorum) == (
            1,
            2,
            0.5,
        )
        assert config.cache.enabled

    def test_the_project_wins_key_by_key_over_the_user(self, project: Path, user: dict[str, str]) -> None:
        theirs = write_user(
            user,
            '[models]\ndefault = "groq/a"\ncoder = "groq/b"\n[limits]\nmax_cost = 1\nquorum = 0.8\n'
            '[context]\nlanguage = "go"\nteam = "x"\n',
        )
        ours = write(
            project, '[models]\ncoder = "openai/c"\n[limits]\nmax_cost = 2.5\n[context]\nlanguage = "rust"\n'
        )

        config = load_config(project, user)

        assert config.files == (ours, theirs)
        assert config.choice("default") == ("groq/a",)
        assert config.choice("coder") == ("openai/c",)
        assert (config.limits.max_cost, config.limits.quorum) == (2.5, 0.8)
        assert config.context == {"language": "rust", "team": "x"}

    def test_a_strategy_is_taken_whole(self, project: Path, user: dict[str, str]) -> None:
        write_user(
            user,
            '[strategy.duo]\nagents = [{name = "a", role = "coder"}, {name = "b", role = "reviewer"}]\n'
            'edges = [{from = "a", to = "b", kind = "live"}]\nsynthesizer = "b"\n'
            '[strategy.solo]\nagents = [{name = "s", role = "coder"}]\n',
        )
        write(project, '[strategy.duo]\nagents = [{name = "z", role = "coder"}]\n')

        config = load_config(project, user)

        assert [agent.name for agent in config.strategy["duo"].agents] == ["z"]
        assert config.strategy["duo"].edges == ()
        assert config.strategy["duo"].synthesizer is None
        assert "solo" in config.strategy

    def test_what_the_project_says_about_providers_is_kept_apart(
        self, project: Path, user: dict[str, str]
    ) -> None:
        write_user(user, '[providers.acme]\nbase_url = "https://acme.example/v1"\n')
        write(project, '[providers.acme]\napi_key_env = "ACME_API_KEY"\n')

        config = load_config(project, user)

        assert config.providers["acme"].base_url == "https://acme.example/v1"
        assert config.project_providers["acme"].base_url is None
        assert config.project_providers["acme"].api_key_env == "ACME_API_KEY"

    def test_arguments_of_the_call_come_on_top(self, project: Path) -> None:
        write(
            project,
            '[models]\npreset = "quality"\ncoder = "a/b"\n[limits]\nmax_cost = 9\n[context]\nlanguage = "go"\n',
        )

        config = load_config(project, {}).with_overrides(
            context={"language": "rust"},
            strategy="duo",
            models={"reviewer": ["c/d", "e/f"]},
            max_cost=1,
            cache=False,
        )

        assert config.context == {"language": "rust"}
        assert config.default_strategy == "duo"
        assert (config.choice("coder"), config.choice("reviewer")) == (("a/b",), ("c/d", "e/f"))
        assert (config.preset, config.limits.max_cost, config.cache.enabled) == ("quality", 1.0, False)

    def test_one_model_for_all_roles_leaves_no_role_of_the_file(self, project: Path) -> None:
        write(project, '[models]\ncoder = "a/b"\n')

        config = load_config(project, {}).with_overrides(models="x/y")

        assert (config.choice("coder"), config.choice("default")) == ((), ("x/y",))

    def test_all_roles_but_one(self) -> None:
        config = Config().with_overrides(models={"*": "x/y", "coder": "a/b"})

        assert (config.choice("coder"), config.choice("default")) == (("a/b",), ("x/y",))

    def test_a_preset_of_the_call_beats_the_models_of_the_file(self, project: Path) -> None:
        write(project, '[models]\nprovider = "groq"\ndefault = "a/b"\ncoder = "a/c"\n')

        config = load_config(project, {}).with_overrides(preset="fast")

        assert (config.preset, config.provider, config.choice("default"), config.choice("coder")) == (
            "fast", "groq", (), (),
        )  # fmt: skip


class TestSearch:
    def test_files_are_found_upwards_to_the_root_of_the_repository(self, project: Path) -> None:
        write(project.parent, "[limits]\nmax_cost = 1\n")
        ours = write(project, "[limits]\nmax_cost = 2\n")
        (project / ".env").write_text("A_KEY=one\n", encoding="utf-8")
        deep = project / "src" / "deep"
        deep.mkdir(parents=True)

        config = load_config(deep, {})

        assert config.files == (ours,)
        assert config.dotenv["A_KEY"].reveal() == "one"

    def test_nothing_is_taken_from_above_the_root(self, project: Path) -> None:
        write(project.parent, "[limits]\nmax_cost = 1\n")

        assert load_config(project, {}).files == ()

    def test_outside_of_home_and_repository_only_the_directory_itself_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        write(tmp_path, "[limits]\nmax_cost = 1\n")
        inner = tmp_path / "inner"
        inner.mkdir()

        assert load_config(inner, {}).files == ()

    def test_inside_of_home_the_search_ends_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        inner = tmp_path / "home" / "a" / "b"
        inner.mkdir(parents=True)
        write(tmp_path, "[limits]\nmax_cost = 1\n")
        ours = write(tmp_path / "home", "[limits]\nmax_cost = 2\n")

        assert load_config(inner, {}).files == (ours,)

    def test_the_users_own_file_is_where_the_platform_has_such_files(
        self, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        place = user_config_path("facilitair", appauthor=False)
        place.mkdir(parents=True)
        ours = write(place, "[limits]\nmax_cost = 1\n")

        assert load_config(project).files == (ours,)

    def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="nowhere: is not a directory"):
            load_config(tmp_path / "nowhere", {})

    def test_the_working_directory_and_the_real_environment_are_the_defaults(
        self, project: Path, user: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        theirs = write_user(user, "[limits]\nmax_cost = 3\n")
        monkeypatch.chdir(project)
        monkeypatch.setenv("XDG_CONFIG_HOME", user["XDG_CONFIG_HOME"])

        assert load_config().files == (theirs,)


class TestDotenv:
    def test_it_is_read_without_touching_the_environment(self, project: Path) -> None:
        (project / ".env").write_text("FACILITAIR_PROBE=from file\nEMPTY=\n", encoding="utf-8")

        config = load_config(project, {})

        assert config.dotenv["FACILITAIR_PROBE"].reveal() == "from file"
        assert "EMPTY" not in config.dotenv
        assert "FACILITAIR_PROBE" not in os.environ

    def test_its_values_are_never_shown(self, project: Path) -> None:
        (project / ".env").write_text("SOME_KEY=correct-horse-battery\n", encoding="utf-8")

        config = load_config(project, {})

        assert "correct-horse" not in repr(config) + str(config)

    def test_a_binary_file_is_named(self, project: Path) -> None:
        (project / ".env").write_bytes(b"A=\xff\xfe\x00")

        with pytest.raises(ConfigError, match=r"\.env: is not UTF-8 text"):
            load_config(project, {})


MISTAKES = {
    "a =": "is not valid TOML: Invalid value (at end of document)",
    "[limits]\nx == 1": "is not valid TOML: Invalid value (at line 2, column 4)",
    "modles = 1": "modles: key 'modles' is not known; did you mean models?",
    "files = []": "files: key 'files' is not known; did you mean roles?",
    "models = 1": "models: expected a table, got a whole number",
    "[limits]\nmax_cots = 1": "limits: key 'max_cots' is not known; did you mean max_cost?",
    "[limits]\nmax_cost = 'x'": "limits.max_cost: expected a number, got text",
    "[limits]\nmax_cost = -1": "limits.max_cost: expected a number > 0.0",
    "[limits]\nmax_cost = nan": "limits.max_cost: expected a number",
    "[limits]\ntimeout = inf": "limits.timeout: expected a number <= 86400.0",
    "[limits]\nmax_tokens = 1.5": "limits.max_tokens: expected a whole number, got a number",
    "[limits]\nquorum = 0": "limits.quorum: expected a number > 0.0",
    "[cache]\nenabled = 'yes'": "cache.enabled: expected true or false, got text",
    "[timeouts]\nconect = 1": "timeouts: key 'conect' is not known; did you mean connect?",
    "[models]\ndefault = 'gpt'": "models.default: expected a model written \"provider/model\", or a list of them",
    "[models]\ndefault = []": "models.default: expected a model written \"provider/model\", or a list of them",
    "[models]\npreset = ['fast']": "models.preset: expected a name, got a list",
    "[models]\npreset = 'fsat'": "models.preset: preset 'fsat' is not known; did you mean fast?",
    "[models]\ncodre = 'a/b'": "models.codre: role 'codre' is not known; did you mean coder?",
    "[presets.mine]\ncodre = 'a/b'": "presets.mine.codre: role 'codre' is not known; did you mean coder?",
    "[presets.mine]\ncoder = 3": "presets.mine.coder: expected text or a list, got a whole number",
    "[strategy.x]\nagents = []": "strategy.x.agents: expected a list of length >= 1",
    "[strategy.x]\nagents = [{name = 'a'}]": "strategy.x.agents[0]: has no role; add it",
    "[strategy.x]\nagents = [{name='a', role='b', promt='c'}]":
        "strategy.x.agents[0]: key 'promt' is not known; did you mean prompt?",
    "[strategy.x]\nagents = [{name='a', role='b', model='c'}]":
        "strategy.x.agents[0].model: expected a model written \"provider/model\", or a list of them",
    "[strategy.x]\nagents = [{name='a', role='b'}]\nedges = [{from='a', to='a', kind='alive'}]":
        "strategy.x.edges[0].kind: 'alive' is not known; use one of after, live",
    "[providers.x]\ntier = 'inject'":
        "providers.x.tier: 'inject' is not known; use one of prefill, resume, none",
    "[providers.'a/b']\nfree = true": "providers.\"a/b\": a provider's name cannot hold a slash",
    "[providers.x]\napi_key_env = 'a b'": "providers.x.api_key_env: expected the name of an environment variable",
    "[providers.x]\nbody = {stream = false}": "providers.x.body.stream: is set by Facilitair itself; leave it out",
    "[providers.x.headers]\n'X A' = 'b'": "providers.x.headers.\"X A\": is not an HTTP header of printable ASCII",
    "[providers.x.headers]\nX-A = \"b\\nc\"": "providers.x.headers.X-A: is not an HTTP header of printable ASCII",
    "[providers.x]\nbase_url = 'acme'": "providers.x.base_url: is not a URL; write something like https://host/v1",
    "[providers.x]\nbase_url = 'http://acme.example/v1'": "providers.x.base_url: sends keys and text unencrypted",
    "[providers.x]\nbase_url = 'https://me:pw@acme.example'": "providers.x.base_url: holds a user name or password",
    "[providers.x]\nbase_url = 'https://acme.example/?a=b'": "providers.x.base_url: holds a query",
    "[pricing.'a/b']\ninput_per_mtok = 1": "pricing.\"a/b\": has no output_per_mtok; add it",
    "[pricing.a]\ninput_per_mtok = 1\noutput_per_mtok = 1":
        "pricing.a: is not a model; write [pricing.\"provider/model\"]",
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES.items())
def test_each_mistake_is_one_line_with_file_key_and_advice(project: Path, text: str, expected: str) -> None:
    assert refusal(project, text).startswith(expected)


def test_a_mistake_names_the_file_it_is_in(project: Path, user: dict[str, str]) -> None:
    theirs = write_user(user, "[limits]\nmax_cost = 'x'\n")
    write(project, "[limits]\nmax_cost = 1\n")

    with pytest.raises(ConfigError) as caught:
        load_config(project, user)

    assert str(caught.value).startswith(f"{theirs}: limits.max_cost")


def test_a_directory_in_place_of_the_file_is_named(project: Path) -> None:
    (project / FILE_NAME).mkdir()

    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(project, {})


def test_a_binary_file_is_named(project: Path) -> None:
    (project / FILE_NAME).write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(project, {})


class TestSecretsInTheFile:
    @pytest.mark.parametrize(
        "text",
        [
            "[providers.x]\napi_key = 'hunter2'",
            "[providers.x]\napi_key_env = 'sk-proj-abcdefghijklmnop'",
            "[providers.x.headers]\nAuthorization = 'hunter2'",
            "[providers.x.headers]\nX-Api-Key = 'hunter2'",
            "[providers.x.body]\nextra = {access_token = 'hunter2'}",
            "[roles.coder]\nprompt = 'use gsk_abcdefghijklmnop0123'",
            "OPENAI_API_KEY = 'hunter2'",
        ],
    )
    def test_is_refused_with_advice_and_without_the_value(self, project: Path, text: str) -> None:
        message = refusal(project, text)

        assert "looks like a secret" in message
        assert "api_key_env" in message
        assert not any(value in message for value in ("hunter2", "abcdefghijklmnop"))

    def test_the_context_may_speak_of_tokens(self, project: Path) -> None:
        write(project, "[context]\ntoken = 'JWT'\nkey = 'primary'\n")

        assert load_config(project, {}).context == {"token": "JWT", "key": "primary"}

    def test_limits_in_tokens_are_no_secret(self, project: Path) -> None:
        write(project, "[limits]\nmax_tokens = 1000\n[providers.x]\nmax_tokens_field = 'max_tokens'\n")

        assert load_config(project, {}).limits.max_tokens == 1000


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"max_cost": -1}, "max_cost: expected a number > 0.0"),
        ({"max_cost": float("nan")}, "max_cost: expected a number"),
        ({"max_tokens": "many"}, "max_tokens: expected a whole number, got text"),
        ({"timeout": 0}, "timeout: expected a number > 0.0"),
        ({"preset": "fsat"}, "preset 'fsat' is not known; did you mean fast?"),
        ({"models": "gpt"}, 'models.default: expected a model written "provider/model"'),
        ({"models": {"coder": "gpt"}}, 'models.coder: expected a model written "provider/model"'),
        ({"models": {"codre": "a/b"}}, "models: role 'codre' is not known; did you mean coder?"),
        ({"cache": 3}, "cache: expected true or false, got a whole number"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config().with_overrides(**arguments)

    assert str(caught.value).startswith(expected)


class TestBaseUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "https://api.example.com/v1",
            "http://127.0.0.1:8000/v1",
            "http://localhost:8000",
            "http://[::1]:8000/v1",
            "http://192.168.1.4:11434/v1",
            "http://ollama:11434/v1",
            "http://gpu.internal/v1",
        ],
    )
    def test_is_taken_without_its_last_slash(self, url: str) -> None:
        assert check_base_url(url + "/", allow_http=False) == url

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.com/v1",
            "http://8.8.8.8/v1",
            "ftp://localhost/v1",
            "https://",
            "https://host:port/v1",
            "https://host:0/v1",
            "https://me@host/v1",
            "https://host/v1#x",
            "https://host/v 1",
            "https://ho\nst/v1",
        ],
    )
    def test_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"URL|unencrypted|user name|blanks"):
            check_base_url(url, allow_http=False)

    def test_plain_http_can_be_allowed(self) -> None:
        assert check_base_url("http://example.com/v1", allow_http=True) == "http://example.com/v1"


values = st.recursive(
    st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
tables = st.sampled_from(
    [
        "context",
        "models",
        "presets",
        "providers",
        "strategy",
        "roles",
        "limits",
        "timeouts",
        "pricing",
        "cache",
        "x",
    ]
)


@given(st.dictionaries(tables, values, max_size=3))
@example({"providers": {"": {}}})
@example({"providers": {"a\nb": 3}})
@example({"limits": {"\x1b[2J": 1}})
@example({"providers": {"x": {"tier": "a\nb"}}})
@example({"strategy": {"x": {"agents": 3}}})
def test_no_file_of_any_shape_gives_another_error(
    tmp_path_factory: pytest.TempPathFactory, layer: dict[str, Any]
) -> None:
    place = tmp_path_factory.mktemp("any")
    (place / ".git").mkdir()
    write(place, toml(layer))

    try:
        load_config(place, {})
    except ConfigError as error:
        assert str(error).isprintable()  # noqa: PT017 - most files are mistakes, but not all


def toml(layer: dict[str, Any]) -> str:
    return "".join(f"{quoted(key)} = {inline(value)}\n" for key, value in layer.items())


def inline(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    safe = "".join(
        char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text
    )
    return f'"{safe}"'
