"""Folding: how a stream of events becomes the state of the run. One rule, used by every consumer.

`text = text[:keep] + tokens`, where `keep` counts Unicode code points and defaults to the whole. Folding all
events of a run gives exactly `chunk_completed.content`, `synthesis_completed.content` and
`task_completed.content`. The reducer never fails on an event that names a chunk it does not know: a viewer that
came late sees the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from . import events as ev


def fold(events: Iterable[ev.AnyEvent | ev.UnknownEvent]) -> ev.RunState:
    """Return the state after all `events`, in order."""
    state = ev.RunState()
    for event in events:
        state = apply(state, event)
    return state


def apply(state: ev.RunState, event: ev.AnyEvent | ev.UnknownEvent) -> ev.RunState:
    """Return the state after `event`. The given state is changed in place, except by a snapshot and by the end of the
    run: what it was before stays as it is, so that a snapshot can be made without the end."""
    if isinstance(event, ev.UnknownEvent):
        return state
    if isinstance(event, ev.StateSnapshotEvent):
        # The events that follow change it, and somebody may fold this one again.
        from copy import deepcopy  # only for who came late

        state = deepcopy(event.state)
    elif isinstance(event, ev.TERMINAL):
        state = replace(state)
    state.stream_id, state.seq, state.ts = event.stream_id, event.seq, event.ts
    change = _CHANGES.get(type(event))
    if change is not None:
        change(state, event)
    return state


def answer(state: ev.RunState) -> str:
    """Return the sections' syntheses in order, joined by a blank line: what `task_completed.content` must be."""
    texts = (state.syntheses[s.id].text for s in state.sections if s.id in state.syntheses)
    return "\n\n".join(text for text in texts if text)


def _stream_tokens(state: ev.RunState, event: ev.TokenStreamEvent) -> None:
    if chunk := state.chunks.get(event.chunk_id):
        _write(chunk, event.keep, event.tokens)


def _stream_synthesis(state: ev.RunState, event: ev.SynthesisStreamEvent) -> None:
    synthesis = _synthesis(state, event.section)
    _write(synthesis, event.keep, event.tokens)
    synthesis.status, synthesis.finish_reason = "running", None


def _write(part: ev.ChunkState | ev.SynthesisState, keep: int | None, tokens: str) -> None:
    """Cut the text to `keep` and add `tokens`, in time that does not grow with the text.

    CPython adds to a string in place when nobody else holds it, so the state lets go of it meanwhile. Otherwise a text
    of a million characters would be copied for each of its deltas.
    """
    text = part.text
    if keep is not None:
        text = text[:keep]
    part.text = ""
    text += tokens
    part.text = text


def _synthesis(state: ev.RunState, section: str) -> ev.SynthesisState:
    return state.syntheses.setdefault(section, ev.SynthesisState(section=section))


def _start_task(state: ev.RunState, event: ev.TaskStartedEvent) -> None:
    state.task, state.context, state.strategy = event.task, event.context, event.strategy
    state.agents, state.simulated = event.agents, event.simulated


def _start_chunk(state: ev.RunState, event: ev.ChunkStartedEvent) -> None:
    state.chunks[event.chunk_id] = ev.ChunkState(
        chunk_id=event.chunk_id,
        section=event.section,
        agent=event.agent,
        role=event.role,
        model=event.model,
    )
    state.total_chunks = max(state.total_chunks, event.total)


def _complete_synthesis(state: ev.RunState, event: ev.SynthesisCompletedEvent) -> None:
    synthesis = _synthesis(state, event.section)
    synthesis.status, synthesis.finish_reason = "completed", event.finish_reason
    synthesis.points = event.points
    synthesis.confidence = event.confidence


def _update_points(state: ev.RunState, event: ev.PointsUpdatedEvent) -> None:
    _synthesis(state, event.section).points = event.points


def _add_message(state: ev.RunState, event: ev.SystemMessageEvent) -> None:
    state.messages.append(event.message)


def _add_fragment(state: ev.RunState, event: ev.FragmentEvent) -> None:
    if chunk := state.chunks.get(event.chunk_id):
        chunk.fragments.append(
            ev.FragmentState(
                id=event.fragment, start=event.start, end=event.end, derived_from=event.derived_from
            )
        )


def _retract(state: ev.RunState, event: ev.FragmentsRetractedEvent) -> None:
    chunk = state.chunks.get(event.chunk_id)
    if chunk is None:
        return
    chunk.text = chunk.text[: event.keep]
    chunk.fragments = [f for f in chunk.fragments if f.end <= event.keep and f.id not in event.fragments]
    chunk.status, chunk.finish_reason = "running", None
    _count_completed(state)


def _complete_chunk(state: ev.RunState, event: ev.ChunkCompletedEvent) -> None:
    if chunk := state.chunks.get(event.chunk_id):
        chunk.status = "completed"
        chunk.finish_reason = event.finish_reason
        chunk.usage, chunk.cost_usd = event.usage, event.cost_usd
        chunk.ttft_s, chunk.duration_s = event.ttft_s, event.duration_s
    _count_completed(state)


def _count_completed(state: ev.RunState) -> None:
    state.completed_chunks = sum(c.status == "completed" for c in state.chunks.values())


def _progress(state: ev.RunState, event: ev.TaskProgressEvent) -> None:
    state.sections = event.sections
    state.total_chunks, state.completed_chunks = event.total_chunks, event.completed_chunks
    state.estimated_time_s, state.estimated_cost_usd = event.estimated_time_s, event.estimated_cost_usd
    state.cost_usd = event.cost_usd


def _complete_task(state: ev.RunState, event: ev.TaskCompletedEvent) -> None:
    state.status, state.content = "completed", event.content
    state.sections, state.points, state.ledger = event.sections, event.points, event.ledger
    state.confidence, state.usage, state.cost_usd = event.confidence, event.usage, event.cost_usd
    state.models_used, state.degraded = event.models_used, event.degraded
    state.simulated, state.artifacts = event.simulated, event.artifacts


def _fail_task(state: ev.RunState, event: ev.TaskErrorEvent) -> None:
    state.status, state.content = "failed", event.partial
    state.usage, state.cost_usd = event.usage, event.cost_usd
    state.error_code, state.error_message = event.code, event.message


def _cancel_task(state: ev.RunState, event: ev.TaskCancelledEvent) -> None:
    state.status, state.content = "cancelled", event.partial
    state.usage, state.cost_usd = event.usage, event.cost_usd
    state.error_message = event.reason


# A look-up, because this is done for each token of each run. What is missing announces and changes nothing.
_CHANGES: Final[dict[type, Callable[[ev.RunState, Any], None]]] = {
    ev.TokenStreamEvent: _stream_tokens,
    ev.FragmentEvent: _add_fragment,
    ev.SynthesisStreamEvent: _stream_synthesis,
    ev.FragmentsRetractedEvent: _retract,
    ev.ChunkStartedEvent: _start_chunk,
    ev.ChunkCompletedEvent: _complete_chunk,
    ev.SynthesisCompletedEvent: _complete_synthesis,
    ev.PointsUpdatedEvent: _update_points,
    ev.SystemMessageEvent: _add_message,
    ev.TaskStartedEvent: _start_task,
    ev.TaskProgressEvent: _progress,
    ev.TaskCompletedEvent: _complete_task,
    ev.TaskErrorEvent: _fail_task,
    ev.TaskCancelledEvent: _cancel_task,
}
