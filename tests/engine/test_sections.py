"""Sections: their names, when they are done, and whose text stands for their answer."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from facilitair.engine.sections import OPENING, Section, joined, section_infos
from facilitair.engine.turn import Phase

from .harness import planned
from .parts import graph, turn_of

PLAN = planned(graph("abc"))


@given(st.lists(st.text(min_size=1)).map(tuple))
def test_every_title_gets_an_id_of_its_own_that_a_chunk_s_id_can_begin_with(titles: tuple[str, ...]) -> None:
    infos = section_infos(titles)
    ids = [info.id for info in infos]
    assert [info.title for info in infos] == list(titles)
    assert len({*ids, OPENING.id}) == len(ids) + 1
    assert all(re.fullmatch(r"[^\W_]+(-[^\W_]+)*-?(-\d+)?", name) for name in ids)


def test_ids_are_made_from_titles() -> None:
    infos = section_infos(("Data model", "data-model!", "DATA MODEL", "Task", "???", "W" * 99))
    assert [info.id for info in infos] == [
        "data-model", "data-model-2", "data-model-3", "task-2", "section", "w" * 40,
    ]  # fmt: skip


def section(*phases: Phase, texts: str = "") -> Section:
    """Return a section with turns of a, b, c in those phases; those named in `texts` have written."""
    names = "abc"[: len(phases)]
    turns = [
        turn_of(PLAN, n, text=f"Text of {n}." if n in texts else "", phase=phase)
        for n, phase in zip(names, phases, strict=True)
    ]
    return Section(OPENING, turns, gets_answer=True)


def test_it_is_settled_when_all_turns_have_ended_and_no_round_may_come() -> None:
    assert not section(Phase.DONE, Phase.HOLDING).settled
    assert section(Phase.DONE, Phase.SKIPPED).settled
    assert not replace(section(Phase.DONE, Phase.SKIPPED), loop_open=True).settled


def test_it_is_done_when_its_answer_stands() -> None:
    written, synthesis = section(Phase.DONE), turn_of(PLAN, "synthesizer")
    done = [written.done]
    written.synthesis = synthesis
    written.said = True  # which is for sections that nobody writes an answer for
    done.append(written.done)
    synthesis.phase = Phase.DONE
    done.append(written.done)
    written.turns[0].phase = Phase.RETRYING
    done.append(written.done)
    assert done == [False, False, True, False]


def test_it_is_done_when_an_agent_s_text_was_said_to_be_the_answer() -> None:
    written = section(Phase.DONE)
    written.said = True
    assert written.done


def test_an_opening_gets_no_answer() -> None:
    opening = section(Phase.DONE)
    opening.gets_answer = False
    assert opening.done


def test_the_latest_is_the_turn_planned_last_that_has_text() -> None:
    here = section(Phase.DONE, Phase.DONE, Phase.DONE, texts="ab")
    second = turn_of(PLAN, "a", 2, "More of a.")
    here.turns.append(second)
    assert here.latest("ab") is second
    assert here.latest("bc") is here.turns[1]
    assert here.latest("c") is None
    assert here.of("a") == [here.turns[0], second]


def test_the_answering_agent_stands_before_the_deliverables() -> None:
    strategy = replace(PLAN.strategy, synthesizer=None, answer="c", deliverables=(("b",), ("a", "c")))
    here = section(Phase.DONE, Phase.DONE, Phase.DONE, texts="abc")
    assert joined(here.standing(strategy)) == "Text of c."
    here = section(Phase.DONE, Phase.DONE, Phase.DONE, texts="ab")
    assert joined(here.standing(strategy)) == "Text of b.\n\nText of a."
    here = section(Phase.DONE, Phase.DONE, Phase.DONE, texts="a")
    assert joined(here.standing(strategy)) == "Text of a."
    assert joined(section(Phase.DONE).standing(strategy)) == ""


def test_without_deliverables_the_text_furthest_down_the_graph_stands() -> None:
    here = section(Phase.DONE, Phase.DONE, Phase.DONE, texts="ab")
    assert joined(here.standing(PLAN.strategy)) == "Text of b."
