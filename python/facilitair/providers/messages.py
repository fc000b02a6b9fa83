"""The body of a request to the Messages API of Anthropic, from the messages of a chat.

https://platform.claude.com/docs/en/api/messages: the system prompt stands beside the messages, these alternate
between user and assistant, `max_tokens` is required, and a last message of the assistant is text to go on from (on
models up to Claude 4.5; the others refuse it). That text must not end in blanks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

# The version that still lets older models go on from a prefill and take a temperature.
VERSION: Final = "2023-06-01"
OUTPUT_LIMIT: Final = 32_000  # tokens, thoughts included; what every model since Claude 4 may write
_BETWEEN: Final = "\n\n"


def url(base_url: str) -> str:
    """Return where messages are posted; `base_url` may end in `/v1`, as those of other providers do."""
    return f"{base_url.removesuffix('/v1')}/v1/messages"


def models_url(base_url: str) -> str:
    """Return where the models are listed."""
    return f"{base_url.removesuffix('/v1')}/v1/models"


def prompt(said: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the fields `system` and `messages` for a chat of roles and texts.

    System messages are taken out of it, neighbours of one role become one message, and texts of blanks alone, which
    are refused, are left out. The chat begins with the user.
    """
    system: list[str] = []
    turns: list[dict[str, str]] = []
    for role, text in said:
        if not text.strip():
            continue
        if role == "system":
            system.append(text)
        elif turns and turns[-1]["role"] == role:
            turns[-1]["content"] += _BETWEEN + text
        else:
            turns.append({"role": role, "content": text})
    if turns and turns[-1]["role"] == "assistant":
        turns[-1]["content"] = turns[-1]["content"].rstrip()
    if not turns or turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": "Begin."})
    return {**({"system": _BETWEEN.join(system)} if system else {}), "messages": turns}
