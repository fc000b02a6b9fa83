"""Requests as clients send them, and a reading of the answers that shares nothing with the package."""

from __future__ import annotations

import json
from typing import Any

from facilitair.simulator.brain import Brain
from facilitair.simulator.wire import Refusal, Reply

NONCE = "k3v9x0qa"
TASK = "Build a URL shortener with rate limits"
GO_ON = "Go on exactly where your text stopped: begin with the next word, repeat nothing, no preamble."

Messages = list[dict[str, str]]


def update(
    *fragments: str,
    text: str = "Slugs are random and six characters long. They never expire.",
    author: str = "architect",
) -> str:
    """Return peers' text as the engine quotes it."""
    return f"=={NONCE}== begin: the {author} wrote ({' to '.join(fragments)})\n{text}\n=={NONCE}== end"


def messages(*, duties: str = "", quoted: str = "", context: dict[str, Any] | None = None) -> Messages:
    """Return the opening of an agent's request. `duties`: section, verdict or both."""
    rules = [f"@@{NONCE} {duty} <something>" for duty in duties.split()]
    asked = [f"Task:\n{TASK}", f"Context:\n{json.dumps(context or {}, indent=1)}"]
    return [
        {"role": "system", "content": "\n\n".join(["You are one of several agents.", *rules])},
        {"role": "user", "content": "\n\n".join([*asked, *([quoted] if quoted else [])])},
    ]


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def body(
    model: str, said: Messages | None = None, *, stream: bool = True, more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the body of a request."""
    options = {"stream_options": {"include_usage": True}} if stream else {}
    return {"model": model, "messages": said or messages(), "stream": stream, **options, **(more or {})}


def ask(brain: Brain, model: str, said: Messages | None = None) -> str:
    """Return the text that a model answers."""
    return content(wire(brain.reply(body(model, said))))


def answered(reply: Reply | Refusal) -> Reply:
    assert isinstance(reply, Reply)
    return reply


def wire(reply: Reply | Refusal) -> bytes:
    """Return all bytes of an answer that ends."""
    return b"".join(step.data for step in answered(reply).steps)


def events(data: bytes) -> list[Any]:
    """Return the decoded events but [DONE]."""
    assert data.endswith(b"\n\n")
    blocks = [block for block in data.split(b"\n\n") if block.startswith(b"data: ")]
    return [json.loads(block[6:]) for block in blocks if block != b"data: [DONE]"]


def content(data: bytes, key: str = "content") -> str:
    """Return the text in a stream of events."""
    choices = [choice for event in events(data) for choice in event.get("choices", ())]
    return "".join(choice["delta"].get(key) or "" for choice in choices)


def usage(data: bytes) -> dict[str, Any]:
    """Return the one usage that a stream reports."""
    (found,) = [event["usage"] for event in events(data) if event.get("usage")]
    assert isinstance(found, dict)
    return found
