"""What is left of a text in a run of `balanced` whose models go on as chat models do.

    python benches/manners.py

Every manner of the simulator, on both tiers, on four tasks: Python in one fence, TypeScript in four files, a design,
a plain question in German. All agents have the manner; their texts concern each other, so that they interrupt each
other. A text is as it should be when it is exactly its script's: no word glued, no block doubled or lost, no remark, no
control line. Remarks that come twice in place of the words asked for may stay, as a block of their own, and are
counted apart. The answer's code must be the deliverable's, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from _machine import machine
from facilitair import Client, Config
from facilitair import events as ev
from facilitair.clock import VirtualClock
from facilitair.config import LimitsConfig
from facilitair.options import RunOptions
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.manners import MANNERS
from facilitair.simulator.manners import REMARKS as SAID
from facilitair.simulator.prompt import Prompt
from facilitair.simulator.script import ScriptTransport

AGENTS: Final = ("architect", "coder", "documenter")
REMARKS: Final = ("answersx9", "contentx9", "preamblex9")
SINGLE: Final = tuple(MANNERS)


@dataclass(frozen=True)
class Task:
    """A task, and what each agent says about it."""

    name: str
    statement: Callable[[str, int], str]
    code: tuple[str, ...] = ()


def english(name: str, n: int) -> str:
    return (
        f"The port of service{n} is {8000 + n + len(name)}, as the {name} has it, and `load_{n}` opens it with the "
        f"settings of the host.\n\n- It waits {n + len(name)} seconds.\n- It never retries."
    )


def german(name: str, n: int) -> str:
    return (
        f"Der Anschluss {n} des Hauses liegt nach Ansicht des {name} bei {100 + n + len(name)} Metern, und der Weg "
        f"dorthin führt am Haus vorbei.\n\n| Anschluss | Meter |\n|---|---|\n| {n} | {100 + n + len(name)} |"
    )


def python() -> str:
    parts = (f"def open_{n}(host):\n    port = {9000 + n}\n    return host, port" for n in range(14))
    return "```python title=ports.py\n" + "\n\n\n".join(parts) + "\n```"


def typescript(number: int) -> str:
    parts = (f"export function open{number}_{n}(host: string) {{\n  return host + {n};\n}}" for n in range(4))
    return (
        f"```ts title=src/part{number}.ts\nimport {{ host }} from './host';\n\n"
        + "\n\n".join(parts)
        + "\n```"
    )


TASKS: Final = (
    Task("Python in one fence", english, (python(),)),
    Task("TypeScript in four files", english, tuple(typescript(n) for n in range(4))),
    Task("a design", english),
    Task("a question in German", german),
)


def text(task: Task, name: str) -> str:
    """Return the text of an agent: statements, and the coder's code between them."""
    blocks = [f"# {task.name}", *(task.statement(name, n) for n in range(6))]
    if name == "coder":
        for number, code in enumerate(task.code):
            blocks.insert(3 + 2 * number, code)
    return "\n\n".join(blocks)


def scripts(task: Task) -> dict[str, Script]:
    def review(prompt: Prompt) -> str:
        return f"{text(task, 'reviewer')}\n\n@@{prompt.nonce} verdict approve it holds"

    def answer(prompt: Prompt) -> str:
        code = f"{prompt.include}\n\n" if task.code else ""
        return f"{task.statement('writer', 1)}\n\n{code}{task.statement('editor', 2)}"

    said: dict[str, Script] = {name: Script(text=text(task, name), reasoning="Hm. " * 9) for name in AGENTS}
    return {
        **said,
        "reviewer": Script(text=review, reasoning="Hm. " * 9),
        "refiner": Script(text=text(task, "coder")),
        "synthesizer": Script(text=answer, reasoning="Hm. " * 9),
    }


async def run(task: Task, manner: str, tier: str, counts: Counter[str]) -> None:
    """Play a run and count its texts by what they are."""
    transport = ScriptTransport(Brain(scripts(task), seed=7), VirtualClock())
    names = (*AGENTS, "reviewer", "refiner", "synthesizer")
    options: RunOptions = {
        "strategy": "balanced",
        "models": {n: f"simulator/{n}{manner}{tier}" for n in names},
    }
    config = Config(limits=LimitsConfig(max_interrupts=2, max_sections=1))
    async with Client(config, env={}, transport=transport) as client:
        events = [event async for event in client.collaborate("Do it", **options)]
    end = events[-1]
    assert isinstance(end, ev.TaskCompletedEvent), end
    final = {e.agent: e.content for e in events if isinstance(e, ev.ChunkCompletedEvent)}
    counts["interruptions"] += sum(
        isinstance(e, ev.AgentReactionEvent) and e.action == "continues" for e in events
    )
    named = {loss.partition(" on ")[0] for loss in end.degraded}
    for name in AGENTS:
        judge(manner, tier, task, name, final[name], text(task, name), named, counts)
    review = final["reviewer"].partition("\n\n**")[0]
    judge(manner, tier, task, "reviewer", review.strip(), text(task, "reviewer"), named, counts)
    code = "\n\n".join(task.code)
    parts = [task.statement("writer", 1), *([code] if code else []), task.statement("editor", 2)]
    lost = {"answer"} if "synthesizer" in named else set[str]()
    judge(manner, tier, task, "answer", end.content, "\n\n".join(parts), lost, counts)
    if code and code not in end.content and not named:
        counts["code that is not the deliverable's"] += 1


def judge(
    manner: str,
    tier: str,
    task: Task,
    name: str,
    got: str,
    wanted: str,
    named: set[str],
    counts: Counter[str],
) -> None:
    counts["texts"] += 1
    alike = (
        manner.startswith(("+reworded", "+moody")) and got.partition("\n\n")[2] == wanted.partition("\n\n")[2]
    )
    if got.strip() == wanted.strip():
        counts["exact"] += 1
    elif alike:
        counts["first block in its author's other words"] += 1
    elif "@@" in got:
        counts["control line visible"] += 1
        print(f"  control line visible: {manner or 'as asked'}{tier}, {task.name}, {name}")
    elif manner.startswith(tuple(f"+{remark}" for remark in REMARKS)) or got.rpartition("\n\n")[2] in SAID:
        counts["remark that came twice, a block of its own"] += 1
    elif name == "answer" and manner == "+unruly" and all(block in got for block in wanted.split("\n\n")):
        counts["answer without its line, code supplied at the end"] += 1
    elif name in named:
        counts["cut short, and named in degraded"] += 1
    else:
        counts["defect"] += 1
        print(f"  defect: {manner or 'as asked'}{tier}, {task.name}, {name}: {difference(got, wanted)}")


def difference(got: str, wanted: str) -> str:
    at = next(
        (n for n, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted))
    )
    return f"at {at}: {got[max(0, at - 30) : at + 40]!r} for {wanted[max(0, at - 30) : at + 40]!r}"


async def main() -> None:
    print(machine())
    counts: Counter[str] = Counter()
    for task in TASKS:
        for manner in ("", *(f"+{name}" for name in SINGLE), "+moody", *(f"+{remark}" for remark in REMARKS)):
            for tier in ("", "+resume"):
                await run(task, manner, tier, counts)
    print("\n| what | count |\n|---|---:|")
    print("\n".join(f"| {what} | {count} |" for what, count in counts.items()))


if __name__ == "__main__":
    asyncio.run(main())
