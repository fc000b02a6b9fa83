"""What the built-in scripts say about the task at hand: the templates of `personas.toml`, filled from the prompt.

A text is a list of blocks (paragraphs, code); what peers wrote is taken up in a block of its own between two
others. The place in the text is found again from the text itself, so a continuation goes on where it stopped, and
takes up what its prompt quotes newly.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, Literal

import msgspec

from .prompt import Prompt

DISCLAIMER: Final = (
    "*Simulated: scripts wrote this, no language model did. Configure a provider to get a real answer.*"
)
_GAP: Final = "\n\n"
_LONGEST_QUOTE: Final = 90  # characters of the task
_QUOTABLE: Final = re.compile(
    r"(?!(?:It|They|This|That|These|Those|Both|Each|One)\b)"
    r"[A-Z](?=(?:\S+ +){4})[^\n“”\"`{}=;<>@#*_\[\]\\]{8,150}[.!?]"
)
_SHORT_TASK: Final = 4  # words; a task that short gets two sections
_LIST_ITEM: Final = re.compile(r"\n(?=- |\d+\. )")
_SMALL_WORDS: Final = re.compile(
    r"(?:an?|and|as|at|by|for|from|how|i|in|is|it|me|my|of|on|or|our|so|that|the|this|to|us|we|what|with|your?)"
)


class Persona(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One built-in script: templates and pace; the fields are explained in `personas.toml`."""

    text: str
    reaction: str
    ttft_s: float
    tokens_per_s: float
    reactions: int = 1
    parts: dict[str, str] = msgspec.field(default_factory=dict)
    again: str = ""
    outline: tuple[str, ...] = ()
    revise: str = ""
    approve: str = ""
    reasoning: str = ""

    def answer(self, prompt: Prompt) -> str:
        """Return the own text of `prompt` so far and all that follows it."""
        second = bool(self.again) and any("refiner" in peer.agent for peer in prompt.peers)
        section = prompt.section.lower()
        text = next((text for key, text in self.parts.items() if key in section), self.text)
        values = _values(prompt)
        blocks = [block.format_map(values) for block in _blocks(self.again if second else text)]
        if self.outline and prompt.wants_outline:
            titles = self.outline[: 2 if len(prompt.task.split()) <= _SHORT_TASK else None]
            blocks.insert(0, "\n".join(f"@@{prompt.nonce} section {title}" for title in titles))
        if self.revise and prompt.wants_verdict:
            verdict = f"approve {self.approve}" if second else f"revise {self.revise}"
            blocks.append(f"@@{prompt.nonce} verdict {verdict}")
        return _continued(prompt.own, blocks, self._reactions(prompt))

    def thought(self, prompt: Prompt) -> str:
        """Return what it thinks before it answers; empty for most."""
        return " ".join(self.reasoning.format_map(_values(prompt)).split())

    def _reactions(self, prompt: Prompt) -> list[str]:
        """Return a block for each of the first telling sentences of every update. Updates may stand in one message;
        an author's second quote belongs to the second one."""
        taken: dict[str, str] = {}
        quoted, room = Counter[str](), Counter[int]()
        for peer in prompt.peers:
            quoted[peer.agent] += 1
            update = quoted[peer.agent]
            sentence = next((said for said in _sentences(peer.text) if said not in taken), None)
            if sentence and room[update] < self.reactions:
                room[update] += 1
                taken[sentence] = self.reaction.format(agent=peer.agent, first=peer.first, sentence=sentence)
        return list(taken.values())


class _Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str
    tests: str
    file: str
    tests_file: str
    aliases: tuple[str, ...]
    naming: Literal["snake", "camel", "pascal"]


class _Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    persona: dict[str, Persona]
    code: dict[str, _Code]


@cache
def _texts() -> _Texts:
    return msgspec.toml.decode(Path(__file__).with_name("personas.toml").read_bytes(), type=_Texts)


def personas() -> Mapping[str, Persona]:
    """Return the built-in scripts by name."""
    return _texts().persona


def _blocks(template: str) -> list[str]:
    """Return the blocks of a template, each on one line but for its list items."""
    return [
        "\n".join(" ".join(line.split()) for line in _LIST_ITEM.split(block))
        for block in template.strip().split(_GAP)
    ]


def _continued(own: str, blocks: Sequence[str], reactions: Sequence[str]) -> str:
    """Return `own`, the rest of the block it ends in, and all blocks it lacks. Reactions come as soon as the control
    lines and the first paragraph are out."""
    opening = 2 if blocks[0].startswith("@@") else 1
    written, lacking = _written(own, blocks, opening, reactions)
    text = own + lacking
    for block in _order(blocks, written, opening, reactions):
        breaks = len(text) - len(text.rstrip("\n"))
        text += _GAP[breaks:] + block if text.strip() else block
    return text


def _written(own: str, blocks: Sequence[str], opening: int, reactions: Sequence[str]) -> tuple[set[str], str]:
    """Return the blocks `own` consists of, and what it lacks of the one it ends in.

    Paragraphs may be strange to us, because they came from another prompt, and control lines may be missing, because
    it is a reader's copy: both are passed over.
    """
    written: set[str] = set()
    lacking, rest = "", own.lstrip()
    while rest:
        following = _order(blocks, written, opening, reactions)
        block = next((b for b in following if rest.startswith(b) or b.startswith(rest)), None)
        if block is None:
            rest = rest.partition(_GAP)[2].lstrip()
            continue
        written.add(block)
        lacking, rest = block[len(rest) :], rest[len(block) :].lstrip()
    return written, lacking


def _order(blocks: Sequence[str], written: set[str], opening: int, reactions: Sequence[str]) -> list[str]:
    """Return what is to be written after `written`, in order: no block before the last one written, and nothing new
    once all is said."""
    after = 1 + max((number for number, block in enumerate(blocks) if block in written), default=-1)
    if all(block.startswith("@@") for block in blocks[after:]):
        return list(blocks[after:])
    first = max(opening, after)
    return [*blocks[after:first], *(b for b in reactions if b not in written), *blocks[first:]]


def _values(prompt: Prompt) -> dict[str, str]:
    """Return what the placeholders of the templates stand for."""
    task, language = _shortened(prompt.task), _shortened(prompt.language)
    fence = _fence(language)
    code = _texts().code[fence or "python"]
    call = _named(prompt.task, code.naming)
    if not language:
        language = "Python, as no language was named"
    elif fence is None:
        language = f"Python, as this script knows no {language}"
    comment = task.replace("\\", "/").replace('"', "'")

    def block(template: str, file: str) -> str:
        body = template.strip().replace("CALL", call).replace("TASK", comment)
        return f"```{fence or 'python'} title={file}\n{body}\n```"

    return {
        "task": f"“{task}”" if task else "the task",
        "part": f" ({_shortened(prompt.section)})" if prompt.section else "",
        "language": language,
        "edge": f"The {_shortened(prompt.framework)} layer" if prompt.framework else "The layer around it",
        "call": call,
        "code": block(code.text, code.file),
        "tests": block(code.tests, code.tests_file),
        "included": prompt.include or block(code.text, code.file),
        "included_tests": prompt.include or block(code.tests, code.tests_file),
        "disclaimer": DISCLAIMER,
    }


def _fence(language: str) -> str | None:
    return next((f for f, code in _texts().code.items() if language.lower() in (f, *code.aliases)), None)


def _named(task: str, naming: str) -> str:
    """Return a name for what the task asks for."""
    words = [
        word for word in re.findall(r"[a-z][a-z0-9]*", task.lower()) if not _SMALL_WORDS.fullmatch(word)
    ][:3]
    words = words if len(words) > 1 else ["handle", *(words or ["items"])]
    if naming == "snake":
        return "_".join(words)
    joined = "".join(word.capitalize() for word in words)
    return joined if naming == "pascal" else joined[0].lower() + joined[1:]


def _sentences(text: str) -> list[str]:
    """Return the sentences in `text` that can be quoted on their own: whole, short, no code, no quotes in them."""
    lines = (re.sub(r"^\W*(?:\d+\W+)?", "", line) for line in text.split("\n"))
    sentences = (sentence for line in lines for sentence in re.split(r"(?<=[.!?])\s+", line))
    return [sentence for sentence in sentences if _QUOTABLE.fullmatch(sentence)]


def _shortened(text: str) -> str:
    """Return `text` on one line, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= _LONGEST_QUOTE:
        return line
    cut = line[:_LONGEST_QUOTE]
    return (cut.rpartition(" ")[0] or cut) + "…"
