"""The events of a run: one schema for the library, JSONL, SSE, WebSocket and the web page.

A run is one ordered stream of these. `seq` rises by one at the source; exactly one of `TERMINAL` ends every
stream. Consumers ignore types they do not know (`decode` returns `UnknownEvent`), so the schema only grows.
How events become text again is in `fold`. This module imports nothing of the package.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

SCHEMA_VERSION: Final = 1

# How a model that writes is shown news. The last two are offered by none; they stay because the schema only grows.
ModelTier = Literal["prefill", "resume", "none"]
Tier = Literal[ModelTier, "restart", "inject"]
ReactionAction = Literal["considers", "continues", "revises", "objects"]
RetractionCause = Literal["withdrawn", "check", "objection", "cascade"]
PointKind = Literal["agreed", "contradiction", "partial", "unique", "blind_spot"]
Level = Literal["info", "warning", "error"]
ChunkStatus = Literal["running", "completed"]
RunStatus = Literal["running", "completed", "failed", "cancelled"]
ActivityState = Literal["waiting", "thinking", "writing", "retrying"]
CommandName = Literal["cancel"]


class _Value(msgspec.Struct, frozen=True, kw_only=True):
    """A value inside an event."""


class Usage(_Value, frozen=True, kw_only=True):
    """Tokens of one chunk or one run. `None` is "nobody said"; `estimated` marks figures counted by us."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False


class AgentInfo(_Value, frozen=True, kw_only=True):
    """An agent as `task_started` introduces it."""

    name: str
    role: str
    model: str
    provider: str
    tier: Tier


class SectionInfo(_Value, frozen=True, kw_only=True):
    """A semantic part of the task."""

    id: str
    title: str


class Stance(_Value, frozen=True, kw_only=True):
    """What one agent holds on a point, with the verbatim words it rests on."""

    agent: str
    stance: str
    quote: str
    fragment: str


class Point(_Value, frozen=True, kw_only=True):
    """Something the agents agree on, contradict each other in, or only one of them saw."""

    id: str
    kind: PointKind
    text: str
    stances: tuple[Stance, ...] = ()


class Confidence(_Value, frozen=True, kw_only=True):
    """A computed figure and the parts it was computed from; never taken from a model's own words."""

    value: float
    parts: dict[str, float]
    calibrated: bool = False


class AgentActivity(_Value, frozen=True, kw_only=True):
    """An agent's state in a heartbeat; `idle_s` is the time since its last content."""

    agent: str
    chunk_id: str
    state: ActivityState
    idle_s: float


class LedgerEntry(_Value, frozen=True, kw_only=True):
    """One influence: which fragments an agent was shown, and what it did."""

    chunk_id: str
    agent: str
    because: tuple[str, ...]
    action: ReactionAction
    tier: Tier


class Artifact(_Value, frozen=True, kw_only=True):
    """A file of the answer: its name, and its content, code points `[start, end)` of the answer. `agent` and `chunk_id`
    say whose it is, where it was taken over byte for byte."""

    name: str
    agent: str | None = None
    chunk_id: str | None = None
    start: int
    end: int


class Span(_Value, frozen=True, kw_only=True):
    """A change to text already shown: code points `[start, end)` of the original, what was, what is now, why."""

    start: int
    end: int
    was: str
    now: str
    why: str


class CacheInfo(_Value, frozen=True, kw_only=True):
    """What the cache did for this run."""

    state: Literal["off", "miss", "hit"]
    similarity: float | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """The envelope, which the owner of the run gives (`stream.EventStream`): an event without one is something to be
    said, and `seq` is 0. `ts` is seconds since the start of the run. A merged delivery of several token events carries
    the first sequence number in `first_seq` and the last in `seq`."""

    v: int = SCHEMA_VERSION
    stream_id: str = ""
    seq: int = 0
    ts: float = 0.0
    first_seq: int | None = None


class TaskStartedEvent(Event, frozen=True, kw_only=True, tag="task_started"):
    """The run begins. `commands` are what it can be told."""

    task: str
    context: dict[str, Any]
    strategy: str
    agents: tuple[AgentInfo, ...]
    simulated: bool
    commands: tuple[CommandName, ...] = ()


class TaskProgressEvent(Event, frozen=True, kw_only=True, tag="task_progress"):
    """How far the run is. `total_chunks` may grow; an unknown estimate or price is `None`."""

    sections: tuple[SectionInfo, ...]
    total_chunks: int
    completed_chunks: int
    estimated_time_s: float | None
    estimated_cost_usd: float | None
    cost_usd: float | None
    cache: CacheInfo


class ChunkStartedEvent(Event, frozen=True, kw_only=True, tag="chunk_started"):
    """One turn of one agent on one section begins; `current` of `total` chunks known so far."""

    chunk_id: str
    section: str
    agent: str
    role: str
    model: str
    description: str
    current: int
    total: int
    section_index: int
    section_total: int


class AgentThinkingEvent(Event, frozen=True, kw_only=True, tag="agent_thinking"):
    """A running agent has sent no content for two seconds."""

    chunk_id: str
    agent: str
    message: str
    waiting_s: float


class TokenStreamEvent(Event, frozen=True, kw_only=True, tag="token_stream"):
    """New text of a chunk: `text = text[:keep] + tokens`, `keep` in code points (`None` is the whole)."""

    chunk_id: str
    agent: str
    tokens: str
    keep: int | None = None
    is_final: bool = False


class FragmentEvent(Event, frozen=True, kw_only=True, tag="fragment"):
    """The piece `[start, end)` of a chunk's text can now be read, cited and retracted by peers.

    `derived_from` is what its author was shown since the fragment before; it also derives from what all earlier
    fragments of the chunk derive from.
    """

    chunk_id: str
    fragment: str
    start: int
    end: int
    derived_from: tuple[str, ...]


class AgentReactionEvent(Event, frozen=True, kw_only=True, tag="agent_reaction"):
    """An agent was shown fragments of its peers, and what it does with them."""

    chunk_id: str
    agent: str
    because: tuple[str, ...]
    action: ReactionAction
    tier: Tier


class FragmentsRetractedEvent(Event, frozen=True, kw_only=True, tag="fragments_retracted"):
    """Fragments are taken back: the chunk's text is cut to `keep` code points. `root` is the fragment where it
    began."""

    chunk_id: str
    agent: str
    fragments: tuple[str, ...]
    keep: int
    cause: RetractionCause
    root: str
    reason: str


class ChunkCompletedEvent(Event, frozen=True, kw_only=True, tag="chunk_completed"):
    """A chunk is closed. A later retraction reopens it; the last completion wins."""

    chunk_id: str
    agent: str
    content: str
    finish_reason: str
    usage: Usage | None
    cost_usd: float | None
    ttft_s: float | None
    duration_s: float


class SynthesisStreamEvent(Event, frozen=True, kw_only=True, tag="synthesis_stream"):
    """New text of a section's synthesis, by the same rule as `token_stream`."""

    section: str
    tokens: str
    keep: int | None = None


class PointsUpdatedEvent(Event, frozen=True, kw_only=True, tag="points_updated"):
    """All points of a section as they stand now."""

    section: str
    points: tuple[Point, ...]


class SynthesisCompletedEvent(Event, frozen=True, kw_only=True, tag="synthesis_completed"):
    """A section's answer stands, or, where `finish_reason` is one of `CUT_OFF`, it will not be written further."""

    section: str
    content: str
    finish_reason: str = "stop"
    points: tuple[Point, ...] = ()
    confidence: Confidence | None = None


class CacheHitEvent(Event, frozen=True, kw_only=True, tag="cache_hit"):
    """The answer was there already."""

    similarity: float
    age_s: float
    context: dict[str, Any]
    saved_usd: float | None
    saved_s: float | None
    risk: float | None = None


class CacheMissEvent(Event, frozen=True, kw_only=True, tag="cache_miss"):
    """No stored answer served, and why."""

    reason: str


class CacheStoredEvent(Event, frozen=True, kw_only=True, tag="cache_stored"):
    """The run was stored."""

    entry: str


class ValidatorCompletedEvent(Event, frozen=True, kw_only=True, tag="validator_completed"):
    """A validator compared its own answer with the fast one."""

    agent: str
    similarity: float
    confidence: float


class ValidatorTimeoutEvent(Event, frozen=True, kw_only=True, tag="validator_timeout"):
    """A validator was not done in time; the answer stands unverified by it."""

    agent: str
    message: str


class CorrectionEvent(Event, frozen=True, kw_only=True, tag="correction"):
    """Text already shown was wrong and is replaced."""

    reason: str
    original: str
    corrected: str
    spans: tuple[Span, ...]
    similarity: float


class SystemMessageEvent(Event, frozen=True, kw_only=True, tag="system_message"):
    """Something the user should know: what was degraded, chosen or refused."""

    message: str
    level: Level


class HeartbeatEvent(Event, frozen=True, kw_only=True, tag="heartbeat"):
    """The run is alive; what each running agent does."""

    agents: tuple[AgentActivity, ...]


class TaskCompletedEvent(Event, frozen=True, kw_only=True, tag="task_completed"):
    """The run ended with its answer. `degraded` names what was lost on the way; empty is a full result."""

    content: str
    artifacts: tuple[Artifact, ...] = ()
    sections: tuple[SectionInfo, ...]
    points: tuple[Point, ...]
    ledger: tuple[LedgerEntry, ...]
    confidence: Confidence | None
    usage: Usage
    cost_usd: float | None
    models_used: tuple[str, ...]
    elapsed_s: float
    degraded: tuple[str, ...]
    simulated: bool


class TaskErrorEvent(Event, frozen=True, kw_only=True, tag="task_error"):
    """The run failed. `code`: agents_failed, budget_exceeded, deadline_exceeded, internal, key_refused. `partial` is
    what the answer had become."""

    code: str
    message: str
    partial: str
    usage: Usage
    cost_usd: float | None = None


class TaskCancelledEvent(Event, frozen=True, kw_only=True, tag="task_cancelled"):
    """The run was stopped from outside."""

    reason: str
    partial: str
    usage: Usage
    cost_usd: float | None = None


class FragmentState(_Value, frozen=True, kw_only=True):
    """A fragment that stands."""

    id: str
    start: int
    end: int
    derived_from: tuple[str, ...]


class ChunkState(msgspec.Struct, kw_only=True):
    """A chunk as folded so far."""

    chunk_id: str
    section: str
    agent: str
    role: str
    model: str
    text: str = ""
    status: ChunkStatus = "running"
    fragments: list[FragmentState] = msgspec.field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    ttft_s: float | None = None
    duration_s: float | None = None


class SynthesisState(msgspec.Struct, kw_only=True):
    """A section's answer as folded so far."""

    section: str
    text: str = ""
    status: ChunkStatus = "running"
    finish_reason: str | None = None
    points: tuple[Point, ...] = ()
    confidence: Confidence | None = None


class RunState(msgspec.Struct, kw_only=True):
    """A run as folded so far; what `fold.apply` maintains and `state_snapshot` carries."""

    stream_id: str = ""
    seq: int = 0
    ts: float = 0.0
    status: RunStatus = "running"
    task: str = ""
    context: dict[str, Any] = msgspec.field(default_factory=dict)
    strategy: str = ""
    agents: tuple[AgentInfo, ...] = ()
    simulated: bool = False
    sections: tuple[SectionInfo, ...] = ()
    total_chunks: int = 0
    completed_chunks: int = 0
    estimated_time_s: float | None = None
    estimated_cost_usd: float | None = None
    chunks: dict[str, ChunkState] = msgspec.field(default_factory=dict)
    syntheses: dict[str, SynthesisState] = msgspec.field(default_factory=dict)
    points: tuple[Point, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    confidence: Confidence | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    models_used: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    messages: list[str] = msgspec.field(default_factory=list)
    content: str = ""
    error_code: str | None = None
    error_message: str | None = None


class StateSnapshotEvent(Event, frozen=True, kw_only=True, tag="state_snapshot"):
    """The whole folded state, for a viewer that fell behind the log."""

    state: RunState


class UnknownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a type this version does not know; consumers pass it by."""

    type: str
    raw: bytes
    seq: int = 0


AnyEvent: TypeAlias = (
    TaskStartedEvent
    | TaskProgressEvent
    | ChunkStartedEvent
    | AgentThinkingEvent
    | TokenStreamEvent
    | FragmentEvent
    | AgentReactionEvent
    | FragmentsRetractedEvent
    | ChunkCompletedEvent
    | SynthesisStreamEvent
    | PointsUpdatedEvent
    | SynthesisCompletedEvent
    | CacheHitEvent
    | CacheMissEvent
    | CacheStoredEvent
    | ValidatorCompletedEvent
    | ValidatorTimeoutEvent
    | CorrectionEvent
    | StateSnapshotEvent
    | SystemMessageEvent
    | HeartbeatEvent
    | TaskCompletedEvent
    | TaskErrorEvent
    | TaskCancelledEvent
)
TerminalEvent: TypeAlias = TaskCompletedEvent | TaskErrorEvent | TaskCancelledEvent

TERMINAL: Final = (TaskCompletedEvent, TaskErrorEvent, TaskCancelledEvent)
# The finish reasons of what was still open when its run ended.
CUT_OFF: Final = ("cancelled", "error", "deadline", "budget")


class _Head(msgspec.Struct):
    type: str
    seq: int = 0


_encoder = msgspec.json.Encoder()
# Made when there is something to decode: it looks at the types of all events, which takes 5 ms.
_decoder: msgspec.json.Decoder[AnyEvent] | None = None
_known_types: Final = frozenset(
    str(cls.__struct_config__.tag) for cls in Event.__subclasses__() if cls.__struct_config__.tag
)


def encode(event: AnyEvent) -> bytes:
    """Return the event as one JSON object in UTF-8, without a line end."""
    return _encoder.encode(event)


def decode(data: bytes | str) -> AnyEvent | UnknownEvent:
    """Return the event that `encode` wrote, or `UnknownEvent` for a type this version does not know.

    Raises `msgspec.DecodeError` when the text is not JSON, or when a known type lacks a field or its envelope.
    """
    global _decoder
    if _decoder is None:
        _decoder = msgspec.json.Decoder(AnyEvent)
    try:
        event = _decoder.decode(data)
    except msgspec.ValidationError:
        head = msgspec.json.decode(data, type=_Head)
        if head.type in _known_types:
            raise
        return UnknownEvent(
            type=head.type, seq=head.seq, raw=data if isinstance(data, bytes) else data.encode()
        )
    if event.seq < 1 or not event.stream_id:
        raise msgspec.ValidationError("the event has no envelope: `stream_id` and `seq`, counted from 1")
    return event
