"""Where a reply meets the text that it was asked to go on from."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facilitair.engine.seam import (
    ANCHOR,
    ContinuationSeam,
    FirstSeam,
    LastSeam,
    LineSeam,
    Outcome,
    Passage,
    Seam,
    anchor_of,
    gap,
)

NONCE = "k3v9x0qa"
OWN = (
    "# Plan\n\nThe service keeps its links in one table, and every link has an owner who may delete it.\n\n"
    "- Slugs are random.\n- They never expire.\n\nRequests are counted for each owner and minute.\n\n"
)
REST = "Whoever is over the limit waits.\n\n```py\nLIMIT = 60\n```\n"
CODE = "See:\n\n```py\ndef first(items):\n    return items[0]\n\n\n"


def said(seam: Seam, reply: str, cuts: list[int] | None = None, *, whole: bool = True) -> list[Passage]:
    """Feed `reply` in pieces and return what the seam gives."""
    edges = sorted({0, len(reply), *(c % (len(reply) + 1) for c in cuts or [])})
    given_: list[Passage] = []
    for start, end in pairwise(edges):
        given_.append(seam.feed(reply[start:end]))
        given_.append(seam.feed(given_[-1].rest))
    return [*given_, seam.end(whole=whole)]


def result(own: str, passages: list[Passage]) -> str:
    """Return the text that `own` becomes."""
    for passage in passages:
        if passage.keep is not None:
            own = own[: passage.keep] + gap(own[: passage.keep], fenced=False)
        own += passage.text
    return own


def continuation(own: str = OWN, *, patient: bool = True, fenced: bool = False) -> ContinuationSeam:
    return ContinuationSeam(own, nonce=NONCE, anchor=anchor_of(own), fenced=fenced, patient=patient)


def continued(reply: str, own: str = OWN, *, patient: bool = False, fenced: bool = False) -> str:
    return result(own, said(continuation(own, patient=patient, fenced=fenced), reply))


# --- the anchor ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "anchor"),
    [
        (OWN, "are counted for each owner and minute."),
        ("A short text.\n", "A short text."),
        ("Some text\n\nEnd.\n", "Some text\n\nEnd."),
        ("x = 1\nfor y in range(10):\n    f()\n}\n", "f()\n}"),
        (f"{'x' * 100}", "x" * ANCHOR),
    ],
)
def test_an_anchor_is_the_end_of_the_last_line_from_a_word_on(own: str, anchor: str) -> None:
    assert anchor_of(own) in (anchor, own.rstrip()[-len(anchor_of(own)) :])
    assert own.rstrip().endswith(anchor_of(own))
    assert anchor_of(own)[0].strip()


@pytest.mark.parametrize(
    "head",
    [
        "are counted for each owner and minute.",
        "are  counted for\neach owner   and minute.",
        "Requests are counted for each owner and minute.",
        "- They never expire.\n\nRequests are counted for each owner and minute.",
        "Sure, here is the rest:\n\nare counted for each owner and minute.",
        "Gern!\n\nHier der Rest:\n\nare counted for each owner and minute.",
        '"are counted for each owner and minute."',
        "**are counted for each owner and minute.**",
        "> are counted for each owner and minute.",
    ],
)
@pytest.mark.parametrize("line", ["", "\n", "\n\n", " "])
def test_what_stands_before_the_next_block_is_cut(head: str, line: str) -> None:
    assert continued(head + line + REST, patient=True) == OWN + REST


def test_a_line_deeper_in_the_reply_that_reads_the_same_is_no_anchor() -> None:
    reply = "## Owners\n\nA second table.\n\nRequests are counted for each owner and minute.\n\nMore.\n"
    assert continued(reply) == OWN + reply
    assert said(continuation(), reply)[-1] == Passage()


@pytest.mark.parametrize("reply", [REST * 9, "Thanks for the update, I have read it.", "No changes needed."])
def test_a_miss_is_asked_again_and_then_begins_a_block(reply: str) -> None:
    seam = continuation()
    assert all(passage == Passage() for passage in said(seam, reply))
    assert seam.outcome is Outcome.MISSED
    assert continued(reply) == OWN + reply


@pytest.mark.parametrize("reply", ["", " \n", "are counted for each owner and minute.", OWN, OWN[:120]])
def test_a_reply_that_says_nothing_new_is_nothing(reply: str) -> None:
    seam = continuation()
    assert result(OWN, said(seam, reply)) == OWN
    assert seam.outcome is Outcome.NOTHING


# --- restarts and repetitions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchor", [True, False])
def test_a_restart_goes_on_where_the_own_text_ends(anchor: bool) -> None:
    seam = ContinuationSeam(OWN, nonce=NONCE, anchor=anchor_of(OWN) if anchor else None)
    assert result(OWN, said(seam, OWN + REST, [5, 80, 200, 260])) == OWN + REST


def test_a_restart_that_differs_replaces_the_text_from_there() -> None:
    anew = OWN.replace("They never expire", "They expire after a year") + REST
    passages = said(continuation(), anew, [10, 100, 150, 240])
    assert [p.keep for p in passages if p != Passage()] == [OWN.index("- Slugs")]
    assert result(OWN, passages) == anew


def test_a_restart_that_is_cut_off_replaces_nothing() -> None:
    anew = OWN.replace("They never expire", "They expire after a year") + REST
    assert result(OWN, said(continuation(), anew, whole=False)) == OWN


def test_a_restart_in_other_words_is_followed_when_it_comes_again() -> None:
    anew = OWN.replace("keeps its links", "stores its links") + REST
    assert said(continuation(), anew)[-1] == Passage()
    assert continued(anew) == anew


def test_parts_that_begin_alike_are_no_restart() -> None:
    def part(number: int) -> str:
        return (
            f"## Part {number}\n\nThe code of part {number} reads its settings from the table and waits.\n\n"
        )

    assert continued(part(2), part(1)) == part(1) + part(2)


@pytest.mark.parametrize(
    "repeated", ["Requests are counted for each owner and minute.", "are counted for each owner and minute."]
)
def test_an_exact_repetition_of_the_end_is_cut(repeated: str) -> None:
    for line in ("\n\n", " "):
        assert continued(repeated + line + REST) == OWN + REST


def test_a_last_block_longer_than_what_is_held_is_cut() -> None:
    code = "```py\n" + "".join(f"value_{n} = {n}\n" for n in range(60)) + "```\n\n"
    own = f"See:\n\n{code}"
    assert continued(code + REST, own) == own + REST


@pytest.mark.parametrize(
    ("own", "next_"),
    [
        ("| a | b |\n|---|---|\n| 0 | 0 |\n\n", "| 0 | 0 |\n"),
        (
            "Refrain, refrain, la la la la la.\n\nFirst verse of it.\n\n",
            "Refrain, refrain, la la la la la.\n",
        ),
        ("List:\n\n- the same item again\n\n", "- the same item again\n"),
        ("```ts\n// a.ts\nimport x from 'x';\n```\n\n", "```ts\n// b.ts\nimport x from 'x';\n```\n"),
    ],
)
def test_legitimate_repetition_is_kept(own: str, next_: str) -> None:
    assert continued(f"{anchor_of(own)}\n\n{next_}", own, patient=True) == own + next_


@pytest.mark.parametrize("verb", ["retract #2 wrong", "object task/a.1#1 no", "verdict revise it"])
@pytest.mark.parametrize("patient", [True, False])
def test_a_control_line_at_the_head_takes_effect(verb: str, patient: bool) -> None:
    line = f"@@{NONCE} {verb}\n"
    assert continued(f"{line}More.", patient=patient) == f"{OWN}{line}More."


def test_a_text_that_ends_as_it_begins_is_continued_at_its_end() -> None:
    own = "La la la, refrain.\n\nVerse one.\n\nLa la la, refrain.\n\n"
    for patient in (True, False):
        assert continued("La la la, refrain.\n\nVerse two.", own, patient=patient) == f"{own}Verse two."
        assert continued(f"{own}Verse two.", own, patient=patient) == f"{own}Verse two."


@pytest.mark.parametrize(("mark", "closing"), [('"', '"'), ("`", "`"), ("**", "**"), ("“", "”"), ("„", "“")])
def test_a_quoted_anchor_is_cut_with_its_marks_however_it_comes(mark: str, closing: str) -> None:
    reply = f"{mark}are counted for each owner and minute.{closing}\n\n{REST}"
    for cuts in ([], list(range(len(reply))), [len(reply) - len(REST) - 3]):
        assert result(OWN, said(continuation(), reply, cuts)) == OWN + REST


# --- inside code ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "rest"),
    [
        (
            "return items[0]\n\n\ndef last(items):\n    return items[-1]\n```\n",
            "def last(items):\n    return items[-1]\n```\n",
        ),
        ("```py\nreturn items[0]\n\n\ndef last(items):\n", "def last(items):\n"),
        ("```\nreturn items[0]\n\n\ndef last(items):\n", "def last(items):\n"),
        ("```py\ndef last(items):\n    return 1\n", "def last(items):\n    return 1\n"),
        ("```\n\nDone.\n", "```\n\nDone.\n"),
        ("    return items[0]\n    # more\n", "    # more\n"),
    ],
)
def test_inside_a_fence_code_goes_on(reply: str, rest: str) -> None:
    assert continued(reply, CODE, fenced=True) == CODE + rest


def test_code_goes_on_in_place_with_its_indent() -> None:
    own = "```py\nclass A:\n    x = 1\n\n"
    seam = ContinuationSeam(own, nonce=NONCE, anchor=None, fenced=True)
    assert result(own, said(seam, "\n    y = 2\n", [1, 3])) == own + "    y = 2\n"


# --- other seams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "gap_"), [("One.", "\n\n"), ("One.\n", "\n"), ("One.\n\n", ""), ("", "")])
@pytest.mark.parametrize("reply", ["Two.", " Two.", "\n\n\nTwo."])
def test_a_line_is_never_joined_to_what_stands_before(own: str, gap_: str, reply: str) -> None:
    assert result(own, said(LineSeam(own, fenced=False), reply)) == f"{own}{gap_}Two."


def test_blanks_alone_are_no_answer() -> None:
    seam = FirstSeam()
    assert said(seam, " \n\n ")[-1] == Passage()
    assert seam.outcome is Outcome.OPEN


@pytest.mark.parametrize("first", ["## Design", "# 2. Design", "### **Design:**", "\n\n# design"])
def test_a_heading_that_stands_above_already_is_no_part_of_the_text(first: str) -> None:
    for cuts in ([], [1, 3, 7]):
        assert result("", said(FirstSeam("## Design\n\n"), f"{first}\n\nText.", cuts)) == "Text."
        assert result("", said(FirstSeam("## Design\n\n"), "# Other\n\nText.", cuts)) == "# Other\n\nText."
    assert result("", said(FirstSeam("## Design\n\n"), "# Other")) == "# Other"


@pytest.mark.parametrize(
    "verb",
    [
        "@@{n} add",
        "`@@{n} add`",
        "**@@{n} add**",
        "    @@{n} add",
        "Answer: @@{n} add",
        "```\n@@{n} add\n```",
    ],
)
def test_what_a_last_reply_adds_is_what_follows_its_verb(verb: str) -> None:
    seam = LastSeam(OWN, nonce=NONCE)
    reply = f"Here you are.\n{verb.format(n=NONCE)}\nOne more thing.\n"
    passages = said(seam, reply, [3, 20, 40])
    assert result(OWN, passages) == f"{OWN}One more thing.\n"
    assert seam.outcome is Outcome.TEXT


@pytest.mark.parametrize("verb", ["done", "verdict approve fine"])
def test_a_last_reply_that_adds_nothing_leaves_the_text(verb: str) -> None:
    seam = LastSeam(OWN, nonce=NONCE)
    passages = said(seam, f"@@{NONCE} {verb}\nThat is all.\n")
    assert result(OWN, passages) == OWN
    assert [order.verb for p in passages for order in p.orders] == [verb.split()[0]]


@pytest.mark.parametrize("reply", ["No changes needed.", OWN + REST, ""])
def test_a_last_reply_that_does_not_say_what_it_is_is_no_text(reply: str) -> None:
    seam = LastSeam(OWN, nonce=NONCE)
    assert all(passage == Passage() for passage in said(seam, reply))
    assert seam.outcome is Outcome.UNORDERED
    assert seam.said == reply


words = st.sampled_from(
    [
        "word ",
        "Two. ",
        "end.\n\n",
        "- item\n",
        "```py\n",
        "```\n",
        "| a |\n",
        "# Head\n",
        "\n",
        f"@@{NONCE} add\n",
        "x" * 90,
    ]
)
texts = st.lists(words, max_size=12).map("".join)


# Control lines are taken out of a text; what a reply does with them has tests of its own above.
without_orders = texts.filter(lambda text: bool(text.strip()) and "@@" not in text)


@given(
    without_orders, without_orders, st.lists(st.integers(0, 400), max_size=6), st.booleans(), st.booleans()
)
def test_splits_do_not_change_what_a_seam_gives(
    own: str, reply: str, cuts: list[int], repeats: bool, patient: bool
) -> None:
    reply = own + reply if repeats else reply

    def given_by(seam: Seam, places: list[int]) -> tuple[str, Outcome]:
        return result(own, said(seam, reply, places)), seam.outcome

    kinds = (
        lambda: continuation(own, patient=patient),
        lambda: ContinuationSeam(own, nonce=NONCE, anchor=None),
        lambda: LineSeam(own, fenced=False),
        FirstSeam,
    )
    for kind in kinds:
        assert given_by(kind(), cuts) == given_by(kind(), [])


@given(texts.filter(str.strip), texts.filter(str.strip))
def test_no_word_is_ever_joined_to_a_word(own: str, reply: str) -> None:
    text = continued(reply, own)
    assert (
        text == own or text[len(own.rstrip()) :][:1] in ("", "\n", " ") or not text.startswith(own.rstrip())
    )
