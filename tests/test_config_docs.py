"""`docs/configuration.md` names every setting and every variable, and its examples are files that work."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from facilitair import config as module
from facilitair.config import BUILTIN_PRESETS, FILE_NAME, Config, load_config
from facilitair.providers.catalog import Catalog, table

PAGE = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
TABLES = [
    kind
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not Config
]
NOT_IN_THE_FILE = {"files", "dotenv", "project_providers"}


def section(heading: str) -> str:
    """Return the text under a heading."""
    found = re.search(rf"^### `\[?{re.escape(heading)}.*?(?=^##)", PAGE, re.M | re.S)
    assert found, f"the page has no section on {heading}"
    return found[0]


@pytest.mark.parametrize("name", sorted(set(Config.__struct_fields__) - NOT_IN_THE_FILE))
def test_every_table_has_a_section(name: str) -> None:
    assert section(name)


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("providers.", module.ProviderConfig),
        ("strategy.", module.StrategyConfig),
        ("strategy.", module.AgentConfig),
        ("strategy.", module.EdgeConfig),
        ("strategy.", module.LoopConfig),
        ("roles.", module.RoleConfig),
        ("limits", module.LimitsConfig),
        ("timeouts", module.TimeoutsConfig),
        ("pricing.", module.PriceConfig),
        ("cache", module.CacheConfig),
        ("server", module.ServerConfig),
    ],
)
def test_every_key_is_in_the_section_of_its_table(heading: str, kind: type[msgspec.Struct]) -> None:
    missing = [name for name in kind.__struct_encode_fields__ if f"`{name}`" not in section(heading)]

    assert missing == []


def test_no_table_is_forgotten_above() -> None:
    assert {kind.__name__ for kind in TABLES if not kind.__name__.startswith("_")} == {
        "ProviderConfig", "StrategyConfig", "AgentConfig", "EdgeConfig", "LoopConfig", "RoleConfig", "LimitsConfig",
        "TimeoutsConfig", "PriceConfig", "CacheConfig", "ServerConfig",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "heading"),
    [(module.LimitsConfig, "limits"), (module.CacheConfig, "cache"), (module.ServerConfig, "server")],
)
def test_defaults_are_the_real_ones(kind: type[msgspec.Struct], heading: str) -> None:
    for name, value in msgspec.json.decode(msgspec.json.encode(kind())).items():
        shown = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        assert re.search(rf"^\| `{name}` \|.*\| `?{re.escape(shown)}`? \|$", section(heading), re.M), (
            name,
            value,
        )


def test_default_clocks_are_the_real_ones() -> None:
    shown = {
        name: float(value)
        for name, value in re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", section("timeouts"), re.M)
    }
    catalog = Catalog(config=Config(), env={"OPENAI_API_KEY": "value-of-the-key"})
    plain, reasoning = (catalog.resolve(name).timeouts for name in ("openai/gpt-4o", "openai/gpt-6-luna"))

    assert shown == {
        "connect": plain.connect,
        "first_content": plain.first_content,
        "first_content_reasoning": reasoning.first_content,
        "between_content": plain.between_content,
        "total": plain.total,
    }


@pytest.mark.parametrize("name", list(table().providers))
def test_every_provider_is_named_with_its_variables(name: str) -> None:
    spec = table().providers[name]
    row = next(line for line in PAGE.splitlines() if f"| `{name}` |" in line)

    assert spec.title in row
    assert all(f"`{variable}`" in row for variable in spec.key_env)
    assert spec.base_url_env is None or f"`{spec.base_url_env}`" in row


def test_the_providers_stand_in_the_order_in_which_their_keys_are_looked_for() -> None:
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| ", PAGE, re.M)

    assert rows == list(table().providers)


def test_every_preset_is_named() -> None:
    assert all(f"`{preset}`" in PAGE for preset in BUILTIN_PRESETS)


@pytest.mark.parametrize("example", re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S))
def test_every_example_is_a_file_that_works(tmp_path: Path, example: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / FILE_NAME).write_text(example, encoding="utf-8")

    assert load_config(tmp_path, {}) != Config()
