"""What goes over `/v1` as JSON, in and out: OpenAI's forms of a request, of an answer and of a model."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, model_validator

from ..errors import TooLarge, Unprocessable
from ..options import RunOptions
from .schemas import Call, Extras
from .side import is_side_request

_ELSEWHERE: Final = (
    "base_url",
    "api_base",
    "api_key",
    "api_version",
    "organization",
    "extra_headers",
    "headers",
)
# Kinds of parts that are text, or nothing that would have to be read: a model's thinking is its own.
_READ: Final = ("text", "input_text", "output_text", "refusal", "thinking", "reasoning", "redacted_thinking")


class MessagePart(BaseModel):
    """A part of a message; only text is taken, and what an assistant said instead of it."""

    type: str
    text: str = ""
    refusal: str = ""


class ChatMessage(BaseModel):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[MessagePart] | None = None
    refusal: str | None = None

    @property
    def task(self) -> str:
        """The message as text. Raises `Unprocessable` for a part that is none."""
        for part in self.content if isinstance(self.content, list) else ():
            if part.type not in _READ:
                raise Unprocessable(f"messages: a part is {part.type[:40]!r}, but the agents read only text.")
        return self.text

    @property
    def text(self) -> str:
        """The message as text; what the agents cannot read is named in its place."""
        if self.content is None or isinstance(self.content, str):
            return self.content or self.refusal or ""
        said = (
            (part.text or part.refusal)
            if part.type in _READ
            else f"[{part.type[:40]}: the agents cannot see it]"
            for part in self.content
        )
        return "\n".join(filter(None, said))


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    include_usage: bool = False


class ResponseFormat(BaseModel):
    """The form of the answer; only text is given."""

    type: Literal["text"]


class ChatRequest(BaseModel):
    """A request for an answer."""

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    response_format: ResponseFormat | None = None
    tool_choice: Literal["none", "auto"] | None = None
    facilitair: Extras = Extras()

    @model_validator(mode="before")
    @classmethod
    def _stays_here(cls, data: Any) -> Any:
        for name in _ELSEWHERE if isinstance(data, dict) else ():
            if name in data:
                raise ValueError(f"{name} is the server's own and cannot be given in a request; leave it out")
        return data

    @property
    def is_side(self) -> bool:
        """Whether a chat program asks this beside the conversation; see `side`."""
        return is_side_request([(message.role, message.text) for message in self.messages])

    def call(self, strategy: str, most_characters: int) -> Call:
        """Return what is asked for. Raises `Unprocessable` without a user message, `TooLarge`."""
        last = next((i for i in reversed(range(len(self.messages))) if self.messages[i].role == "user"), None)
        if last is None:
            last = next(
                (i for i in reversed(range(len(self.messages))) if self.messages[i].role != "tool"), None
            )
        if last is None:
            raise Unprocessable("messages: there is no user message, so there is no task; add one.")
        if not self.messages[last].text.strip():
            raise Unprocessable("messages: the last one is empty, so there is no task.")
        characters = sum(len(message.text) for message in self.messages)
        if characters > most_characters:
            raise TooLarge(
                f"the messages have {characters:,} characters; at most {most_characters:,} are taken."
            )
        others = [
            {"role": message.role, "content": message.text}
            for place, message in enumerate(self.messages)
            if place != last and message.text
        ]
        options: RunOptions = {**self.facilitair.options(), "strategy": strategy}
        return Call(self.messages[last].task, {"conversation": others} if others else None, options)


class SaidMessage(BaseModel):
    """The answer, and the debate that led to it."""

    role: Literal["assistant"] = "assistant"
    reasoning_content: str
    content: str


class ChatChoice(BaseModel):
    """The one answer there is."""

    index: int = 0
    message: SaidMessage
    logprobs: None = None
    finish_reason: str


class CachedTokens(BaseModel):
    """Tokens of the prompts that providers had read before."""

    cached_tokens: int


class ReasoningTokens(BaseModel):
    """Tokens that models thought with."""

    reasoning_tokens: int


class ChatUsage(BaseModel):
    """Tokens of all requests of a run."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class ChatCompletion(BaseModel):
    """An answer; `usage` is null where no provider said what was used."""

    id: str
    created: int
    model: str
    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]
    usage: ChatUsage | None


class ModelCard(BaseModel):
    """A strategy, as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "facilitair"


class ModelList(BaseModel):
    """The strategies, as models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
