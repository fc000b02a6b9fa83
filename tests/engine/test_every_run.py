"""Whatever happens: one terminal event, always the last, and folding gives the result."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from facilitair import AgentSpec, Config, Edge, Strategy
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.engine.graph import SynthesisTiming
from facilitair.simulator.brain import Script
from facilitair.simulator.prompt import Prompt

from .harness import SYNTHESIZER, Look, play

NAMES = ("a", "b", "c", "d")
FAULTS = (
    "",
    "+429x1",
    "+500x9",
    "+cut",
    "+error",
    "+malformed",
    "+stall",
    "+bytes",
    "+length",
    "+refusedx1",
    "+slow=7",
)

TEXTS = ("A sentence. ", "A second one!\n\n", "- item\n", "word ", "```py\nx = 1\n\ny = 2\n```\n")
line = st.one_of(st.sampled_from(TEXTS), st.text(alphabet="ab .\n`@é🦀", max_size=12))
control = st.builds(
    lambda verb, rest: (verb, rest),
    st.sampled_from(["retract", "object", "verdict", "section"]),
    st.sampled_from(["#1 wrong", "#2 wrong", "#3", "approve", "task/a.1#1 no", "nonsense"]),
)


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    parts = draw(st.lists(st.one_of(line, line, line, control), min_size=1, max_size=25))

    def text(prompt: Prompt) -> str:
        return "".join(p if isinstance(p, str) else f"\n@@{prompt.nonce} {p[0]} {p[1]}\n" for p in parts)

    return Script(
        text=text,
        ttft_s=draw(st.sampled_from([0.0, 0.3, 3.0])),
        tokens_per_s=draw(st.sampled_from([5.0, 80.0, 1000.0])),
        overlap=draw(st.sampled_from([0, 15])),
    )


@st.composite
def graphs(draw: st.DrawFn) -> Strategy:
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    edges = [Edge(a, b, draw(st.sampled_from(["live", "after"]))) for a, b in pairs if draw(st.booleans())]
    options = st.sampled_from(["", "+resume"])
    agents = tuple(
        AgentSpec(n, "coder", model=f"simulator/{n}{draw(st.sampled_from(FAULTS))}{draw(options)}")
        for n in names
    )
    timing: SynthesisTiming = draw(st.sampled_from(["live", "section", "end"]))
    return Strategy(
        name="drawn", agents=agents, edges=tuple(edges), synthesizer=SYNTHESIZER, synthesis=timing
    )


@settings(max_examples=150)
@given(
    st.fixed_dictionaries({n: scripts() for n in (*NAMES, "synthesizer")}),
    graphs(),
    st.sampled_from([None, ["One", "Two"]]),
    st.sampled_from([{}, {"timeout": 4.0}, {"max_tokens": 2000}, {"cancel_at": 20}]),
    st.builds(
        LimitsConfig,
        max_rollbacks=st.integers(0, 2),
        max_interrupts=st.integers(0, 3),
        max_streams=st.integers(1, 8),
        quorum=st.sampled_from([0.1, 0.5, 1.0]),
    ),
)
def test_every_run_ends_once_and_folds_to_its_result(
    texts: dict[str, Script],
    graph: Strategy,
    sections: list[str] | None,
    stop: dict[str, float],
    limits: LimitsConfig,
) -> None:
    cancel_at = stop.pop("cancel_at", None) if (stop := dict(stop)) else None
    look: Look | None = None
    if cancel_at is not None:
        look = lambda run, event: run.cancel("drawn") if event.seq >= cancel_at else None  # noqa: E731
    played = play(
        texts,
        strategy=graph,
        sections=sections,
        config=Config(limits=limits),
        look=look,
        **stop,  # type: ignore[arg-type]
    )
    gone = {f for e in played.of(ev.FragmentsRetractedEvent) for f in e.fragments}
    if isinstance(played.last, ev.TaskCompletedEvent):
        for chunk in played.state.chunks.values():
            standing = {f.id for f in chunk.fragments}
            assert not standing & gone
            assert not {d for f in chunk.fragments for d in f.derived_from} & gone
            assert [f.start for f in chunk.fragments][1:] == [f.end for f in chunk.fragments][:-1]
