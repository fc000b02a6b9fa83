"""Whatever happens: one terminal event, always the last, and folding gives the result.

Runs are drawn with everything that can go wrong in them: any graph, with or without an outline and a review loop,
models that fail, stop short, take back and interrupt each other, and every limit. Time is virtual, so a run that
would never end is one that passes a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facilitair import AgentSpec, Collaboration, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig, PriceConfig, ProviderConfig
from facilitair.engine.graph import EdgeKind, Loop, SynthesisTiming
from facilitair.options import RunOptions
from facilitair.simulator.brain import Script
from facilitair.simulator.manners import MANNERS
from facilitair.simulator.prompt import Prompt

from .counting import counted, most_open
from .harness import Played, play

DAY_S = 86_400
NAMES = ("a", "b", "c", "d", "e")
MODELS = (*NAMES, "synthesizer")
FAULTS = (
    "",
    "",
    "",
    "+429x1",
    "+429x1=40",
    "+500x9",
    "+500x1",
    "+refused",
    "+refusedx1",
    "+cut",
    "+cutx1",
    "+cutx1=0",
    "+cutx1=0.1",
    "+error",
    "+errorx1",
    "+malformedx1",
    "+stallx1",
    "+silentx1",
    "+bytes",
    "+length",
    "+lengthx1",
    "+slow=7",
    "+nousage",
    "+dupdone",
    "+u2028",
)

TEXTS = (
    "A sentence. ",
    "A second one!\n\n",
    "- item\n",
    "word ",
    "# Heading\n",
    "```py\nx = 1\n\ny = 2\n```\n",
    "```\nunclosed\n",
    "\n\n",
    " ",
)
RESTS = (
    "#1 wrong",
    "#2 wrong",
    "#3",
    "#7 not there",
    "approve",
    "approve. It is fine",
    "revise",
    "Title A",
    "Title B",
    "Task",
    "task/a.1#1 no",
    "",
)
line = st.one_of(st.sampled_from(TEXTS), st.text(alphabet="ab .\n`@é🦀\u2028\r\x85", max_size=12))
control = st.tuples(
    st.sampled_from(["retract", "retract", "object", "verdict", "section", "done", "add"]),
    st.sampled_from(RESTS),
)
part = st.one_of(line, line, line, control)


def said(parts: list[str | tuple[str, str]], nonce: str | None, end: str) -> str:
    """Return a text of plain parts and control lines, of which the last may lack its line end."""
    lines = (p if isinstance(p, str) else f"\n@@{nonce} {p[0]} {p[1]}\n" for p in parts)
    return "".join(lines).removesuffix("\n") + end


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    parts = draw(st.lists(part, max_size=25))
    more = draw(st.lists(part, max_size=5))
    end = draw(st.sampled_from(["", "\n"]))

    def text(prompt: Prompt) -> str:
        if prompt.own and more:
            return prompt.own + said(more, prompt.nonce, end)
        return said(parts, prompt.nonce, end)

    return Script(
        text=text,
        ttft_s=draw(st.sampled_from([0.0, 0.3, 3.0])),
        tokens_per_s=draw(st.sampled_from([5.0, 80.0, 1000.0])),
        reasoning=draw(st.sampled_from(["", "Let me think. "])),
        manners=draw(st.sampled_from([(), (), ("moody",), *[(name,) for name in MANNERS]])),
        usage=draw(st.booleans()),
    )


@st.composite
def graphs(draw: st.DrawFn) -> Strategy:
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    kinds: st.SearchStrategy[EdgeKind] = st.sampled_from(["live", "live", "after"])
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    edges = {pair: draw(kinds) for pair in pairs if draw(st.booleans())}
    loop = None
    if len(names) >= 3 and draw(st.booleans()):
        at = draw(st.integers(1, len(names) - 2))
        loop = Loop(names[at], names[at + 1], draw(st.integers(1, 3)))
        edges[loop.reviewer, loop.refiner] = "after"
        edges.setdefault((names[0], loop.refiner), draw(kinds))
    roles = {name: draw(st.sampled_from(["coder", "coder", "architect"])) for name in names}
    if loop is not None:
        roles[loop.reviewer] = draw(st.sampled_from(["reviewer", "reviewer", "architect"]))
    models = {
        name: f"simulator/{name}{draw(st.sampled_from(FAULTS))}{draw(st.sampled_from(['', '+resume']))}"
        for name in (*names, "synthesizer")
    }
    timing: SynthesisTiming = draw(st.sampled_from(["live", "section", "end"]))
    answer = draw(st.sampled_from([None, None, *names]))
    synthesizer = AgentSpec("synthesizer", "synthesizer", model=models["synthesizer"])
    return Strategy(
        name="drawn",
        agents=tuple(AgentSpec(n, roles[n], model=models[n]) for n in names),
        edges=tuple(Edge(a, b, kind) for (a, b), kind in edges.items()),
        synthesizer=synthesizer if answer is None else None,
        loop=loop,
        synthesis=timing,
        answer=answer,
        deliverables=draw(st.one_of(st.none(), chains(names))),
    )


@st.composite
def chains(draw: st.DrawFn, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Divide some of the agents into chains."""
    some = draw(st.permutations(names))[: draw(st.integers(1, len(names)))]
    cut = draw(st.integers(0, len(some)))
    return tuple(filter(None, (tuple(some[:cut]), tuple(some[cut:]))))


STOPS: tuple[RunOptions, ...] = (
    {},
    {},
    {"timeout": 4.0},
    {"max_tokens": 700},
    {"max_tokens": 2000},
    {"max_cost": 0.05},
    {"max_cost": 0.2},
)
limits_drawn = st.builds(
    LimitsConfig,
    max_rollbacks=st.integers(0, 2),
    max_interrupts=st.integers(0, 3),
    max_streams=st.sampled_from([1, 1, 2, 16]),
    quorum=st.sampled_from([0.1, 0.5, 1.0]),
    max_sections=st.sampled_from([1, 2, 4]),
    retries=st.integers(0, 2),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    texts=st.fixed_dictionaries({name: scripts() for name in MODELS}),
    graph=graphs(),
    sections=st.sampled_from([None, None, ["One"], ["One", "Two", "Task"]]),
    stop=st.sampled_from(STOPS),
    cancel_at=st.sampled_from([None, None, None, None, 1, 20, 60]),
    limits=limits_drawn,
    tier=st.sampled_from([None, None, None, "none", "resume"]),
)
def test_every_run_ends_once_and_folds_to_its_result(
    texts: dict[str, Script],
    graph: Strategy,
    sections: list[str] | None,
    stop: RunOptions,
    cancel_at: int | None,
    limits: LimitsConfig,
    tier: Literal["none", "resume"] | None,
) -> None:
    price = PriceConfig(input_per_mtok=10.0, output_per_mtok=50.0)
    models = {str(agent.model) for agent in graph.specs}
    config = Config(
        limits=limits,
        providers={} if tier is None else {"simulator": ProviderConfig(tier=tier)},
        pricing=dict.fromkeys(models, price) if "max_cost" in stop else {},
    )

    def look(run: Collaboration, event: ev.AnyEvent) -> None:
        assert event.ts < DAY_S
        if cancel_at is not None and event.seq >= cancel_at:
            run.cancel("drawn")

    options: RunOptions = {**stop, "strategy": graph, "sections": sections}
    with counted():
        played = play(texts, config=config, look=look, **options)
    assert most_open(played) <= limits.max_streams
    check_ending(played, stop)
    check_provenance(played)


def check_ending(played: Played, stop: RunOptions) -> None:
    """Assert that the run ended for a reason that can be, and kept to what it might cost."""
    match played.last:
        case ev.TaskErrorEvent(code=code):
            assert code in ("agents_failed", "budget_exceeded", "deadline_exceeded")
        case ev.TaskCompletedEvent(content=content, degraded=degraded):
            # A synthesizer that was stopped for good may leave nothing; the end must say so.
            if not any(loss.startswith("synthesizer on ") for loss in degraded):
                done = [e.section for e in played.of(ev.SynthesisCompletedEvent)]
                assert sorted(done) == sorted(played.state.syntheses)
                assert content
            if not degraded:
                assert all(chunk.finish_reason == "stop" for chunk in played.state.chunks.values())
        case _:
            pass
    cost, most = played.state.cost_usd, stop.get("max_cost")
    if cost is not None and most is not None:
        assert cost <= most * 1.3  # a batch may cross the limit, and a report differ from our count


def check_provenance(played: Played) -> None:
    """Assert that nothing retracted stands, nor anything that was built on it, and that fragments tile texts."""
    gone = {f for e in played.of(ev.FragmentsRetractedEvent) for f in e.fragments}
    for chunk in played.state.chunks.values():
        assert not {f.id for f in chunk.fragments} & gone
        assert not {d for f in chunk.fragments for d in f.derived_from} & gone
        assert [f.start for f in chunk.fragments][1:] == [f.end for f in chunk.fragments][:-1]
