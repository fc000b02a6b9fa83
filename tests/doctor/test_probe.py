"""`facilitair doctor --probe`: what it asks, what it says beforehand, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from facilitair.config import FILE_NAME
from facilitair.doctor import Check, diagnose
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.server import Simulator
from tests.providers.servers import Answer, Server, answering, chat, serving, streaming

NOWHERE = {"OLLAMA_HOST": "127.0.0.1:1"}
ACME = (
    "[models]\ndefault = 'acme/m-1'\n[providers.acme]\nbase_url = '{url}/v1'\napi_key_env = 'ACME_API_KEY'\n"
    "tier = '{tier}'\n[pricing.'acme/m-1']\ninput_per_mtok = 2\noutput_per_mtok = 10\n"
)
KEY = {"ACME_API_KEY": "key-of-acme-0123"}
REFUSED = answering(b'{"error":{"message":"no prefill"}}', "400 Bad Request")


@dataclass
class Examined:
    checks: dict[str, Check] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    bodies: list[dict[str, object]] = field(default_factory=list)


def examined(place: Path, tier: str, begun: Answer, plain: Answer | None = None) -> Examined:
    """Run the probe against a server that gives one answer to a text to go on from, and another to any other."""
    found = Examined()
    servers: list[Server] = []

    async def answer(writer: asyncio.StreamWriter) -> None:
        if not servers[0].bodies[-1]:  # a server on this machine is asked for its models
            await answering(b"{}", "404 Not Found")(writer)
            return
        said = json.loads(servers[0].bodies[-1])["messages"]
        await (begun if said[-1]["role"] == "assistant" else plain or chat("ok"))(writer)

    async def run() -> None:
        (place / ".git").mkdir()
        async with serving(answer) as server:
            servers.append(server)
            project = ACME.replace("{url}", server.url).replace("{tier}", tier)
            (place / FILE_NAME).write_text(project, encoding="utf-8")

            def announce(text: str) -> None:
                found.said.append(text)
                assert not any(b'"assistant"' in body for body in server.bodies)

            checks = await diagnose(place, {**NOWHERE, **KEY}, before_probe=announce)
            found.checks = {check.name: check for check in checks}
            found.bodies = [json.loads(body) for body in server.bodies if body]

    asyncio.run(run())
    return found


@pytest.mark.parametrize(
    ("tier", "begun", "ok", "says", "fix"),
    [
        ("prefill", chat("is", "."), True, "([providers.acme]) confirmed: it goes on in place", ""),
        (
            "prefill",
            chat("Paris is", " it."),
            False,
            "differs from [providers.acme] (tier prefill)",
            "resume",
        ),
        ("prefill", REFUSED, False, "(tier prefill): it refuses its own text", "resume"),
        ("resume", REFUSED, True, "confirmed: it refuses its own text", ""),
        ("resume", chat("The capital", " is Paris."), True, "confirmed: it begins anew", ""),
        ("resume", chat("is."), None, "(tier resume): it goes on in place", "prefill"),
        ("prefill", chat(), None, "not tried: it said no visible word", ""),
    ],
    ids=["continues", "restarts", "refuses", "resume", "anew", "more", "silent"],
)
def test_what_a_model_does_is_held_against_its_tier(
    tmp_path: Path, tier: str, begun: Answer, ok: bool | None, says: str, fix: str
) -> None:
    check = examined(tmp_path, tier, begun).checks["acme/m-1"]

    assert check.ok is ok, check
    assert says in check.detail
    assert "first token after 0." in check.detail
    assert (f'tier = "{fix}" in [providers.acme]' in check.fix) if fix else not check.fix


def test_it_says_beforehand_what_it_costs(tmp_path: Path) -> None:
    found = examined(tmp_path, "prefill", chat("is"))

    assert found.said == ["asking 1 model for a few tokens each: at most about $0.0003"]
    probes = [body for body in found.bodies if "France" in str(body)]
    assert len(probes) == 1
    assert probes[0]["max_tokens"] == 8


@pytest.mark.parametrize(
    ("begun", "plain", "code"),
    [
        (REFUSED, REFUSED, "http_status"),
        (answering(b"{}", "401 Unauthorized"), None, "auth_failed"),
        (streaming(), None, "truncated"),
    ],
    ids=["whatever it is asked", "key", "cut"],
)
def test_a_model_that_fails_says_nothing_of_its_tier(
    tmp_path: Path, begun: Answer, plain: Answer | None, code: str
) -> None:
    check = examined(tmp_path, "resume", begun, plain).checks["acme/m-1"]

    assert check.ok is False
    assert f"({code})" in check.detail
    assert check.fix


def listed(place: Path, env: Mapping[str, str], project: str = "") -> list[Check]:
    """Run the doctor without a probe, against nobody."""
    (place / ".git").mkdir()
    (place / FILE_NAME).write_text(project, encoding="utf-8")
    return asyncio.run(diagnose(place, {**NOWHERE, **env}))


def test_without_a_probe_the_models_and_their_tiers_are_listed(tmp_path: Path) -> None:
    project = "[models]\ndefault = ['dead/m', 'deepseek/deepseek-flash']\nreviewer = 'openai/gpt-6.1-terra'\n"
    project += "[providers.dead]\nbase_url = 'http://127.0.0.1:1'\n[providers.deepseek]\nbase_url = 'http://127.0.0.1:1'\n"
    project += "[providers.openai]\nbase_url = 'http://127.0.0.1:1'\ntier = 'none'\n"
    checks = {check.name: check for check in listed(tmp_path, {}, project)}

    assert checks["dead/m"] == Check("dead/m", None, "tier resume, says the default")
    assert checks["deepseek/deepseek-flash"].detail == "tier prefill, says the built-in table"
    assert checks["openai/gpt-6.1-terra"].detail == "tier none, says [providers.openai]"


def test_simulated_models_are_not_listed(tmp_path: Path) -> None:
    assert not any("/" in check.name for check in listed(tmp_path, {}))


def test_a_claude_at_its_own_api(tmp_path: Path) -> None:
    text = "The capital of France is Paris."
    project = "[models]\ndefault = ['anthropic/claude-haiku-4-5', 'anthropic/claude-sonnet-5-5']\n"
    (tmp_path / ".git").mkdir()
    (tmp_path / FILE_NAME).write_text(project, encoding="utf-8")
    brain = Brain({name: Script(text=text) for name in ("claude-haiku-4-5", "claude-sonnet-5-5")})

    async def run() -> list[Check]:
        async with Simulator(brain, speed=20) as server:
            env = {"ANTHROPIC_API_KEY": "sk-ant-of-the-test", "ANTHROPIC_BASE_URL": server.base_url}
            return await diagnose(tmp_path, {**NOWHERE, **env}, before_probe=lambda _: None)

    checks = {check.name: check for check in asyncio.run(run())}

    assert checks["anthropic"].ok is True
    assert "tier prefill" in checks["anthropic"].detail
    assert "the built-in table) confirmed" in checks["anthropic/claude-haiku-4-5"].detail
    # The simulator goes on where the real one refuses.
    assert checks["anthropic/claude-sonnet-5-5"].ok is None
    assert "differs from the built-in table (tier resume)" in checks["anthropic/claude-sonnet-5-5"].detail
