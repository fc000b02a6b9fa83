"""A model that can be asked, and how a chat request to it looks.

Nearly all providers take the OpenAI chat body; what differs is the name of the token limit, whether usage is sent in
a stream, and how a model is made to go on from text it has already written (the dialects below). The Messages API
of Anthropic is the other wire; its body is made in `messages`. A model's key lives in its endpoint, together with the
address it may be sent to, and leaves it only inside `HttpRequest.headers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from facilitair_rust import Timeouts

from ..events import ModelTier, Usage
from ..keys import Secret
from ..pricing import FREE, Price, cost, published_price
from ..protocols import Dialect, MaxTokensField, Wire
from ..transport import HttpRequest
from . import messages as messages_api


class Message(msgspec.Struct, frozen=True):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Endpoint(msgspec.Struct, frozen=True):
    """An address and the key that may be sent there, the variable it is from, and what its server takes in a request.

    `output_limit` is the most tokens that the model may write; the Messages API cannot do without. With `think_tags`,
    what its content begins with between `<think>` and `</think>` is reasoning.
    """

    base_url: str
    key: Secret | None = None
    key_from: str | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: Mapping[str, Any] = msgspec.field(default_factory=dict)
    dialect: Dialect | None = None
    max_tokens_field: MaxTokensField = "max_tokens"
    include_usage: bool = True
    wire: Wire = "openai"
    think_tags: bool = False
    output_limit: int | None = None


class Model(msgspec.Struct, frozen=True):
    """A model at an endpoint.

    `tier` says how peers' text reaches it while it writes; `family` which other models make the same mistakes;
    `reasoning` that it thinks before its first visible word; `simulated` that its text is scripted; `max_output_tokens`
    what one answer may have at most, as configured.
    """

    provider: str
    name: str
    family: str
    tier: ModelTier
    reasoning: bool
    simulated: bool
    timeouts: Timeouts
    endpoint: Endpoint
    free: bool = False
    known_price: Price | None = None
    max_output_tokens: int | None = None

    @property
    def id(self) -> str:
        """`provider/name`, as users write it."""
        return f"{self.provider}/{self.name}"

    @property
    def price(self) -> Price | None:
        """What tokens cost here, or `None` when nobody knows. The first look may import the price data (0.3 s)."""
        if self.known_price is not None:
            return self.known_price
        return FREE if self.free else published_price(self.endpoint.base_url, self.name)

    def cost(self, usage: Usage, reported_usd: float | None = None) -> float | None:
        """Return the US dollars for a usage; the provider's own figure, where it gave one, comes first."""
        return cost(None if reported_usd is not None else self.price, usage, reported_usd)

    def request(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, prefill: str | None = None
    ) -> HttpRequest:
        """Return the streaming chat request.

        `max_tokens` counts reasoning too where the model reasons. `prefill` is text of the model's own that it shall
        go on from, exactly as given: cut trailing blanks before, and put them back in front of what comes. Raises
        `ValueError` for a prefill that this model cannot go on from (its tier is not `prefill`).
        """
        endpoint = self.endpoint
        if prefill is not None and (self.tier != "prefill" or endpoint.dialect is None):
            raise ValueError(f"{self.id} cannot go on from a prefill; its tier is {self.tier!r}")
        compose = self._message if endpoint.wire == "anthropic" else self._completion
        url, body = compose(messages, max_tokens, prefill)
        return HttpRequest(
            url=url,
            headers=self._headers(),
            body=msgspec.json.encode(body),
            timeouts=self.timeouts,
            provider=self.provider,
            wire=endpoint.wire,
            think_tags=endpoint.think_tags,
        )

    def _completion(
        self, messages: Sequence[Message], max_tokens: int | None, prefill: str | None
    ) -> tuple[str, dict[str, Any]]:
        endpoint = self.endpoint
        body: dict[str, Any] = {
            **endpoint.body,
            "model": self.name,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "stream": True,
        }
        if endpoint.include_usage:
            body["stream_options"] = {"include_usage": True}
        if max_tokens is not None:
            body[endpoint.max_tokens_field] = max_tokens
        base_url = endpoint.base_url
        if prefill is not None and endpoint.dialect is not None:
            base_url = _continue_from(prefill, body, endpoint.dialect, base_url)
        return f"{base_url}/chat/completions", body

    def _message(
        self, messages: Sequence[Message], max_tokens: int | None, prefill: str | None
    ) -> tuple[str, dict[str, Any]]:
        endpoint = self.endpoint
        limit = endpoint.output_limit or messages_api.OUTPUT_LIMIT
        said = [(message.role, message.content) for message in messages]
        if prefill is not None:
            said.append(("assistant", prefill))
        body = {
            **endpoint.body,
            **messages_api.prompt(said),
            "model": self.name,
            "max_tokens": limit if max_tokens is None else min(limit, max_tokens),
            "stream": True,
        }
        return messages_api.url(endpoint.base_url), body

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        own = {name.lower(): value for name, value in self.endpoint.headers.items()}
        return headers | auth_headers(self.endpoint.wire, self.endpoint.key, own)


def auth_headers(wire: Wire, key: Secret | None, others: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that say who asks, and `others`, whose names are in lower case; none of them changes the
    key."""
    if wire == "anthropic":
        known = {"anthropic-version": messages_api.VERSION, **others}
        return known if key is None else {**known, "x-api-key": key.reveal()}
    return dict(others) if key is None else {**others, "authorization": f"Bearer {key.reveal()}"}


def _continue_from(prefill: str, body: dict[str, Any], dialect: Dialect, base_url: str) -> str:
    """Add the model's own text to the body in the way its server takes it; return the base URL to use.

    Hybrid models are told not to think: their visible text has begun, and servers refuse to go on from it otherwise.
    """
    last: dict[str, Any] = {"role": "assistant", "content": prefill}
    body["messages"].append(last)
    match dialect:
        case "trailing":
            pass
        case "vllm":
            body |= _without_thinking(body)
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        case (
            "llamacpp"
        ):  # the two flags continue also where the server was started with --no-prefill-assistant
            body |= _without_thinking(body)
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        case "mistral":
            last["prefix"] = True
        case "deepseek":
            last["prefix"] = True
            body["thinking"] = {"type": "disabled"}
            return f"{base_url.removesuffix('/v1').removesuffix('/beta')}/beta"
    return base_url


def _without_thinking(body: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {**body.get("chat_template_kwargs", {}), "enable_thinking": False}
    return {"chat_template_kwargs": arguments}
