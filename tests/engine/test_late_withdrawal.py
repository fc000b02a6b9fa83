"""An author that is wrong in its first block and takes that back late leaves no trace of it, whenever that is."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from facilitair import Config
from facilitair import events as ev
from facilitair.config import LimitsConfig
from facilitair.simulator.brain import Script
from facilitair.simulator.prompt import Prompt

from .harness import chain, play, sentences

WRONG = "WRONG: the port is 8000 and never 9000, whatever else is said about it here."


def takes_on(name: str, count: int) -> Script:
    """Return a reader that repeats what it was shown of the error."""

    def text(prompt: Prompt) -> str:
        seen = any("WRONG" in peer.text for peer in prompt.peers)
        return f"{'WRONG as well.' if seen else 'Rightly.'}\n\n{sentences(name, count)}"

    return Script(text=text)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    late=st.integers(1, 30),
    speeds=st.tuples(*[st.sampled_from([20.0, 60.0, 80.0, 200.0, 900.0])] * 4),
    starts=st.tuples(*[st.sampled_from([0.0, 0.1, 0.4, 2.0])] * 4),
    tier=st.sampled_from(["", "+resume"]),
    interrupts=st.integers(0, 2),
)
def test_nothing_of_it_is_left(
    late: int, speeds: tuple[float, ...], starts: tuple[float, ...], tier: str, interrupts: int
) -> None:
    def author(prompt: Prompt) -> str:
        line = f"\n\n@@{prompt.nonce} retract #1 it was wrong\n"
        return f"{WRONG}\n\n{sentences('a', late)}{line}{sentences('a mended', 6)}"

    scripts = {
        "a": Script(text=author),
        "b": takes_on("b", 12),
        "c": takes_on("c", 8),
        "synthesizer": takes_on("s", 6),
    }
    timed = {
        name: Script(text=script.text, tokens_per_s=speeds[n], ttft_s=starts[n])
        for n, (name, script) in enumerate(scripts.items())
    }
    graph = chain("a", "b", "c")
    agents = tuple(replace(agent, model=f"{agent.model}{tier}") for agent in graph.agents)
    config = Config(limits=LimitsConfig(max_interrupts=interrupts))
    played = play(timed, strategy=replace(graph, agents=agents), config=config)
    assert isinstance(played.last, ev.TaskCompletedEvent)
    assert "WRONG" not in played.last.content
    assert not any("WRONG" in chunk.text for chunk in played.state.chunks.values())
    assert played.text("a") == sentences("a mended", 6)
    assert played.last.degraded == ()
