"""Finish reasons: which of them say that nothing is missing, and what the others are called.

Only a reason that is known to be good is one. Providers, gateways and servers of one's own have many words for the
rest, and new ones come.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

# OpenAI; Anthropic and its proxies; TGI, Together; Cohere.
_WHOLE: Final = ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed")
_LENGTH: Final = ("length", "max_tokens", "model_length", "max_output_tokens")
_FILTERED: Final = (
    "content_filter",
    "safety",
    "refusal",
    "recitation",
    "sensitive",
    "blocklist",
    "prohibited_content",
)


def is_whole(reason: str) -> bool:
    """Return whether a text that ended for `reason` is known to be whole."""
    return reason.lower() in _WHOLE


def is_length(reason: str) -> bool:
    """Return whether a limit of length ended it."""
    return reason.lower() in _LENGTH


def described(reason: str) -> str:
    """Return in words what a text that is not whole ended with."""
    if is_length(reason):
        return "cut by its model's length limit"
    if reason.lower() in _FILTERED:
        return f"cut by a content filter ({reason})"
    if reason in ("tool_calls", "function_call", "tool_use"):
        return f"stopped to call a tool, and there is none ({reason})"
    return f"ended for a reason that is not known to be a good one ({reason})"


def as_openai(reasons: Iterable[str]) -> Literal["stop", "length", "content_filter"]:
    """Return the finish reason of a chat completion whose parts ended for `reasons`; whatever is not whole is cut."""
    bad = [reason.lower() for reason in reasons if not is_whole(reason)]
    if any(reason in _FILTERED for reason in bad):
        return "content_filter"
    return "length" if bad else "stop"
