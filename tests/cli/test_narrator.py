"""What somebody who watches is told, line by line, for each event and verbosity."""

from __future__ import annotations

import io
import re

import pytest

from facilitair import events as ev
from facilitair.cli.render.narrator import Narrator, Verbosity
from facilitair.cli.render.plain import PlainPen
from facilitair.fold import fold

from .events import Script


def told(events: list[ev.AnyEvent], verbosity: Verbosity = "full") -> list[str]:
    out = io.StringIO()
    narrator = Narrator(PlainPen(out), verbosity, whole_lines=True, answer_follows=False)
    for event in events:
        narrator.handle(event, event.ts)
    return out.getvalue().splitlines()


def without_time(lines: list[str]) -> list[str]:
    return [re.sub(r"^\[\d\d:\d\d\.\d\d\] ", "", line) for line in lines]


POINTS = (
    ev.Point(
        id="p1",
        kind="agreed",
        text="use a bucket",
        stances=(ev.Stance(agent="coder", stance="for", quote="q", fragment="f"),),
    ),
    ev.Point(id="p2", kind="contradiction", text="Redis or memory"),
)


def a_run() -> list[ev.AnyEvent]:
    script = Script()
    return [
        *script.begin("architect", "coder"),
        script.text("architect", "A bucket. It"),
        script.fragment("architect", 1, 0, 9),
        script.reaction("coder", "s1/architect.1#1"),
        script.text("coder", "def f():\n    pass\n"),
        script.text("architect", " leaks.\n"),
        script.retracted("architect", 9, "s1/architect.1#2"),
        script.text("architect", " It refills."),
        script.done("architect", "A bucket. It refills."),
        script.done("coder", "def f():\n    pass\n", "length"),
        script.make(ev.PointsUpdatedEvent, section="s1", points=POINTS[:1]),
        script.make(ev.PointsUpdatedEvent, section="s1", points=POINTS),
        *script.synthesis("Use a bucket.\n\nIt refills.", POINTS),
        script.completed("Use a bucket.\n\nIt refills."),
    ]


def snapshot_of(events: list[ev.AnyEvent]) -> ev.StateSnapshotEvent:
    state = fold(events)
    return ev.StateSnapshotEvent(stream_id="run-1", seq=state.seq, ts=state.ts, state=state)


def test_who_comes_late_is_told_all_texts_and_then_what_happens() -> None:
    run = a_run()
    lines = without_time(told([snapshot_of(run[:12]), *run[12:]]))
    assert lines[:4] == [
        "What was missed until here is not told: 1 of 2 chunks are done",
        "Architect: A bucket. It refills.",
        "Coder: def f():",
        "Coder:     pass",
    ]
    assert lines[4:] == without_time(told(run))[-len(lines[4:]) :]
    assert lines[4].startswith("Warning: Coder ended early")


def test_who_fell_behind_sees_what_was_taken_back_meanwhile() -> None:
    run = a_run()
    lines = without_time(told([*run[:9], snapshot_of(run[:12]), *run[12:]]))
    assert lines.count("Architect: It leaks.") == 1
    after = lines[lines.index("Architect: It leaks.") + 1 :]
    assert after[:3] == [
        "What was missed until here is not told: 1 of 2 chunks are done",
        "Architect rewrites: “leaks.”",
        "Architect: refills.",
    ]


@pytest.mark.parametrize("verbosity", ["filtered", "quiet"])
def test_a_late_comer_who_wants_no_texts_gets_none(verbosity: Verbosity) -> None:
    run = a_run()
    assert not any("def f" in line for line in told([snapshot_of(run[:12]), *run[12:]], verbosity))


def test_a_whole_run_told_in_full() -> None:
    lines = told(a_run())
    assert lines[0] == "[00:00.01] Strategy balanced: Architect (acme/m-architect), Coder (acme/m-coder)"
    assert without_time(lines)[1:] == [
        "Plan: 2 chunks, ~12 s, ~$0.02",
        "Architect starts on “Design” (chunk 1 of 2, m-architect)",
        "Coder starts on “Design” (chunk 2 of 2, m-coder)",
        "Architect: A bucket.",
        "Coder considers Architect #1 “A bucket.” (resume)",
        "Coder: def f():",
        "Coder:     pass",
        "Architect: It leaks.",
        "Architect takes back 1 fragment (it is wrong): “It leaks.”",
        "Architect: It refills.",
        "Architect is done: 10 in, 20 out tokens, $0.0010, first text after 400 ms, 3.2 s in all",
        "Warning: Coder ended early (length): 10 in, 20 out tokens, $0.0010, first text after 400 ms, 3.2 s in all",
        "Agreed: use a bucket (Coder)",
        "Warning: Contradiction: Redis or memory",
        "The synthesis of “Design” is being written",
        "Synthesizer: Use a bucket.",
        "Synthesizer: It refills.",
        "Synthesis of “Design”",
        "  | Use a bucket.",
        "  |",
        "  | It refills.",
        "  | Agreed: use a bucket (Coder)",
        "  | Contradiction: Redis or memory",
        "  | confidence 0.71 (uncalibrated): after exposure 0.71",
        "Finished in 12 s: 1,200 in, 340 out tokens, $0.01; models: acme/m-coder",
    ]


def test_filtered_leaves_out_the_texts_while_they_are_written_and_nothing_else() -> None:
    spoken = re.compile(r"^(Architect|Coder|Synthesizer): ")
    full = [line for line in without_time(told(a_run())) if not spoken.match(line)]
    filtered = without_time(told(a_run(), "filtered"))
    struck = "Architect takes back 1 fragment (it is wrong): “It leaks.”"
    full[full.index(struck)] = "Warning: Architect takes back 1 fragment (it is wrong)"
    assert filtered == full


def test_quiet_tells_only_what_went_wrong() -> None:
    assert told(a_run(), "quiet") == []
    script = Script()
    lines = told(
        [
            *script.begin("coder"),
            script.make(ev.SystemMessageEvent, message="a notice", level="warning"),
            script.make(ev.SystemMessageEvent, message="coder failed", level="error"),
            script.completed("x", degraded=("coder was lost",)),
        ],
        "quiet",
    )
    assert without_time(lines) == ["Error: coder failed", "Warning: Partial result: coder was lost"]


@pytest.mark.parametrize("verbosity", ["full", "filtered", "quiet"])
def test_a_simulated_answer_is_called_that_in_every_verbosity(verbosity: Verbosity) -> None:
    script = Script()
    events = [*script.begin("coder", simulated=True, cost=None), script.completed("x", simulated=True)]
    assert "simulated" in "\n".join(told(events, verbosity)).lower()


def test_an_unknown_price_is_said_to_be_unknown() -> None:
    lines = told(Script().begin("coder", cost=None))
    assert lines[1].endswith("Plan: 1 chunk, ~12 s, price unknown")


@pytest.mark.parametrize(
    ("code", "line"),
    [("budget_exceeded", "Error: it failed (budget_exceeded)"), ("internal", "Error: it failed (internal)")],
)
def test_a_failure_is_told_in_every_verbosity(code: str, line: str) -> None:
    for verbosity in ("full", "filtered", "quiet"):
        script = Script()
        assert line in without_time(told([*script.begin("coder"), script.failed(code)], verbosity))


def test_waiting_is_told_less_and_less_often_until_text_comes() -> None:
    script = Script()

    def waits(seconds: float) -> ev.AnyEvent:
        event: ev.AgentThinkingEvent = script.make(
            ev.AgentThinkingEvent, chunk_id="s1/coder.1", agent="coder", message="waits", waiting_s=seconds
        )
        return event

    events = [*script.begin("coder"), *(waits(s) for s in (2.0, 4.0, 6.0, 8.0)), script.text("coder", "x\n")]
    lines = without_time(told([*events, waits(2.0)]))
    assert [line for line in lines if "waits" in line] == [
        "Coder waits (2.0 s)",
        "Coder waits (4.0 s)",
        "Coder waits (8.0 s)",
        "Coder waits (2.0 s)",
    ]


def test_with_several_sections_each_line_says_which() -> None:
    script = Script()
    events = script.begin("coder")
    sections = (ev.SectionInfo(id="s1", title="Design"), ev.SectionInfo(id="s2", title="Tests"))
    events[1] = script.make(
        ev.TaskProgressEvent,
        sections=sections,
        total_chunks=2,
        completed_chunks=0,
        estimated_time_s=None,
        estimated_cost_usd=None,
        cost_usd=None,
        cache=ev.CacheInfo(state="off"),
    )
    lines = without_time(told([*events, script.text("coder", "Hello.\n")]))
    assert lines[-1] == "Coder: [Design] Hello."


def test_rewritten_text_is_announced_only_when_it_had_been_shown() -> None:
    script = Script()
    events = [
        *script.begin("coder"),
        script.text("coder", "One.\nTw"),
        script.text("coder", "Three\n", keep=5),
    ]
    assert without_time(told(events))[3:] == ["Coder: One.", "Coder: Three"]
    events = [
        *script.begin("coder"),
        script.text("coder", "One.\nTwo.\n"),
        script.text("coder", "2\n", keep=5),
    ]
    assert without_time(told(events))[3:] == [
        "Coder: One.",
        "Coder: Two.",
        "Coder rewrites: “Two.”",
        "Coder: 2",
    ]


def test_nothing_a_model_or_recording_says_controls_the_terminal() -> None:
    script, evil = Script(), "\x1b]52;c;eA==\x07\x1b[2J\x9b1mE\r\b\u202e"
    started = script.make(
        ev.TaskStartedEvent,
        task="t",
        context={},
        strategy=evil,
        agents=(ev.AgentInfo(name=evil, role="coder", model=evil, provider=evil, tier="resume"),),
        simulated=False,
    )
    events = [
        started,
        script.make(
            ev.ChunkStartedEvent,
            chunk_id="s1/coder.1",
            section=evil,
            agent=evil,
            role=evil,
            model=evil,
            description=evil,
            current=1,
            total=1,
            section_index=1,
            section_total=1,
        ),
        script.text("coder", f"{evil}\n"),
        script.fragment("coder", 1, 0, 5),
        script.reaction("coder", "s1/coder.1#1", f"{evil}#2"),
        script.retracted("coder", 2, "s1/coder.1#1", reason=evil),
        script.make(ev.AgentThinkingEvent, chunk_id="s1/coder.1", agent=evil, message=evil, waiting_s=2.0),
        script.make(
            ev.PointsUpdatedEvent, section="s1", points=(ev.Point(id="p", kind="agreed", text=evil),)
        ),
        script.make(ev.SystemMessageEvent, message=evil, level="info"),
        script.make(ev.CacheMissEvent, reason=evil),
        script.make(ev.ValidatorTimeoutEvent, agent=evil, message=evil),
        *script.synthesis(evil),
        script.make(ev.TaskErrorEvent, code=evil, message=evil, partial=evil, usage=ev.Usage()),
    ]
    text = "\n".join(told(events))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert text.count("E") > 10  # the harmless letter of each is still there
