"""A model that can be asked, and how a chat request to it looks.

All providers take the OpenAI chat body; what differs is the name of the token limit, whether usage is sent in a
stream, and how a model is made to go on from text it has already written (the dialects below). A model's key lives
in its endpoint, together with the address it may be sent to, and leaves it only inside `HttpRequest.headers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from facilitair_rust import Timeouts

from ..config import Dialect
from ..events import Tier, Usage
from ..pricing import FREE, Price, cost, published_price
from ..secrets import Secret
from ..transport import HttpRequest

RESUME_OPTION: Final = "+resume"


class Message(msgspec.Struct, frozen=True):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and the key that may be sent there, and what its server takes in a request."""

    base_url: str
    key: Secret | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    dialect: Dialect | None = None
    max_tokens_field: str = "max_tokens"
    include_usage: bool = True


@dataclass(frozen=True, slots=True)
class Model:
    """A model at an endpoint.

    `tier` says how peers' text reaches it while it writes; `family` which other models make the same mistakes;
    `reasoning` that it thinks before its first visible word; `simulated` that its text is scripted.
    """

    provider: str
    name: str
    family: str
    tier: Tier
    reasoning: bool
    simulated: bool
    timeouts: Timeouts
    endpoint: Endpoint
    free: bool = False
    known_price: Price | None = None

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
        body: dict[str, Any] = {
            **endpoint.body,
            "model": self.name.removesuffix(RESUME_OPTION) if self.simulated else self.name,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "stream": True,
        }
        if endpoint.include_usage:
            body["stream_options"] = {"include_usage": True}
        if max_tokens is not None:
            body[endpoint.max_tokens_field] = max_tokens
        base_url = endpoint.base_url
        if prefill is not None:
            if self.tier != "prefill" or endpoint.dialect is None:
                raise ValueError(f"{self.id} cannot go on from a prefill; its tier is {self.tier!r}")
            base_url = _continue_from(prefill, body, endpoint.dialect, base_url)
        return HttpRequest(
            url=f"{base_url}/chat/completions",
            headers=self._headers(),
            body=msgspec.json.encode(body),
            timeouts=self.timeouts,
            provider=self.provider,
        )

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        headers |= {name.lower(): value for name, value in self.endpoint.headers.items()}
        if self.endpoint.key is not None:
            headers["authorization"] = f"Bearer {self.endpoint.key.reveal()}"
        return headers


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
        case "llamacpp":
            body |= _without_thinking(body)
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
