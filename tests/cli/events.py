"""Events made by hand, for tests of what is shown."""

from __future__ import annotations

from typing import Any

from facilitair import events as ev


class Script:
    """Numbers and stamps events, one hundredth of a second apart unless told."""

    def __init__(self) -> None:
        self.seq = 0

    def make(self, kind: type[Any], ts: float | None = None, **fields: Any) -> Any:
        self.seq += 1
        stamp = self.seq / 100 if ts is None else ts
        return kind(stream_id="run-1", seq=self.seq, ts=stamp, **fields)

    def begin(self, *agents: str, simulated: bool = False, cost: float | None = 0.02) -> list[ev.AnyEvent]:
        infos = tuple(
            ev.AgentInfo(name=name, role=name, model=f"m-{name}", provider="acme", tier="resume")
            for name in agents
        )
        return [
            self.make(
                ev.TaskStartedEvent,
                task="t",
                context={},
                strategy="balanced",
                agents=infos,
                simulated=simulated,
            ),
            self.make(
                ev.TaskProgressEvent,
                sections=(ev.SectionInfo(id="s1", title="Design"),),
                total_chunks=len(agents),
                completed_chunks=0,
                estimated_time_s=12.0,
                estimated_cost_usd=cost,
                cost_usd=0.0,
                cache=ev.CacheInfo(state="off"),
            ),
            *(self.chunk(name, number, len(agents)) for number, name in enumerate(agents, 1)),
        ]

    def chunk(self, agent: str, current: int = 1, total: int = 1) -> ev.AnyEvent:
        event: ev.ChunkStartedEvent = self.make(
            ev.ChunkStartedEvent,
            chunk_id=f"s1/{agent}.1",
            section="s1",
            agent=agent,
            role=agent,
            model=f"m-{agent}",
            description=f"{agent} on s1",
            current=current,
            total=total,
            section_index=1,
            section_total=1,
        )
        return event

    def text(self, agent: str, tokens: str, keep: int | None = None, ts: float | None = None) -> ev.AnyEvent:
        event: ev.TokenStreamEvent = self.make(
            ev.TokenStreamEvent, ts, chunk_id=f"s1/{agent}.1", agent=agent, tokens=tokens, keep=keep
        )
        return event

    def fragment(self, agent: str, number: int, start: int, end: int) -> ev.AnyEvent:
        event: ev.FragmentEvent = self.make(
            ev.FragmentEvent,
            chunk_id=f"s1/{agent}.1",
            fragment=f"s1/{agent}.1#{number}",
            start=start,
            end=end,
            derived_from=(),
        )
        return event

    def reaction(self, agent: str, *because: str, action: ev.ReactionAction = "considers") -> ev.AnyEvent:
        event: ev.AgentReactionEvent = self.make(
            ev.AgentReactionEvent,
            chunk_id=f"s1/{agent}.1",
            agent=agent,
            because=because,
            action=action,
            tier="resume",
        )
        return event

    def retracted(self, agent: str, keep: int, *fragments: str, reason: str = "it is wrong") -> ev.AnyEvent:
        event: ev.FragmentsRetractedEvent = self.make(
            ev.FragmentsRetractedEvent,
            chunk_id=f"s1/{agent}.1",
            agent=agent,
            fragments=fragments,
            keep=keep,
            cause="withdrawn",
            root=fragments[0],
            reason=reason,
        )
        return event

    def done(self, agent: str, content: str, finish_reason: str = "stop") -> ev.AnyEvent:
        event: ev.ChunkCompletedEvent = self.make(
            ev.ChunkCompletedEvent,
            chunk_id=f"s1/{agent}.1",
            agent=agent,
            content=content,
            finish_reason=finish_reason,
            usage=ev.Usage(input_tokens=10, output_tokens=20),
            cost_usd=0.001,
            ttft_s=0.4,
            duration_s=3.2,
        )
        return event

    def synthesis(self, content: str, points: tuple[ev.Point, ...] = ()) -> list[ev.AnyEvent]:
        return [
            self.make(ev.SynthesisStreamEvent, section="s1", tokens=content),
            self.make(
                ev.SynthesisCompletedEvent,
                section="s1",
                content=content,
                points=points,
                confidence=ev.Confidence(value=0.71, parts={"after exposure": 0.71}),
            ),
        ]

    def completed(
        self, content: str, degraded: tuple[str, ...] = (), simulated: bool = False
    ) -> ev.TaskCompletedEvent:
        event: ev.TaskCompletedEvent = self.make(
            ev.TaskCompletedEvent,
            content=content,
            sections=(ev.SectionInfo(id="s1", title="Design"),),
            points=(),
            ledger=(),
            confidence=None,
            usage=ev.Usage(input_tokens=1200, output_tokens=340),
            cost_usd=None if simulated else 0.0123,
            models_used=("acme/m-coder",),
            elapsed_s=12.3,
            degraded=degraded,
            simulated=simulated,
        )
        return event

    def failed(self, code: str, partial: str = "half") -> ev.TaskErrorEvent:
        event: ev.TaskErrorEvent = self.make(
            ev.TaskErrorEvent, code=code, message="it failed", partial=partial, usage=ev.Usage()
        )
        return event

    def cancelled(self) -> ev.TaskCancelledEvent:
        event: ev.TaskCancelledEvent = self.make(
            ev.TaskCancelledEvent, reason="interrupted", partial="half", usage=ev.Usage()
        )
        return event
