"""What reaches a person, when, and for how much: one model alone, best of five, `pipeline`, `balanced`.

    python benches/answers.py

Scripts of committed lengths on a virtual clock: 0.4 s to the first token, 80 tokens a second, architect 400 tokens,
coder 600, reviewer 250, documenter 350, synthesizer 150 of its own, refiner 600, second review 80. Every piece counts
as a token, four characters of a prompt as one. *Uncached* prompt tokens are those behind the longest prefix that an
earlier request to the same model had, and all of them where that is below 1,024; the ideal has no such minimum. Dollars
are $3 and $15 a million, a tenth for what was cached. Likeness of news is token overlap; no model is loaded.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from _machine import machine
from facilitair import AgentSpec, Client, Config, Strategy
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.config import ProviderConfig
from facilitair.options import RunOptions
from facilitair.simulator.brain import Brain, Script, pieces
from facilitair.simulator.prompt import Prompt
from facilitair.simulator.script import ScriptTransport
from facilitair.transport import HttpRequest

CHARS_PER_TOKEN: Final = 4
CACHED_FROM: Final = 1024  # tokens
INPUT_USD: Final = 3e-6
OUTPUT_USD: Final = 15e-6
CACHED: Final = 0.1  # of the price
NUMBER_WORDS: Final = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


def prose(name: str, tokens: int) -> str:
    """Return paragraphs of about `tokens` tokens."""
    blocks: list[str] = []
    while len(pieces("\n\n".join(blocks))) < tokens:
        n = len(blocks)
        topic = NUMBER_WORDS[n % len(NUMBER_WORDS)]
        blocks.append(
            f"On the {topic} point the {name} decides this: the store keeps its entries sorted by key, so that one "
            f"reader finds them in a few steps. What was written is on disk before the caller hears of it, part {n}."
        )
    return _cut("\n\n".join(blocks), tokens)


def code(tokens: int, files: int) -> str:
    """Return a sentence and `files` files of about `tokens` tokens in all."""
    texts: list[str] = []
    for number in range(files):
        lines: list[str] = []
        while len(pieces("\n".join(lines))) < (tokens - 10) / files - 12:
            n = len(lines) // 4
            lines += [
                f"def step_{number}_{n}(items):",
                f'    """Do step {n}."""',
                f"    return items[{n}:]",
                "",
            ]
        name = f" title=part_{number}.py" if files > 1 else ""
        texts.append(f"```python{name}\n" + "\n".join(lines).rstrip() + "\n```")
    return "This is all of it.\n\n" + "\n\n".join(texts)


def _cut(text: str, tokens: int) -> str:
    kept = "".join(pieces(text)[:tokens])
    return kept[: kept.rfind(".") + 1] or kept


@dataclass(frozen=True)
class Case:
    """One setting of the comparison."""

    name: str
    files: int
    revises: bool = False
    thoughts: int = 0


def scripts(case: Case) -> dict[str, Script]:
    written = code(600, case.files)

    def review(prompt: Prompt) -> str:
        second = any("refiner" in peer.agent for peer in prompt.peers)
        verdict = (
            "revise the second step loses its last item"
            if case.revises and not second
            else "approve it holds"
        )
        return f"{prose('reviewer', 80 if second else 250)}\n\n@@{prompt.nonce} verdict {verdict}"

    def answer(prompt: Prompt) -> str:
        included = prompt.include or written
        return f"{prose('writer', 75)}\n\n{included}\n\n{prose('editor', 75)}"

    texts: Mapping[str, str | Callable[[Prompt], str]] = {
        "architect": prose("architect", 400),
        "coder": written,
        "reviewer": review,
        "refiner": written.replace("Do step", "Do the step"),
        "documenter": prose("documenter", 350),
        "synthesizer": answer,
        "generic": f"{prose('writer', 75)}\n\n{written}\n\n{prose('editor', 75)}",
    }
    texts = {**texts, "judge": lambda prompt: f"@@{prompt.nonce} include a #1-#9999"}
    thinking = " ".join(["idea"] * case.thoughts)
    manners = ("rethinks",) if case.thoughts else ()
    return {
        n: Script(text=t, ttft_s=0.4, tokens_per_s=80.0, reasoning=thinking, manners=manners)
        for n, t in texts.items()
    }


@dataclass(frozen=True)
class Figures:
    """What one run gave, when, and for how much."""

    first_text_s: float
    first_block_s: float
    answer_s: float
    requests: int
    prompt: int
    uncached: int
    ideal: int
    output: int
    defects: int
    erasure: float

    def usd(self, uncached: int) -> float:
        """Return the dollars when that much of the prompts is new to the provider."""
        return (uncached + (self.prompt - uncached) * CACHED) * INPUT_USD + self.output * OUTPUT_USD


def _common(text: str, other: str) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other))
    )


def prompt_tokens(requests: Sequence[HttpRequest]) -> tuple[int, int, int]:
    """Return the prompt tokens of all requests, those by the rule that are new, and ideally."""
    seen: dict[str, list[str]] = {}
    total = rule = ideal = 0
    for request in requests:
        body = json.loads(request.body)
        text = "".join(f"{m['role']}\x1f{m['content']}\x1e" for m in body["messages"])
        known = max((_common(text, earlier) for earlier in seen.get(body["model"], ())), default=0)
        seen.setdefault(body["model"], []).append(text)
        tokens, cached = len(text) // CHARS_PER_TOKEN, known // CHARS_PER_TOKEN
        total += tokens
        ideal += tokens - cached
        rule += tokens - (cached if cached >= CACHED_FROM else 0)
    return total, rule, ideal


BEST_OF_FIVE: Final = Strategy(
    name="best of five",
    agents=tuple(AgentSpec(name, "coder", model="simulator/generic") for name in "abcde"),
    synthesizer=AgentSpec("judge", "synthesizer", model="simulator/judge"),
    synthesis="section",
)


async def run(case: Case, strategy: str | Strategy, thinks: bool) -> Figures:
    transport = ScriptTransport(Brain(scripts(case)), VirtualClock())
    provider = {"simulator": ProviderConfig(reasoning=("*",))} if thinks else {}
    events: list[ev.AnyEvent] = []
    options: RunOptions = {"strategy": strategy, "simulate": True}
    async with Client(Config(providers=provider), env={}, transport=transport) as client:
        events += [
            event async for event in client.collaborate("Write a small store with its tests", **options)
        ]
    end = events[-1]
    assert isinstance(end, ev.TaskCompletedEvent), end
    assert end.degraded == (), end.degraded
    syntheses = [e for e in events if isinstance(e, ev.SynthesisStreamEvent) and e.tokens]
    total, rule, ideal = prompt_tokens(list(transport.requests))
    output = end.usage.output_tokens
    assert output is not None
    return Figures(
        first_text_s=next(
            e.ts for e in events if isinstance(e, ev.TokenStreamEvent | ev.SynthesisStreamEvent)
        ),
        first_block_s=_first_block(syntheses),
        answer_s=end.ts,
        requests=len(transport.requests),
        prompt=total,
        uncached=rule,
        ideal=ideal,
        output=output,
        defects=_defects(case, end.content),
        erasure=_erased(events) / max(1, len(end.content)),
    )


def _first_block(syntheses: Sequence[ev.SynthesisStreamEvent]) -> float:
    """Return when the first block of the answer had ended."""
    text = ""
    for event in syntheses:
        text = (text if event.keep is None else text[: event.keep]) + event.tokens
        if "\n\n" in text.strip():
            return event.ts
    return syntheses[-1].ts


def _erased(events: Sequence[ev.AnyEvent]) -> int:
    erased, texts = 0, dict[str, int]()
    for event in events:
        if isinstance(event, ev.SynthesisStreamEvent):
            length = texts.get(event.section, 0)
            erased += 0 if event.keep is None else length - event.keep
            texts[event.section] = (length if event.keep is None else event.keep) + len(event.tokens)
    return erased


def _defects(case: Case, content: str) -> int:
    """Count what is wrong in an answer: code that is not the deliverable's, a doubled block, a control line."""
    # One who answers alone has no review, and so nothing to refine.
    wanted = scripts(case)["refiner" if case.revises and "the step" in content else "coder"].text
    assert isinstance(wanted, str)
    blocks = [block for block in content.split("\n\n") if len(block) > 40]
    missing = sum(part not in content for part in wanted.split("\n\n")[1:])
    return missing + len(blocks) - len(set(blocks)) + content.count("@@")


CASES: Final = (
    Case("four files, approved", files=4),
    Case("one fence, approved", files=1),
    Case("four files, revised once", files=4, revises=True),
    Case("one fence, revised once", files=1, revises=True),
    Case("four files, approved, 700 thoughts a request", files=4, thoughts=700),
)


async def compare(case: Case) -> list[str]:
    thinks = bool(case.thoughts)
    sides = {
        "one model alone": await run(case, "single", thinks),
        "best of five, and a judge": await run(case, BEST_OF_FIVE, thinks),
        "pipeline": await run(case, "pipeline", thinks),
        "balanced": await run(case, "balanced", thinks),
    }
    columns = (
        "first text | first block | answer | requests | prompt (new: rule / ideal) | $ | defects | erasure"
    )
    rows = [f"| {case.name} | {columns} |", "|---|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for name, f in sides.items():
        rows.append(
            f"| {name} | {f.first_text_s:.1f} s | {f.first_block_s:.1f} s | {f.answer_s:.1f} s | {f.requests} "
            f"| {f.prompt:,} ({f.uncached:,} / {f.ideal:,}) | {f.usd(f.uncached):.4f} | {f.defects} | {f.erasure:.2f} |"
        )
    pipeline, balanced = sides["pipeline"], sides["balanced"]
    rows.append(
        f"| balanced / pipeline | | | {balanced.answer_s / pipeline.answer_s:.2f} "
        f"| {balanced.requests} to {pipeline.requests} "
        f"| {balanced.uncached / pipeline.uncached:.2f} / {balanced.ideal / pipeline.ideal:.2f} "
        f"| {balanced.usd(balanced.uncached) / pipeline.usd(pipeline.uncached):.2f} | | |"
    )
    return rows


async def main() -> None:
    print(machine())
    for case in CASES:
        print("\n" + "\n".join(await compare(case)))


if __name__ == "__main__":
    asyncio.run(main())
