"""Roles: those that ship, the user's own, and what of them reaches the model."""

from __future__ import annotations

import asyncio

import pytest

from facilitair import AgentSpec, Client, Config, Strategy, UsageError
from facilitair.clock import VirtualClock
from facilitair.config import RoleConfig, find_role
from facilitair.roles import Role, built_in_roles
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.prompt import Prompt
from facilitair.simulator.script import ScriptTransport

SHIPPED = ["architect", "coder", "reviewer", "refiner", "tester", "documenter", "synthesizer", "answerer"]


def system_prompt(agent: AgentSpec, **roles: RoleConfig) -> str:
    """Return what the model of `agent` is told to be."""
    asked: list[str] = []

    def text(prompt: Prompt) -> str:
        asked.append("\n".join(turn.content for turn in prompt.turns))
        return "Done."

    strategy = Strategy(
        name="one",
        agents=(AgentSpec(agent.name, agent.role, prompt=agent.prompt, model="simulator/listener"),),
        synthesizer=AgentSpec("synthesizer", "synthesizer", model="simulator/generic"),
        synthesis="end",
    )
    transport = ScriptTransport(Brain({"listener": Script(text=text)}), VirtualClock())

    async def run() -> None:
        async with Client(Config(roles=roles), env={}, transport=transport) as client:
            await client.run("Sort a list", strategy=strategy)

    asyncio.run(run())
    return asked[0]


def test_the_roles_that_ship() -> None:
    assert list(built_in_roles()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_each_is_complete_and_told_apart(name: str) -> None:
    role = built_in_roles()[name]
    others = [other for key, other in built_in_roles().items() if key != name]

    assert find_role(name, {}) == role
    assert role.title == name.capitalize()
    assert len(role.prompt) > 100
    assert role.icon != Role(title="", prompt="").icon
    for other in others:
        assert (role.title, role.prompt, role.icon) != (other.title, other.prompt, other.icon)
        assert role.icon != other.icon


def test_two_of_them_owe_structured_lines() -> None:
    assert {name: role.duty for name, role in built_in_roles().items() if role.duty} == {
        "architect": "outline",
        "reviewer": "verdict",
    }


@pytest.mark.parametrize("name", SHIPPED[:-1])
def test_the_prompt_of_a_role_is_what_its_model_is_told(name: str) -> None:
    assert built_in_roles()[name].prompt.strip() in system_prompt(AgentSpec("agent", name))


def test_a_role_of_ones_own_needs_a_prompt_alone() -> None:
    own = {"fact-checker": RoleConfig(prompt="You check facts.")}

    assert find_role("fact-checker", own) == Role(title="Fact checker", prompt="You check facts.")
    assert "You check facts." in system_prompt(AgentSpec("agent", "fact-checker"), **own)


def test_a_role_of_ones_own_can_say_everything() -> None:
    own = RoleConfig(prompt="You decide.", title="Judge", icon="⚖", duty="verdict")

    assert find_role("judge", {"judge": own}) == Role(
        title="Judge", prompt="You decide.", icon="⚖", duty="verdict"
    )
    assert " verdict approve " in system_prompt(AgentSpec("agent", "judge"), judge=own)


def test_a_shipped_role_keeps_what_is_not_changed() -> None:
    shipped = built_in_roles()["reviewer"]
    changed = find_role("reviewer", {"reviewer": RoleConfig(prompt="You review briefly.")})

    assert changed.prompt == "You review briefly."
    assert (changed.title, changed.icon, changed.duty) == (shipped.title, shipped.icon, shipped.duty)
    assert find_role("reviewer", {}) == shipped, "the shipped role itself stays"


def test_the_nearest_prompt_wins() -> None:
    configured = {"coder": RoleConfig(prompt="You write COBOL.")}
    told = system_prompt(AgentSpec("agent", "coder"), **configured)
    told_by_the_agent = system_prompt(AgentSpec("agent", "coder", prompt="You write Ada."), **configured)

    assert "You write COBOL." in told
    assert built_in_roles()["coder"].prompt.strip() not in told
    assert "You write Ada." in told_by_the_agent
    assert "COBOL" not in told_by_the_agent


def test_an_unknown_role_names_those_there_are() -> None:
    own = {"historian": RoleConfig(prompt="You check dates.")}

    with pytest.raises(UsageError, match=r"'poet'.*architect.*historian.*\[roles\.poet\]"):
        find_role("poet", own)


def test_a_role_without_a_prompt_says_what_to_add() -> None:
    with pytest.raises(UsageError, match=r"'poet'.*prompt.*\[roles\.poet\]"):
        find_role("poet", {"poet": RoleConfig(title="Poet")})


def test_an_unknown_role_in_a_strategy_is_found_before_the_run() -> None:
    strategy = Strategy(name="one", agents=(AgentSpec("agent", "poet"),))

    with pytest.raises(UsageError, match="poet"):
        Client(Config(), env={}).collaborate("Sort a list", strategy=strategy)
