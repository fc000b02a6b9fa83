"""The wire: one checked line of every type, which Python must still write and read, byte for byte.

`golden/events.jsonl` is written by hand. What it says is a promise to every stored run and to every reader in another
language, so a change of this file is a change of the schema.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from facilitair import events as ev

LINES = (Path(__file__).parent / "golden" / "events.jsonl").read_bytes().removesuffix(b"\n").split(b"\n")
TYPES = {
    "task_started", "task_progress", "chunk_started", "agent_thinking", "token_stream", "fragment", "agent_reaction",
    "fragments_retracted", "chunk_completed", "synthesis_stream", "points_updated", "synthesis_completed",
    "cache_hit", "cache_miss", "cache_stored", "validator_completed", "validator_timeout", "correction",
    "state_snapshot", "system_message", "heartbeat", "task_completed", "task_error", "task_cancelled",
}  # fmt: skip
TEXT = 'é e\u0301 👩\u200d💻 \u2028 \x1b[0m "\\" \t\n'


def tag(kind: type[ev.Event]) -> str:
    """Return the `type` of an event class on the wire."""
    return str(kind.__struct_config__.tag)


def name_of(line: bytes) -> str:
    return str(json.loads(line)["type"])


def stamp(seq: int, ts: float, run: int = 1, first_seq: int | None = None) -> dict[str, Any]:
    return {"stream_id": f"run-{run}", "seq": seq, "ts": ts, "first_seq": first_seq}


CODER = ev.AgentInfo(name="coder", role="coder", model="gpt-x", provider="acme", tier="prefill")
DESIGN = ev.SectionInfo(id="design", title="Design")
CHUNK = "design/coder.1"
READ = "design/architect.1#1"

EVENTS: list[ev.AnyEvent] = [
    ev.TaskStartedEvent(
        **stamp(1, 0.0),
        task="Say “hi”\nto 🦀",
        context={"language": "python", "frameworks": ["fastapi"], "strict": True},
        strategy="balanced",
        agents=(CODER,),
        simulated=False,
    ),
    ev.TaskProgressEvent(
        **stamp(2, 0.001),
        sections=(DESIGN,),
        total_chunks=4,
        completed_chunks=1,
        estimated_time_s=12.5,
        estimated_cost_usd=None,
        cost_usd=0.02,
        cache=ev.CacheInfo(state="miss", similarity=0.31),
    ),
    ev.ChunkStartedEvent(
        **stamp(3, 0.002),
        chunk_id=CHUNK,
        section="design",
        agent="coder",
        role="coder",
        model="gpt-x",
        description="coder on Design",
        current=1,
        total=4,
        section_index=1,
        section_total=1,
    ),
    ev.AgentThinkingEvent(
        **stamp(4, 2.0), chunk_id=CHUNK, agent="coder", message="coder is thinking", waiting_s=2.0
    ),
    ev.TokenStreamEvent(**stamp(7, 2.5, first_seq=5), chunk_id=CHUNK, agent="coder", tokens=TEXT, keep=3),
    ev.FragmentEvent(
        **stamp(8, 2.6),
        chunk_id=CHUNK,
        fragment=f"{CHUNK}#2",
        start=10,
        end=42,
        derived_from=(READ, "design/architect.1#2"),
    ),
    ev.AgentReactionEvent(
        **stamp(9, 2.7), chunk_id=CHUNK, agent="coder", because=(READ,), action="considers", tier="resume"
    ),
    ev.FragmentsRetractedEvent(
        **stamp(10, 2.8),
        chunk_id=CHUNK,
        agent="coder",
        fragments=(f"{CHUNK}#2",),
        keep=10,
        cause="withdrawn",
        root=f"{CHUNK}#2",
        reason="the list may be empty",
    ),
    ev.ChunkCompletedEvent(
        **stamp(11, 3.0),
        chunk_id=CHUNK,
        agent="coder",
        content="All of it.",
        finish_reason="stop",
        usage=ev.Usage(input_tokens=100, output_tokens=20, cached_input_tokens=64),
        cost_usd=0.0012,
        ttft_s=0.4,
        duration_s=2.9,
    ),
    ev.SynthesisStreamEvent(**stamp(12, 3.1), section="design", tokens="The answer", keep=0),
    ev.PointsUpdatedEvent(
        **stamp(13, 3.2),
        section="design",
        points=(
            ev.Point(
                id="p1",
                kind="contradiction",
                text="Whether to lock",
                stances=(ev.Stance(agent="coder", stance="for", quote="take a lock", fragment=f"{CHUNK}#1"),),
            ),
        ),
    ),
    ev.SynthesisCompletedEvent(
        **stamp(14, 3.3),
        section="design",
        content="The answer",
        points=(ev.Point(id="p2", kind="agreed", text="Sort first"),),
        confidence=ev.Confidence(value=0.75, parts={"before": 0.7, "after": 0.8}),
    ),
    ev.CacheHitEvent(
        **stamp(15, 3.4),
        similarity=0.97,
        age_s=3600.0,
        context={"language": "python"},
        saved_usd=0.02,
        saved_s=12.0,
        risk=0.01,
    ),
    ev.CacheMissEvent(**stamp(16, 3.5), reason="nothing similar is stored"),
    ev.CacheStoredEvent(**stamp(17, 3.6), entry="entry-1"),
    ev.ValidatorCompletedEvent(**stamp(18, 3.7), agent="validator", similarity=0.9, confidence=0.8),
    ev.ValidatorTimeoutEvent(**stamp(19, 3.8), agent="validator", message="not done after 10 s"),
    ev.CorrectionEvent(
        **stamp(20, 3.9),
        reason="two validators disagree",
        original="It is 4.",
        corrected="It is 5.",
        spans=(ev.Span(start=6, end=7, was="4", now="5", why="2 + 3 is 5"),),
        similarity=0.6,
    ),
    ev.StateSnapshotEvent(
        **stamp(21, 4.0),
        state=ev.RunState(
            stream_id="run-1",
            seq=20,
            ts=3.9,
            task="Say hi",
            context={"language": "python"},
            strategy="balanced",
            agents=(CODER,),
            sections=(DESIGN,),
            total_chunks=4,
            completed_chunks=1,
            estimated_time_s=12.5,
            chunks={
                CHUNK: ev.ChunkState(
                    chunk_id=CHUNK,
                    section="design",
                    agent="coder",
                    role="coder",
                    model="gpt-x",
                    text="All of it.",
                    status="completed",
                    fragments=[ev.FragmentState(id=f"{CHUNK}#1", start=0, end=10, derived_from=())],
                    finish_reason="stop",
                    ttft_s=0.4,
                    duration_s=2.9,
                )
            },
            syntheses={"design": ev.SynthesisState(section="design", text="The answer")},
            cost_usd=0.02,
            messages=["the price of acme/gpt-x is unknown"],
        ),
    ),
    ev.SystemMessageEvent(
        **stamp(22, 4.1), message="No key was found; the simulator answers.", level="warning"
    ),
    ev.HeartbeatEvent(
        **stamp(23, 15.0),
        agents=(ev.AgentActivity(agent="coder", chunk_id=CHUNK, state="thinking", idle_s=11.0),),
    ),
    ev.TaskCompletedEvent(
        **stamp(24, 16.0),
        content="The answer",
        artifacts=(ev.Artifact(name="a.py", agent="coder", chunk_id=CHUNK, start=4, end=10),),
        sections=(DESIGN,),
        points=(),
        ledger=(
            ev.LedgerEntry(chunk_id=CHUNK, agent="coder", because=(READ,), action="revises", tier="restart"),
        ),
        confidence=None,
        usage=ev.Usage(output_tokens=20, estimated=True),
        cost_usd=None,
        models_used=("acme/gpt-x",),
        elapsed_s=16.0,
        degraded=("reviewer failed",),
        simulated=True,
    ),
    ev.TaskErrorEvent(
        **stamp(2, 0.5, run=2),
        code="agents_failed",
        message="no agent was left",
        partial="",
        usage=ev.Usage(),
    ),
    ev.TaskCancelledEvent(
        **stamp(2, 0.5, run=3),
        reason="the user stopped it",
        partial="half",
        usage=ev.Usage(input_tokens=1, output_tokens=2, cached_input_tokens=3, reasoning_tokens=4),
        cost_usd=0.5,
    ),
]


def test_the_schema_has_the_agreed_types_and_each_is_in_the_golden_file_once() -> None:
    kinds = get_args(ev.AnyEvent)

    assert {tag(kind) for kind in kinds} == TYPES
    assert sorted(name_of(line) for line in LINES) == sorted(TYPES)
    assert {type(event) for event in EVENTS} == set(kinds)


@pytest.mark.parametrize(("line", "event"), list(zip(LINES, EVENTS, strict=True)), ids=map(name_of, LINES))
def test_python_writes_and_reads_the_golden_line(line: bytes, event: ev.AnyEvent) -> None:
    assert ev.encode(event) == line
    assert ev.decode(line) == event
    assert ev.decode(line.decode()) == event


@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_fields_of_a_later_version_are_passed_by(line: bytes) -> None:
    later = json.loads(line) | {"zeal": {"level": [1]}}

    assert ev.decode(json.dumps(later)) == ev.decode(line)


def required(line: bytes) -> list[str]:
    kind = next(kind for kind in get_args(ev.AnyEvent) if tag(kind) == name_of(line))
    return [field.encode_name for field in msgspec.structs.fields(kind) if field.required]


@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_a_known_type_that_lacks_a_field_is_an_error(line: bytes) -> None:
    for field in required(line):
        incomplete = json.loads(line)
        del incomplete[field]
        with pytest.raises(msgspec.DecodeError, match=field):
            ev.decode(json.dumps(incomplete))


def test_a_field_of_the_wrong_kind_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        ev.decode(LINES[0].replace(b'"seq":1', b'"seq":"1"'))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'"task_started"', b'{"seq":1}', b'{"type":7}'])
def test_what_is_no_event_is_an_error(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        ev.decode(text)


@pytest.mark.parametrize("text", ['{"type":"applause","seq":9}', '{"type":"","x":[1,{"type":"heartbeat"}]}'])
def test_an_unknown_type_is_handed_on_as_it_came(text: str) -> None:
    for given in (text, text.encode()):
        event = ev.decode(given)

        assert isinstance(event, ev.UnknownEvent)
        assert event.type == json.loads(text)["type"]
        assert event.raw == text.encode()


def test_three_events_are_terminal() -> None:
    assert {tag(kind) for kind in ev.TERMINAL} == {"task_completed", "task_error", "task_cancelled"}
    assert set(get_args(ev.TerminalEvent)) == set(ev.TERMINAL)


def test_events_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        EVENTS[0].seq = 2  # type: ignore[misc]  # which is the point
