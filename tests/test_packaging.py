"""What `pip install` gives, and that the locks still answer to `pyproject.toml`.

Looks at the installed package, so it sees what a user sees, without building a wheel.
"""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import entry_points, metadata, version
from importlib.resources import files
from inspect import ismodule
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import facilitair
import facilitair_rust

ROOT = Path(__file__).parent.parent


def read_toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("package", ["facilitair", "facilitair_rust"])
def test_the_installed_package_is_typed(package: str) -> None:
    assert (files(package) / "py.typed").is_file()


def test_the_command_is_callable() -> None:
    (command,) = entry_points(group="console_scripts", name="facilitair")
    assert callable(command.load())


def test_there_is_one_version() -> None:
    written = read_toml("Cargo.toml")["workspace"]["package"]["version"]
    assert written == version("facilitair") == facilitair_rust.__version__


def test_the_changelog_says_what_is_new_and_names_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest, *released = re.findall(r"^## (.*)$", text, re.M)
    assert newest == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", title) for title in released)
    named = released[0] if released else text
    assert version("facilitair") in named


def test_every_supported_python_is_named() -> None:
    published = metadata("facilitair")
    named = {c.rpartition(" ")[2] for c in published.get_all("Classifier", []) if ":: 3." in c}
    assert named == {"3.11", "3.12", "3.13", "3.14"}
    assert published["Requires-Python"] == ">=3.11"


@pytest.mark.parametrize("package", [facilitair, facilitair_rust])
def test_type_checkers_and_programs_see_the_same_names(package: ModuleType) -> None:
    """`facilitair` imports a name when it is first used, so what it shows to type checkers is a list of its own."""
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    shown = {alias.asname or alias.name for node in imports for alias in node.names}
    assigned = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    shown |= {name.id for name in assigned if isinstance(name, ast.Name) and not name.id.startswith("_")}
    found = {name for name in package.__all__ if not ismodule(getattr(package, name))}
    assert found == shown


LOCKED = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?P<rest>[^\n]*(?:\n    --hash=\S+(?: \\)?)*)", re.M
)


def read_lock(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert "://" not in text, "a lock names no registry: whoever installs chooses it"
    entries = list(LOCKED.finditer(text))
    assert all("--hash=sha256:" in entry["rest"] for entry in entries)
    return {canonicalize_name(entry["name"]): entry["version"] for entry in entries}


def declared() -> list[tuple[str, str]]:
    project = read_toml("pyproject.toml")
    groups = {"runtime": project["project"]["dependencies"], **project["dependency-groups"]}
    return [(lock, requirement) for lock, wanted in groups.items() for requirement in wanted]


@pytest.mark.parametrize(("lock", "requirement"), declared())
def test_the_lock_satisfies_what_is_declared(lock: str, requirement: str) -> None:
    wanted = Requirement(requirement)
    assert wanted.specifier.contains(read_lock(lock)[canonicalize_name(wanted.name)]), "run `make lock`"


def test_the_locks_fit_into_one_environment() -> None:
    pins: dict[str, set[str]] = {}
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        for name, pin in read_lock(path.stem).items():
            pins.setdefault(name, set()).add(pin)
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


def test_the_build_uses_the_tool_that_is_locked() -> None:
    project = read_toml("pyproject.toml")
    assert project["build-system"]["requires"] == project["dependency-groups"]["build"]
