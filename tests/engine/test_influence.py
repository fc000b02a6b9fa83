"""Live edges: who reads begins on ground, is told what concerns it, and loses or repeats none of its own text."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from facilitair import Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig, ProviderConfig
from facilitair.engine.influence import ConcernedPolicy, Overlap, Situation
from facilitair.simulator.brain import Script
from facilitair.simulator.manners import MANNERS
from facilitair.simulator.prompt import Prompt

from .harness import Played, apart, chain, play, says, sentences

PEER = "\n\n".join(
    f"The port of service{n} is {8000 + n}, and `load_{n}` opens it with the settings of the host."
    for n in range(12)
)


def own_text(parts: int = 8) -> str:
    """Return a text of prose, lists and code that the peer's concerns."""
    blocks: list[str] = []
    for n in range(parts):
        blocks.append(f"## Part {n}")
        blocks.append(
            f"Here service{n} opens its port {9000 + n}, and `open_{n}` loads the settings of the host."
        )
        if n % 2:
            opens = f"def open_{n}(host):\n    port = {9000 + n}\n    return host, port"
            body = f"{opens}\n\n\ndef close_{n}(host):\n    return None"
            blocks.append(f"```python\n{body}\n```")
        else:
            blocks.append(f"- item {n} one\n- item {n} two")
    return "\n\n".join(blocks)


def told(name: str, text: str | None = None, interrupts: int = 3, **script: object) -> Played:
    """Play an author of that name whom a peer's news concerns."""
    strategy = replace(apart(a="a", b=name), edges=(Edge("a", "b", "live"),))
    own = Script(text=own_text() if text is None else text, reasoning="Hm. " * 5, **script)  # type: ignore[arg-type]
    scripts = {"a": says(PEER), "b": own, "synthesizer": says("Done.")}
    return play(scripts, strategy=strategy, config=Config(limits=LimitsConfig(max_interrupts=interrupts)))


def interruptions(played: Played) -> int:
    return sum(e.agent == "b" and e.action == "continues" for e in played.of(ev.AgentReactionEvent))


@pytest.mark.parametrize("option", ["", "+resume"])
@pytest.mark.parametrize("manner", ["", *(f"+{name}" for name in MANNERS), "+contentx1", "+moody"])
def test_a_text_that_was_interrupted_is_whole_in_every_manner(manner: str, option: str) -> None:
    played = told(f"b{manner}{option}")
    assert interruptions(played)
    assert played.text("b") == own_text()
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.degraded == ()


@pytest.mark.parametrize(("manner", "words"), [("answersx9", 12), ("contentx9", 3)])
def test_a_remark_that_comes_twice_stays_a_block_of_its_own(manner: str, words: int) -> None:
    played = told(f"b+{manner}+resume", interrupts=1)
    text = played.text("b")
    assert own_text().startswith(text[: text.rindex("\n\n")].rstrip())
    assert len(text.rpartition("\n\n")[2].split()) >= words


@pytest.mark.parametrize("option", ["", "+resume"])
@pytest.mark.parametrize("manner", ["emptyx99", "echox99"])
def test_who_will_not_go_on_is_named(manner: str, option: str) -> None:
    if manner.startswith("echo") and not option:
        return  # in place there is nothing to repeat
    played = told(f"b+{manner}{option}")
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert [loss for loss in played.last.degraded if loss.startswith("b on task")]


@pytest.mark.parametrize("option", ["", "+resume"])
@pytest.mark.parametrize("share", ["0.2", "0.5", "0.8"])
def test_a_stream_that_breaks_in_mid_text_is_continued_once(share: str, option: str) -> None:
    played = told(f"b+cutx1={share}{option}", interrupts=0)
    assert played.text("b") == own_text()
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert played.last.degraded == ()


@pytest.mark.parametrize("option", ["", "+resume"])
def test_a_control_line_that_an_interruption_cuts_off_is_written_anew(option: str) -> None:
    def text(prompt: Prompt) -> str:
        line = f"\n@@{prompt.nonce} object task/a.1#1 because of a reason that takes many words\n\n"
        return "".join(f"The port of service{n} is {9000 + n}, of the host.{line}" for n in range(40))

    strategy = replace(apart(a="a", b=f"b{option}"), edges=(Edge("a", "b", "live"),))
    played = play({"a": says(PEER), "b": says(text), "synthesizer": says("Done.")}, strategy=strategy)
    assert interruptions(played)
    assert "@@" not in played.text("b")
    assert "because" not in played.text("b")


def test_nobody_begins_on_a_heading() -> None:
    heads = "# A long title of the whole\n\n## And one of its first part\n\n"
    scripts = {"a": says(heads + sentences("a", 12)), "b": says("B."), "synthesizer": says("Done.")}
    played = play(scripts, strategy=chain("a", "b"))
    (prompt, *_) = played.prompts("b")
    quoted = prompt.partition("begin: the coder a wrote")[2].partition(" end\n")[0]
    prose = [line for line in quoted.splitlines()[1:] if "#" not in line.partition("] ")[2][:1]]
    assert len("".join(prose)) >= 200
    assert "still being written" in quoted


def test_a_short_text_is_ground_when_it_has_ended() -> None:
    played = play(
        {"a": says("Short."), "b": says("B."), "synthesizer": says("Done.")}, strategy=chain("a", "b")
    )
    (prompt, *_) = played.prompts("b")
    assert ", complete\n[#1] Short." in prompt


def reviewed(text: str, **config: object) -> Played:
    agents = chain("a", "r").agents
    strategy = Strategy(
        name="review",
        agents=(agents[0], replace(agents[1], role="reviewer")),
        edges=(Edge("a", "r", "live"),),
        synthesizer=chain("a").synthesizer,
    )
    review = says(lambda p: f"I have read {len(p.peers)}.\n@@{p.nonce} verdict approve so it is\n")
    return play(
        {"a": says(text), "r": review, "synthesizer": says("Done.")},
        strategy=strategy,
        config=Config(**config),  # type: ignore[arg-type]
    )


def test_a_verdict_counts_when_all_that_it_is_on_was_there_and_seen() -> None:
    played = reviewed(sentences("a", 40))
    first, last = played.prompts("r")
    assert "still being written" in first
    assert " verdict approve" not in first
    assert "sentence number 40 of a" in last
    said = [e.ts for e in played.of(ev.SystemMessageEvent) if "r's verdict on task: approve" in e.message]
    ended = played.completed("a").ts
    assert len(said) == 1
    assert said[0] > ended
    assert "**So far:** approve" in played.text("r")
    assert played.text("r").endswith("**Verdict:** approve so it is\n\n")


def test_a_reviewer_that_thinks_reads_what_has_ended() -> None:
    thinks = {"simulator": ProviderConfig(reasoning=("r",))}
    played = reviewed(sentences("a", 40), providers=thinks)
    (prompt,) = played.prompts("r")
    assert ", complete\n" in prompt


# --- the policy alone ----------------------------------------------------------------------------------------------


def allowed(*, interrupts: int = 0, own_since: int = 9, reasons: bool = False, most: int = 1) -> bool:
    return ConcernedPolicy(max_interrupts=most).allows(Situation(interrupts, own_since, reasons))


POLICY = ConcernedPolicy(max_interrupts=1)


@pytest.mark.parametrize(
    ("news", "own"),
    [
        ("Each owner may keep 50 links at most.", "An owner may keep 20 links at most in the table."),
        ("A link of that owner isn\u2019t kept.", "A link of that owner is kept."),
        ("It calls load(host, timeout, retries) for settings.", "It calls read(host) for these settings."),
        ("The links of an owner never expire.", "The links of an owner expire after a while."),
        ("Links of an owner stand in `owner_links`.", "The links of an owner stand in `links_table`."),
        ("Setiap pengguna boleh menyimpan 50 tautan.", "Setiap pengguna boleh menyimpan 20 tautan saja."),
        ("Tautan pengguna tidak kedaluwarsa sama sekali.", "Tautan pengguna kedaluwarsa setelah sama waktu."),
        (
            "Die Links eines Nutzers verfallen nicht mehr.",
            "Die Links eines Nutzers verfallen nach einem Jahr.",
        ),
        ("用户的链接最多保存50条记录。", "用户的链接最多保存20条记录。"),
        ("用户的链接不会过期失效。", "用户的链接会过期失效。"),
    ],
)
def test_news_that_changes_what_was_written_is_told(news: str, own: str) -> None:
    assert POLICY.concerns([news], [own])


@pytest.mark.parametrize(
    ("news", "own"),
    [
        ("Each owner may keep 20 links at most.", "An owner may keep 20 links at most in the table."),
        ("Error pages are rendered by the proxy.", "An owner may keep 20 links at most in the table."),
        ("Use 3 colours and never more on the page.", "An owner may keep 20 links at most in the table."),
        ("", "An owner may keep 20 links."),
        ("用户的链接非常重要。", "用户的链接重要。"),
    ],
)
def test_news_about_something_else_and_the_same_again_wait(news: str, own: str) -> None:
    assert not POLICY.concerns([news], [own])


def test_nobody_is_interrupted_too_often_too_soon_or_where_thinking_begins_anew() -> None:
    assert [allowed(interrupts=n) for n in (0, 1)] == [True, False]
    assert [allowed(own_since=n) for n in (0, 1, 2)] == [False, False, True]
    assert not allowed(reasons=True)
    assert not allowed(most=0)


def test_likeness_is_a_share_of_the_words() -> None:
    assert Overlap().alike("the owner keeps many links", "owner and links which he keeps")
    assert not Overlap().alike("links", "links")
