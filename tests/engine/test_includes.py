"""What an answer takes over byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from facilitair import Edge, Strategy
from facilitair import events as ev
from facilitair.engine.control import Include
from facilitair.engine.graph import AgentSpec, Loop
from facilitair.engine.includes import Insert, as_prompted, expanded, prompted_position, text_position
from facilitair.simulator.prompt import Prompt

from .harness import SYNTHESIZER, Played, apart, planned, play, reviewer, says, sentences
from .parts import graph, turn_of

PLAN = planned(graph(("coder",)))
FILES = "Two files.\n\n```py title=a.py\na = 1\n\n\n@@x done\n```\n\n**`b.py`**\n\n```py\nb = 2\n```\n\nThat is all."
A, B = "```py title=a.py\na = 1\n\n\n@@x done\n```", "**`b.py`**\n\n```py\nb = 2\n```"


@pytest.mark.parametrize(
    ("wanted", "piece"),
    [
        (Include("coder", ""), f"{A}\n\n{B}\n"),
        (Include("coder", "", file="a.py"), f"{A}\n"),
        (Include("coder", "", file="b.py"), f"{B}\n"),
        (Include("coder", "", file="c.py"), None),
        (Include("coder", "", first=1, last=1), "Two files.\n"),
        (Include("coder", "", first=7, last=9), None),
    ],
)
def test_files_are_taken_whole_and_prose_by_range(wanted: Include, piece: str | None) -> None:
    assert expanded(wanted, turn_of(PLAN, "coder", text=FILES)) == piece


def answered(line: str, *, coder: str = FILES, more: str = "Behind it.", **models: str) -> Played:
    """Play a coder, and a synthesizer that writes `line` amid its text."""
    strategy = replace(apart(coder=models.get("coder", "coder")), synthesizer=SYNTHESIZER)

    def text(prompt: Prompt) -> str:
        return f"Before it.\n\n@@{prompt.nonce} {line}\n\n{more}"

    return play({"coder": says(coder), "synthesizer": says(text)}, strategy=strategy)


@pytest.mark.parametrize("line", ["include coder", "include `coder`", "include coder a.py"])
def test_code_takes_the_place_of_the_line(line: str) -> None:
    played = answered(line, coder=FILES + "\n\n" + sentences("coder", 9))
    assert isinstance(played.last, ev.TaskCompletedEvent)
    piece = A if line.endswith("a.py") else f"{A}\n\n{B}"
    assert played.last.content == f"Before it.\n\n{piece}\n\nBehind it."
    assert played.last.degraded == ()


def test_an_answer_may_be_nothing_else() -> None:
    script = says(lambda prompt: f"@@{prompt.nonce} include coder")
    played = play({"coder": says(FILES), "synthesizer": script}, strategy=apart(coder="coder"))
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.content.rstrip("\n") == f"{A}\n\n{B}"


@pytest.mark.parametrize("line", ["include nobody", "include coder z.py", "include coder #40-#41"])
def test_what_is_not_there_is_a_visible_error(line: str) -> None:
    played = answered(line)
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert (
        played.last.content == f"Before it.\n\nBehind it.\n\n{A}\n\n{B}\n"
    )  # what an answer lacks is supplied
    assert played.last.degraded == (
        f"synthesizer on task: wanted to include {line[8:]}, and there is no such work",
    )


def test_what_stands_behind_an_open_work_waits_for_it() -> None:
    played = answered("include coder", coder=f"{FILES}\n\n{sentences('coder', 40)}")
    closed = played.completed("coder").ts
    shown = [e.ts for e in played.of(ev.SynthesisStreamEvent) if "Behind" in e.tokens]
    assert shown[0] >= closed
    assert played.of(ev.SynthesisStreamEvent)[0].ts < closed


@pytest.mark.parametrize("verdict", ["approve", "revise it is wrong"])
def test_a_refined_work_takes_the_place_of_the_first(verdict: str) -> None:
    agents = tuple(AgentSpec(n, n, model=f"simulator/{n}") for n in ("coder", "reviewer", "refiner"))
    strategy = Strategy(
        name="reviewed",
        agents=agents,
        edges=(Edge("coder", "reviewer", "live"), Edge("coder", "refiner"), Edge("reviewer", "refiner")),
        loop=Loop("reviewer", "refiner", 1),
        synthesizer=SYNTHESIZER,
        deliverables=(("coder", "refiner"),),
    )
    scripts = {
        "coder": says(f"{FILES}\n\n{sentences('coder', 9)}"),
        "reviewer": reviewer(verdict),
        "refiner": says(FILES.replace("a = 1", "a = 3")),
        "synthesizer": says(lambda prompt: f"@@{prompt.nonce} include coder\n"),
    }
    played = play(scripts, strategy=strategy)
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert ("a = 1" in played.last.content) == (verdict == "approve")
    assert ("a = 3" in played.last.content) == (verdict != "approve")
    assert played.last.degraded == ()


@pytest.mark.parametrize("option", ["", "+resume"])
def test_in_a_continuation_stands_the_line_alone(option: str) -> None:
    def text(prompt: Prompt) -> str:
        return f"First.\n\n@@{prompt.nonce} include coder\n\n{sentences('synthesizer', 30)}"

    strategy = replace(
        apart(coder="coder"),
        synthesizer=replace(SYNTHESIZER, model=f"simulator/synthesizer+cutx1=0.6{option}"),
    )
    played = play({"coder": says(FILES), "synthesizer": says(text)}, strategy=strategy)
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.content == f"First.\n\n{A}\n\n{B}\n\n{sentences('synthesizer', 30)}"
    assert played.last.degraded == ()
    bodies = [r.body.decode() for r in played.transport.requests if b'"synthesizer' in r.body]
    assert len(bodies) == 2
    assert bodies[1].count("a = 1") == bodies[0].count("a = 1")
    assert " include coder" in bodies[1]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30), st.integers(0, 9)), max_size=4),
    st.integers(0, 99),
)
def test_positions_go_there_and_back(spans: list[tuple[int, int, int]], at: int) -> None:
    text, inserts = "", list[Insert]()
    for before, length, line in spans:
        text += "w" * before
        inserts.append(Insert(len(text), len(text) + length, "@" * line, "task/coder.1"))
        text += "c" * length
    text += "end"
    shown = as_prompted(text, inserts)
    place = at % (len(text) + 1)
    if not any(i.start < place < i.end for i in inserts):
        moved = prompted_position(place, inserts)
        assert 0 <= moved <= len(shown)
        assert text_position(moved, inserts) == place or any(i.start == place for i in inserts)


@pytest.mark.parametrize(("own", "supplied"), [("All is said.", True), ("So:\n\n```py\nc = 3\n```\n", False)])
def test_code_that_an_answer_leaves_out_stands_at_its_end(own: str, supplied: bool) -> None:
    strategy = replace(apart(coder="coder"), synthesizer=SYNTHESIZER)
    played = play({"coder": says(FILES), "synthesizer": says(own)}, strategy=strategy)
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.content.rstrip("\n") == (f"{own}\n\n{A}\n\n{B}" if supplied else own.rstrip("\n"))
    assert ("left out the code of coder" in played.said()) == supplied
    assert [a.name for a in played.last.artifacts] == (["a.py", "b.py"] if supplied else [])
    assert {a.agent for a in played.last.artifacts} <= {"coder"}
