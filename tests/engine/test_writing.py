"""From released text to events, line by line."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from facilitair.engine.provenance import Cut, Fragment
from facilitair.engine.rulings import Retraction
from facilitair.engine.turn import AgentTurn
from facilitair.engine.writing import Writer
from facilitair_rust import Control

from .harness import planned
from .parts import graph, turn_of

PLAN = planned(graph("a"))


class Listener:
    """Notes what is said, in order, and does what a control line asks."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.said: list[str] = []
        self.marks: list[str] = []  # of what was said, what is no text
        self.shown = ""
        self.stop_at = stop_at

    def stops(self, turn: AgentTurn) -> bool:
        return self.stop_at is not None and len(turn.provenance.parts) >= self.stop_at

    def mark(self, mark: str) -> None:
        self.said.append(mark)
        self.marks.append(mark)

    def started(self, turn: AgentTurn) -> None:
        raise AssertionError

    def wrote(self, turn: AgentTurn, tokens: str, keep: int | None = None) -> None:
        self.shown = self.shown[:keep] + tokens
        self.said.append(tokens if keep is None else f"<back to {keep}>")

    def closed_fragment(self, turn: AgentTurn, fragment: Fragment) -> None:
        self.mark(f"#{fragment.id.rpartition('#')[2]}")

    def cut(self, turn: AgentTurn, cut: Cut, why: Retraction, /) -> None:
        raise AssertionError

    def completed(self, turn: AgentTurn) -> None:
        raise AssertionError

    def control(self, turn: AgentTurn, control: Control) -> str:
        self.mark(f"<{control.verb} {control.rest}>")
        if control.verb == "retract":
            fragment = turn.provenance.named(control.rest)
            assert fragment is not None
            turn.cut(fragment.start, frozenset())
        return f"It is {control.rest}." if control.verb == "verdict" else ""


def listened(text: str, *cuts: int) -> tuple[Listener, AgentTurn]:
    """Write `text`, in which "@@" is the run's mark, in the pieces that the cuts make."""
    text = text.replace("@@", f"@@{PLAN.nonce}")
    turn, listener = turn_of(PLAN, "a"), Listener()
    edges = sorted({0, len(text), *(c % (len(text) + 1) for c in cuts)})
    for start, end in pairwise(edges):
        Writer(turn, listener, listener).write(text[start:end])
    Writer(turn, listener, listener).finish()
    return listener, turn


def test_the_text_of_one_delta_is_said_once_before_the_fragments_it_closed() -> None:
    listener, turn = listened("One. Two. Three")
    assert listener.said == ["One. Two. Three", "#1", "#2", "#3"]
    assert [f.end for f in turn.provenance.fragments.values()] == [5, 10, 15]
    assert turn.attention.own_since == 1  # block


def test_a_control_line_takes_effect_before_what_follows_it() -> None:
    listener, turn = listened("One. Two. \n@@ retract #2\nThree.")
    assert listener.said == ["One. Two. \n", "#1", "#2", "<retract #2>", "\n\nThree.", "#3"]
    assert turn.text == "One. \n\nThree."


def test_what_a_retraction_in_the_same_breath_took_back_is_no_fragment() -> None:
    listener, turn = listened("One. \n@@ retract #1\nTwo.")
    assert list(turn.provenance.fragments) == ["task/a.1#2"]
    assert turn.text == "Two."
    assert listener.said[-2:] == ["Two.", "#2"]


def test_what_stands_for_a_control_line_is_a_paragraph() -> None:
    assert listened("One.\n@@ verdict so\nTwo.")[1].text == "One.\n\nIt is so.\n\nTwo."
    listener, turn = listened("One.\n\n@@ verdict so")
    assert turn.text == "One.\n\nIt is so.\n\n"
    assert listener.said == ["One.\n\n", "#1", "<verdict so>", "It is so.\n\n", "#2"]


def test_a_write_says_whether_it_closed_a_block() -> None:
    turn, listener = turn_of(PLAN, "a"), Listener()

    def write(text: str) -> bool:
        return Writer(turn, listener, listener).write(text)

    assert not write("One. Two")
    assert not write(".\n\n")
    assert write("Three")
    assert not write("")
    assert [(part.end, part.size, part.code) for part in turn.provenance.parts] == [(11, 9, False)]


def test_who_is_stopped_where_its_text_may_end_shows_and_keeps_nothing_behind_that() -> None:
    turn, listener = turn_of(PLAN, "a"), Listener(stop_at=1)
    Writer(turn, listener, listener).write(f"One.\n\nTwo.\n@@{PLAN.nonce} object #1 no\nThree.\n\nFour.")
    assert turn.text == "One.\n\n"
    assert listener.said == ["One.\n\n", "#1"]


def test_a_label_in_front_of_a_control_line_is_taken_back() -> None:
    turn, listener = turn_of(PLAN, "a"), Listener()
    for piece in ("One.\n\n**Note:** ", f"`@@{PLAN.nonce} object #1 no`", "\nTwo."):
        Writer(turn, listener, listener).write(piece)
    assert turn.text == "One.\n\nTwo."
    assert listener.said[-3:] == ["<back to 6>", "<object #1 no>", "Two."]


def test_what_an_answer_takes_over_is_a_block_of_its_own() -> None:
    turn, listener = turn_of(PLAN, "a"), Listener()
    Writer(turn, listener, listener).write("See:")
    piece = f"```py\n@@{PLAN.nonce} retract #1\n```\n"
    Writer(turn, listener, listener).insert(piece, "@@x include b", "task/b.1")
    Writer(turn, listener, listener).write("Done.")
    assert turn.text == f"See:\n\n{piece}\nDone."
    assert turn.prompted == "See:\n\n@@x include b\n\nDone."


lines = st.sampled_from(
    [
        "One. ", "Two\n", "\n", "- item\n", "\n@@ object #1 no\n", "**Note:** `@@ object #1 no`\n",
        "\n@@ verdict so\n", "```\n", "é🦀. ",
    ]
)  # fmt: skip


@given(st.lists(lines, max_size=12).map("".join), st.lists(st.integers(0, 200), max_size=8))
def test_the_pieces_in_which_a_text_comes_make_no_difference(text: str, cuts: list[int]) -> None:
    (whole, turn), (pieces, other) = listened(text), listened(text, *cuts)
    assert pieces.marks == whole.marks
    assert pieces.shown == whole.shown == turn.text == other.text
    assert turn.provenance.fragments == other.provenance.fragments
