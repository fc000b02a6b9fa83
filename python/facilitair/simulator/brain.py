"""The simulator's brain: a chat request in, the bytes of the answer and their times out. No I/O, no clock.

The loopback server and the in-process transport both play what `Brain.reply` returns. The same requests in the same
order give the same replies; what it remembers (how often a model was asked, which prompts it has seen) is bounded.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Protocol

import msgspec

from ..errors import FaultError
from ..protocols import Wire
from . import messages, wire
from .faults import Fault, parse_faults
from .manners import MANNERS, MOODY, Asked, Kind, Situation, as_asked, drawn, parse_manners
from .naming import read_name
from .personas import Persona, personas
from .prompt import Prompt, Turn, rest_of
from .wire import Answer, Refusal, Reply, json_reply

OWNER: Final = "facilitair-simulator (simulated)"
_PIECE: Final = re.compile(r"\s*\S{1,6}|\s+")
_ODD_CHARACTERS: Final = "These stay inside the text: \u2028 and \u2029 and \x85, 🦀 and 👩\u200d💻."
_CHARS_PER_TOKEN: Final = 4
_BLOCK: Final = 16 * _CHARS_PER_TOKEN  # characters; prompts are remembered in blocks of 16 tokens
_BLOCKS_KEPT: Final = 100_000
_MODELS_KEPT: Final = 1_000


def pieces(text: str) -> list[str]:
    """Return `text` in pieces about as large as tokens."""
    return _PIECE.findall(text)


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a model says, and at which pace. Raises `ValueError` for a pace that cannot be, or an unknown fault.

    `text` is the whole answer. A callable gets the prompt; it may begin with `prompt.own`, which is not said
    again. The first piece comes after `ttft_s`, the others every `between_s` (or at `tokens_per_s`), each delay
    varied by up to `jitter` (a share of it, from the seed). `reasoning` is thought aloud before a new answer, and
    before each continuation with the manner "rethinks". `faults` and `manners` happen as if the model name asked for
    them.
    `split` must return pieces that join to the text.
    """

    text: str | Callable[[Prompt], str]
    ttft_s: float = 0.4
    tokens_per_s: float = 80.0
    between_s: float | None = None
    jitter: float = 0.0
    reasoning: str | Callable[[Prompt], str] = ""
    usage: bool = True
    faults: Sequence[str] = ()
    manners: Sequence[str] = ()
    split: Callable[[str], Sequence[str]] = pieces

    def __post_init__(self) -> None:
        if not (0 <= self.ttft_s < math.inf and 0 <= self.pause_s < math.inf):
            raise ValueError("the times of a script must be finite and not negative")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter is a share from 0 to 1")
        parse_faults(self.faults)
        parse_manners(self.manners)

    @property
    def pause_s(self) -> float:
        """Seconds between two pieces, before jitter."""
        if self.between_s is not None:
            return self.between_s
        return 1 / self.tokens_per_s if self.tokens_per_s > 0 else math.inf

    def reply(self, prompt: Prompt, manner: str | None, chance: random.Random) -> str:
        """Return what it says to `prompt`: in that manner, where one is named that fits."""
        whole = self.text if isinstance(self.text, str) else self.text(prompt)
        case = Situation(
            kind=kind_of(prompt),
            own=prompt.own,
            whole=whole,
            rest=_last_words(whole, prompt) if prompt.is_last else rest_of(whole, prompt.own),
            anchor="" if prompt.is_last else prompt.anchor,
            nonce=prompt.nonce or "",
            chance=chance,
        )
        return (as_asked if manner is None else MANNERS[manner].manner)(case)

    def thought(self, prompt: Prompt, manner: str | None) -> str:
        """Return what it thinks first; an answer that is continued was thought through before."""
        if prompt.own and manner != "rethinks":
            return ""
        return self.reasoning if isinstance(self.reasoning, str) else self.reasoning(prompt)


def kind_of(prompt: Prompt) -> Kind:
    """Return what kind of reply is asked for."""
    if not prompt.own:
        return "begins"
    if prompt.is_last:
        return "last"
    return "in place" if prompt.prefilled else "goes on"


def _last_words(whole: str, prompt: Prompt) -> str:
    """Return the answer to a last request: the verdict that the script comes to, or what its text still lacks."""
    verdicts = re.findall(rf"^@@{prompt.nonce} verdict [^\n]*$", whole, re.M)
    if verdicts:
        return str(verdicts[-1])
    rest = rest_of(whole, prompt.own)
    known = whole.startswith(prompt.own.rstrip()) and rest.strip()
    return f"@@{prompt.nonce} add\n{rest.lstrip()}" if known else f"@@{prompt.nonce} done"


class _Part(msgspec.Struct):
    text: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None

    def turn(self) -> Turn:
        if isinstance(self.content, list):
            return Turn(self.role, "".join(part.text for part in self.content))
        return Turn(self.role, self.content or "")


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


_Limit = Annotated[int, msgspec.Meta(ge=1)]


class _ChatRequest(msgspec.Struct):
    model: str
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: _Limit | None = None
    max_completion_tokens: _Limit | None = None

    @property
    def usage_wanted(self) -> bool:
        return not self.stream or (self.stream_options is not None and self.stream_options.include_usage)


class _Turn(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str | list[_Part]


class _MessagesRequest(msgspec.Struct):
    """The request of the Messages API; https://platform.claude.com/docs/en/api/messages."""

    model: str
    messages: Annotated[list[_Turn], msgspec.Meta(min_length=1)]
    max_tokens: _Limit
    system: str | list[_Part] | None = None
    stream: bool | None = None

    def chat(self) -> _ChatRequest:
        """Return the same request in the chat protocol. Raises `ValueError` for one that the provider refuses."""
        said = [_Message(turn.role, turn.content) for turn in self.messages]
        if any(not message.turn().content.strip() for message in said):
            raise ValueError("messages: text content blocks must contain non-whitespace text")
        if said[-1].role == "assistant" and said[-1].turn().content[-1:].isspace():
            raise ValueError("messages: final assistant content cannot end with trailing whitespace")
        return _ChatRequest(
            model=self.model,
            messages=[*([_Message("system", self.system)] if self.system else []), *said],
            stream=self.stream,
            stream_options=_StreamOptions(include_usage=True),
            max_tokens=self.max_tokens,
        )


class _Writer(Protocol):
    """What writes answers in one protocol: a module."""

    def error_reply(
        self, status: int, message: str, code: str | None = None, headers: Sequence[tuple[str, str]] = ()
    ) -> Reply: ...
    def streamed(self, answer: Answer) -> Reply: ...
    def at_once(self, answer: Answer) -> Reply: ...


_WRITERS: Final[Mapping[Wire, _Writer]] = {"openai": wire, "anthropic": messages}


class Brain:
    """Answers chat requests from scripts: the built-in ones, and `scripts` beside or instead of them."""

    def __init__(self, scripts: Mapping[str, Script] | None = None, *, seed: int = 0) -> None:
        self._scripts = {name: _script(persona) for name, persona in personas().items()} | dict(scripts or {})
        self._seed = seed
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self._answers = 0

    @property
    def requests(self) -> Mapping[str, int]:
        """How often each model was asked, by its full name; the last thousand models."""
        return {model: count for model, count in self._counts.items() if "\x1f" not in model}

    def models(self) -> Reply:
        """Return the list of models as a provider does."""
        known = [{"id": name, "object": "model", "created": 0, "owned_by": OWNER} for name in self._scripts]
        return json_reply({"object": "list", "data": known})

    def reply_to(self, body: bytes) -> Reply | Refusal:
        """Return what a provider does with that body of a chat-completion request."""
        return self._decoded(body, "openai")

    def message_reply_to(self, body: bytes) -> Reply | Refusal:
        """Return what Anthropic does with that body of a request to its Messages API."""
        return self._decoded(body, "anthropic")

    def reply(self, request: object) -> Reply | Refusal:
        """Return what a provider does with a chat-completion request, the decoded JSON of its body."""
        return self._reply(request, "openai")

    def _decoded(self, body: bytes, spoken: Wire) -> Reply | Refusal:
        try:
            request = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _WRITERS[spoken].error_reply(400, f"the body is not JSON: {error}")
        return self.reply(request) if spoken == "openai" else self._reply(request, spoken)

    def _reply(self, request: object, spoken: Wire) -> Reply | Refusal:
        writer = _WRITERS[spoken]
        try:
            chat = _chat(request, spoken)
        except ValueError as error:  # msgspec's is one too
            kind = "chat-completion" if spoken == "openai" else "messages"
            return writer.error_reply(400, f"this is not a {kind} request: {error}")
        name = read_name(chat.model)
        chat.model = name.played
        script = self._scripts.get(name.script)
        if script is None:
            known = ", ".join(self._scripts)
            message = f"the simulator has no script {name.script[:60]!r}; it has: {known}"
            return writer.error_reply(404, message, "model_not_found")
        try:
            faults = parse_faults([*name.faults, *script.faults])
            manners = parse_manners([*name.manners, *script.manners])
        except FaultError as error:
            return writer.error_reply(400, str(error), "unknown_fault")
        number = self._count(chat.model)
        active: dict[str, Fault] = {}
        for fault in faults:
            if fault.applies(number):
                active.setdefault(fault.name, fault)
        denied = _denied(active, writer)
        if denied is not None:
            return denied
        answer = self._answered(chat, script, active, manners, number)
        return writer.streamed(answer) if chat.stream else writer.at_once(answer)

    def _count(self, model: str) -> int:
        count = self._counts[model] = self._counts.pop(model, 0) + 1
        if len(self._counts) > _MODELS_KEPT:
            self._counts.popitem(last=False)
        return count

    def _manner(self, model: str, kind: Kind, asked: Sequence[Asked], chance: random.Random) -> str | None:
        """Return the first of the manners asked for that such a reply can have, and has not had often enough."""
        for manner in asked:
            if manner.name == MOODY:
                return drawn(kind, chance)
            key = f"{model}\x1f{manner.name}"
            if kind in MANNERS[manner.name].kinds and (
                manner.times is None or self._count(key) <= manner.times
            ):
                return manner.name
        return None

    def _answered(
        self,
        chat: _ChatRequest,
        script: Script,
        faults: Mapping[str, Fault],
        manners: Sequence[Asked],
        number: int,
    ) -> Answer:
        self._answers += 1
        prompt = Prompt(tuple(message.turn() for message in chat.messages))
        chance = random.Random(f"{self._seed}/{chat.model}/{number}/manner")  # noqa: S311 (reproducible on purpose)
        manner = self._manner(chat.model, kind_of(prompt), manners, chance)
        text = script.reply(prompt, manner, chance)
        if "u2028" in faults and not prompt.own:
            first, gap, others = text.partition("\n\n")
            text = f"{first}\n\n{_ODD_CHARACTERS}{gap}{others}"
        thoughts, content = pieces(script.thought(prompt, manner)), list(script.split(text))
        if "".join(content) != text:
            raise ValueError(f"the pieces that {script.split!r} made do not join to the text")
        most = chat.max_completion_tokens or chat.max_tokens or len(thoughts) + len(content)
        if length := faults.get("length"):
            most = min(most, len(thoughts) + int(len(content) * length.value))
        short = most < len(thoughts) + len(content) or "length" in faults
        thoughts, content = thoughts[:most], content[: max(0, most - len(thoughts))]
        usage = self._usage(chat.model, prompt.turns, len(thoughts), len(content))
        delays = self._delays(script, f"{chat.model}/{number}", len(thoughts) + len(content), faults)
        return Answer(
            id=f"chatcmpl-simulated-{self._answers}",
            model=chat.model,
            thoughts=thoughts,
            content=content,
            delays=delays,
            finish_reason="length" if short else "stop",
            usage=usage if script.usage and "nousage" not in faults and chat.usage_wanted else None,
            faults=faults,
        )

    def _delays(self, script: Script, stream: str, pieces: int, faults: Mapping[str, Fault]) -> list[float]:
        """Return the delay before each piece, and at least one: silence before an answer of nothing."""
        random_stream = random.Random(f"{self._seed}/{stream}")  # noqa: S311 (reproducible on purpose)
        delays = [
            delay * (1 + script.jitter * random_stream.uniform(-1, 1))
            for delay in (script.ttft_s, *[script.pause_s] * (pieces - 1))
        ]
        if slow := faults.get("slow"):
            delays[0] = slow.value
        return delays

    def _usage(self, script: str, turns: Sequence[Turn], thoughts: int, content: int) -> dict[str, object]:
        """Return the usage as a provider reports it; every piece counts as one token."""
        prompt_tokens = -(-sum(len(turn.content) for turn in turns) // _CHARS_PER_TOKEN)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": thoughts + content,
            "total_tokens": prompt_tokens + thoughts + content,
            "prompt_tokens_details": {"cached_tokens": min(self._seen(script, turns), prompt_tokens)},
            "completion_tokens_details": {"reasoning_tokens": thoughts},
        }

    def _seen(self, script: str, turns: Sequence[Turn]) -> int:
        """Return how many tokens at the head of a prompt the script has seen before, and remember the prompt: what a
        provider's prefix cache does, in chained hashes of blocks."""
        text = "".join(f"{turn.role}\x1f{turn.content}\x1e" for turn in turns)
        digest, known, familiar = script.encode(errors="replace"), 0, True
        for start in range(0, len(text) - _BLOCK + 1, _BLOCK):
            block = text[start : start + _BLOCK].encode(errors="replace")
            digest = hashlib.blake2b(digest + block, digest_size=16).digest()
            familiar = familiar and digest in self._blocks
            known += familiar
            self._blocks[digest] = None
            self._blocks.move_to_end(digest)
        while len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return known * _BLOCK // _CHARS_PER_TOKEN


def _script(persona: Persona) -> Script:
    return Script(
        text=persona.answer,
        reasoning=persona.thought,
        ttft_s=persona.ttft_s,
        tokens_per_s=persona.tokens_per_s,
        jitter=0.3,
    )


def _chat(request: object, spoken: Wire) -> _ChatRequest:
    """Return the request in the chat protocol. Raises `ValueError` for what is none."""
    if spoken == "anthropic":
        return msgspec.convert(request, _MessagesRequest).chat()
    return msgspec.convert(request, _ChatRequest)


def _denied(faults: Mapping[str, Fault], writer: _Writer) -> Reply | Refusal | None:
    """Return what comes instead of an answer, or `None`."""
    for name, fault in faults.items():
        if name == "429":
            message = f"rate limit of the simulator reached (fault '429'); retry in {fault.value:g} s"
            return writer.error_reply(
                429, message, "rate_limit_exceeded", [("Retry-After", f"{fault.value:g}")]
            )
        if name == "500":
            return writer.error_reply(500, "the simulated provider is out of order (fault '500')")
        if name == "529":
            return writer.error_reply(529, "the simulated provider is overloaded (fault '529')")
        if name == "refused":
            return Refusal()
    return None
