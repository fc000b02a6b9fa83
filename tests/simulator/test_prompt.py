"""What a script understands of its messages; above all of those that the engine writes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.config import LimitsConfig
from facilitair.engine.graph import AgentSpec
from facilitair.engine.influence import ConcernedPolicy
from facilitair.engine.plan import Plan, PlannedAgent
from facilitair.engine.prompts import Asking, Assignment, Excerpt, Own, Quote, Shown, compose
from facilitair.engine.strategies import BUILT_IN
from facilitair.events import Tier
from facilitair.roles import built_in_roles
from facilitair.simulator.prompt import Peer, Prompt, Turn, rest_of
from tests.simulator.chat import NONCE, TASK

OWN = "First of all, this.\n\nThen that, "
FIRST = Shown(
    0, (Excerpt((Quote("impl/architect.1#1", "the architect", "Keep it small.\n\n```go\nx\n```\n"),)),)
)
LATER = Shown(
    len(OWN),
    (
        Excerpt(
            (
                Quote("impl/coder.1#1", "the coder", "A first piece. "),
                Quote("impl/coder.1#2", "the coder", "A second piece.\n"),
                Quote("impl/coder.1#3", "the coder", "```go\ny\n```\n"),
            ),
            "still being written",
        ),
        Excerpt((Quote("impl/tester.2#1", "the tester", "It fails."),)),
    ),
)


def written(
    role: str, tier: Tier = "prefill", own: str = "", *, asking: Asking = Asking.TEXT, **context: Any
) -> Prompt:
    """Return the engine's own prompt as a script reads it."""
    plan = Plan(
        nonce=NONCE, task=f"{TASK}\n\nTask: something else", context=context,
        strategy=BUILT_IN["balanced"], agents={}, sections=None, limits=LimitsConfig(), policy=ConcernedPolicy(),
    )  # fmt: skip
    agent = PlannedAgent(AgentSpec(role, role), built_in_roles()[role], ())
    outline = () if role == "architect" else ("Design", "Implementation")
    work = Assignment(agent, "Implementation", outline, wants_outline=role == "architect")
    brief = compose(plan, work, [FIRST, LATER] if own else [FIRST], Own(own, asking=asking), tier)
    turns = [Turn(message.role, message.content) for message in brief.messages]
    return Prompt((*turns, *([Turn("assistant", brief.prefill)] if brief.prefill else [])))


def test_it_reads_task_context_and_section_as_the_engine_writes_them() -> None:
    prompt = written("coder", language="Go", frameworks=["chi", "sqlc"])
    assert (prompt.task, prompt.section) == (TASK, "Implementation")
    assert (prompt.language, prompt.framework) == ("Go", "chi, sqlc")
    assert (prompt.own, prompt.prefilled) == ("", False)


@pytest.mark.parametrize("tier", ["prefill", "resume"])
def test_it_reads_what_peers_wrote_and_what_it_wrote_itself(tier: Tier) -> None:
    prompt = written("coder", tier, OWN)
    assert prompt.peers == (
        Peer("impl/architect.1#1", "impl/architect.1#1", "architect", "Keep it small.\n\n```go\nx\n```"),
        Peer("impl/coder.1#1", "impl/coder.1#3", "coder", "A first piece. A second piece.\n```go\ny\n```"),
        Peer("impl/tester.2#1", "impl/tester.2#1", "tester", "It fails."),
    )
    assert prompt.own.rstrip() == OWN.rstrip()
    assert prompt.prefilled == (tier == "prefill")
    assert prompt.anchor == ("" if tier == "prefill" else OWN.rstrip())
    assert not prompt.is_last


@pytest.mark.parametrize("role", ["coder", "reviewer"])
def test_a_last_request_is_known_by_the_verbs_it_offers(role: str) -> None:
    prompt = written(role, "prefill", OWN, asking=Asking.LAST)
    assert (prompt.own, prompt.is_last) == (OWN, True)


def test_it_knows_which_control_line_it_owes() -> None:
    wants = {role: (written(role).wants_outline, written(role).wants_verdict) for role in built_in_roles()}
    assert wants.pop("architect") == (True, False)
    assert wants.pop("reviewer") == (False, True)
    assert set(wants.values()) == {(False, False)}
    assert {written(role).nonce for role in built_in_roles()} == {NONCE}


def test_prompts_by_hand_are_read_too() -> None:
    by_hand = "Sort these names\n- language: Rust\n- Framework: axum\nSection: Sorting"
    prompt = Prompt((Turn("system", "Be brief."), Turn("user", by_hand)))
    assert (prompt.task, prompt.language, prompt.framework) == ("Sort these names", "Rust", "axum")
    assert (prompt.section, prompt.nonce) == ("Sorting", None)


@pytest.mark.parametrize(
    "context", ["Context:\n{broken", "Context: {}", 'Context:\n{"language": null}', "Context:\n" + "{" * 9]
)
def test_a_context_that_says_nothing_is_passed_over(context: str) -> None:
    assert Prompt((Turn("user", f"Task: x\n\n{context}"),)).language == ""


@given(st.text(), st.floats(0, 1))
def test_a_text_is_continued_exactly_where_it_was_cut(whole: str, cut: float) -> None:
    own = whole[: int(len(whole) * cut)]
    assert own + rest_of(whole, own) == whole


@given(st.text(min_size=1))
def test_trimmed_blanks_are_restored(whole: str) -> None:
    own = whole.rstrip()
    assert own + rest_of(whole, own) == whole
