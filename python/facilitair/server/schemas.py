"""What goes over HTTP as JSON, in and out. The options of a run are those of `options.RunOptions`, on every route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, cast, get_args, get_origin

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

from .. import events as ev
from ..options import NAMES, RunOptions, wire_types
from .directory import RunRecord


class Call(NamedTuple):
    """What somebody asks for, whichever way it came."""

    task: str
    context: Mapping[str, Any] | None
    options: RunOptions

    @property
    def names_models(self) -> bool:
        """Whether the caller, and not the configuration alone, decides which models are asked."""
        return any(self.options.get(name) is not None for name in ("models", "preset", "strategy"))


class WithOptions(BaseModel):
    """A body, or a query, that holds the options of a run beside what it declares itself; see `with_options`."""

    model_config = ConfigDict(extra="forbid")

    def options(self) -> RunOptions:
        """Return the options that were given."""
        given = {name: getattr(self, name) for name in NAMES if name in self.model_fields_set}
        return cast("RunOptions", {name: value for name, value in given.items() if value is not None})


class _Task(WithOptions):
    """A task, and what its run may decide for itself. What is left out stays as the server is configured."""

    task: str = Field(min_length=1, description="What shall be done.")
    context: dict[str, Any] | None = Field(None, description="What every agent is told beside the task.")
    stream: bool = Field(True, description="Answer at once (202); false waits for the end of the run (200).")
    preferred_language: str | None = Field(None, description="The same as `context.language`.")
    session_id: str | None = Field(None, max_length=200, description="Any name; it comes back in the answer.")

    def call(self) -> Call:
        """Return what is asked for."""
        return Call(self.task, _with_language(self.context, self.preferred_language), self.options())


class _Query(WithOptions):
    """A task in a URL."""

    model_config = ConfigDict(extra="ignore")  # as everywhere in URLs: a ticket, a proxy's own parameters

    task: str = Field(min_length=1, description="What shall be done.")
    after: int | None = Field(
        None, ge=0, le=2**53, description="Only what follows this event of the new run."
    )
    preferred_language: str | None = Field(None, description="The same as `context.language`.")

    def call(self) -> Call:
        """Return what is asked for."""
        return Call(self.task, _with_language(None, self.preferred_language), self.options())


class _Extras(WithOptions):
    """What a client of `/v1` can decide beyond OpenAI's fields; the model is the strategy."""


def _field(kind: Any) -> tuple[Any, Any]:
    """Return a type of `options` as pydantic declares a field: it does not know msgspec's limits."""
    limits: dict[str, Any] = {}
    for meta in _metas(kind):
        found = {name: getattr(meta, name) for name in ("gt", "ge", "lt", "le", "description")}
        limits |= {name: value for name, value in found.items() if value is not None}
    return _plain(kind), Field(None, **limits)


def _metas(kind: Any) -> list[msgspec.Meta]:
    inner = [meta for part in get_args(kind) for meta in _metas(part)]
    own = getattr(kind, "__metadata__", ())
    return [*(meta for meta in own if isinstance(meta, msgspec.Meta)), *inner]


def _plain(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if type(None) in get_args(kind):
        return _plain(get_args(kind)[0]) | None if len(get_args(kind)) == 2 else kind
    return kind


_FIELDS: Final = {name: _field(kind) for name, kind in wire_types().items()}
# In a URL a mapping cannot be written, and a list is the same name several times.
_IN_URL: Final = {
    **_FIELDS,
    "models": (str | None, _FIELDS["models"][1]),
    "sections": (list[str] | None, _FIELDS["sections"][1]),
}

if TYPE_CHECKING:
    TaskRequest = _Task
    TaskQuery = _Query
    Extras = _Extras
else:
    TaskRequest = create_model("TaskRequest", __base__=_Task, __doc__=_Task.__doc__, **_FIELDS)
    TaskQuery = create_model("TaskQuery", __base__=_Query, __doc__=_Query.__doc__, **_IN_URL)
    Extras = create_model(
        "Extras",
        __base__=_Extras,
        __doc__=_Extras.__doc__,
        **{name: field for name, field in _FIELDS.items() if name != "strategy"},
    )


class CancelRequest(BaseModel):
    """Why a run is stopped."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500)] = "cancelled by the user"


class Urls(BaseModel):
    """Where a stream is read and steered."""

    events: str
    status: str
    cancel: str
    websocket: str


class StreamStatus(BaseModel):
    """How far a run is. `estimated_time`, `estimated_cost` and `error` repeat fields under names of other clients."""

    stream_id: str
    session_id: str | None = None
    status: ev.RunStatus
    last_seq: int
    task: str
    strategy: str
    simulated: bool
    total_chunks: int
    completed_chunks: int
    estimated_time_s: float | None
    estimated_time: float | None
    estimated_cost_usd: float | None
    estimated_cost: float | None
    cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None
    content: str
    degraded: list[str]
    error_code: str | None
    error_message: str | None
    error: str | None
    created: float
    ended: float | None
    viewers: int
    urls: Urls


async def status_of(record: RunRecord, session_id: str | None = None) -> StreamStatus:
    """Return how far a run is."""
    state = await record.log.state()
    usage = state.usage or ev.Usage()
    return StreamStatus(
        stream_id=record.stream_id,
        session_id=session_id,
        status=state.status,
        last_seq=record.log.last_seq,
        task=state.task,
        strategy=state.strategy,
        simulated=state.simulated,
        total_chunks=state.total_chunks,
        completed_chunks=state.completed_chunks,
        estimated_time_s=state.estimated_time_s,
        estimated_time=state.estimated_time_s,
        estimated_cost_usd=state.estimated_cost_usd,
        estimated_cost=state.estimated_cost_usd,
        cost_usd=state.cost_usd,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        content=state.content,
        degraded=list(state.degraded),
        error_code=state.error_code,
        error_message=state.error_message,
        error=state.error_message,
        created=record.created,
        ended=record.ended,
        viewers=record.viewers,
        urls=urls_of(record.stream_id),
    )


def urls_of(stream_id: str) -> Urls:
    """Return where a stream is read and steered."""
    return Urls(
        events=f"/api/stream/events/{stream_id}",
        status=f"/api/stream/status/{stream_id}",
        cancel=f"/api/stream/cancel/{stream_id}",
        websocket=f"/api/stream/ws?stream_id={stream_id}",
    )


def _with_language(context: Mapping[str, Any] | None, language: str | None) -> Mapping[str, Any] | None:
    return context if language is None else {"language": language, **(context or {})}
