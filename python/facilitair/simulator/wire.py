"""An answer as a provider sends it: OpenAI chat-completion bytes with their times, streamed or at once.

What goes wrong in mid-text goes wrong here, for every protocol (`Written`). Everything carries the header
`X-Simulated: 1`, and here also `system_fingerprint: "simulated"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from .faults import MID_TEXT, Fault

KEEP_ALIVE_S: Final = 5.0
_LABEL: Final = ("X-Simulated", "1")
_JSON_HEADERS: Final = (("Content-Type", "application/json"), _LABEL)
_SSE_HEADERS: Final = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache"),
    _LABEL,
)
_KEEP_ALIVE: Final = b": keep-alive\n\n"
_DONE: Final = b"data: [DONE]\n\n"
_BROKEN_JSON: Final = b'data: {"id":"broken","choices":[{"index":0,"delta":{"content":\n\n'
_PROVIDER_ERROR: Final = {"message": "the simulated provider failed in mid-text", "type": "server_error"}

Ending = Literal["complete", "cut", "hang"]
_ENDINGS: Final[Mapping[str, Ending]] = {"cut": "cut", "silent": "hang"}


@dataclass(frozen=True, slots=True)
class Step:
    """`data` follows `delay_s` seconds after the step before (the first one: after the request)."""

    delay_s: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response. After the last step it is complete, is cut off, or hangs with nothing more to come.

    A stall has no last step: its signs of life go on for as long as somebody takes them.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    steps: Iterator[Step]
    ending: Ending = "complete"


@dataclass(frozen=True, slots=True)
class Written:
    """An answer in the bytes of one protocol: its beginning, one entry for each piece, its end; and what stands in
    mid-text when that goes wrong."""

    first: bytes
    pieces: Sequence[bytes]
    last: Sequence[bytes]
    keep_alive: bytes
    error: bytes
    malformed: bytes
    padding: tuple[bytes, bytes]  # around what makes an event huge


@dataclass(frozen=True, slots=True)
class Refusal:
    """The connection is reset before any byte of a response."""

    message: str = "the simulator reset the connection (fault 'refused')"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is said, piece by piece (thoughts first), the delay in seconds before each, and what goes wrong.

    The first delay passes even when there is no piece at all.
    """

    id: str
    model: str
    thoughts: Sequence[str]
    content: Sequence[str]
    delays: Sequence[float]
    finish_reason: str
    usage: Mapping[str, object] | None
    faults: Mapping[str, Fault]

    @property
    def broken(self) -> Fault | None:
        """The fault that happens in mid-text, if one does."""
        return next((fault for name, fault in self.faults.items() if name in MID_TEXT), None)


def error_reply(
    status: int, message: str, code: str | None = None, headers: Sequence[tuple[str, str]] = ()
) -> Reply:
    """Return an OpenAI error object as a whole response."""
    kind = (
        "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    )
    return json_reply(
        {"error": {"message": message, "type": kind, "param": None, "code": code}}, status, headers
    )


def json_reply(body: object, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Reply:
    """Return `body` as JSON, at once."""
    return Reply(status, (*_JSON_HEADERS, *headers), iter([Step(0.0, msgspec.json.encode(body))]))


def streamed(answer: Answer) -> Reply:
    """Return the answer as server-sent events."""
    said = [
        *({"reasoning_content": piece} for piece in answer.thoughts),
        *({"content": piece} for piece in answer.content),
    ]
    last = [_chunk(answer, {}, answer.finish_reason)]
    if answer.usage is not None:
        last.append(_event({**_head(answer, "chat.completion.chunk"), "choices": [], "usage": answer.usage}))
    return play(
        answer,
        Written(
            first=_chunk(answer, {"role": "assistant", "content": ""}),
            pieces=[_chunk(answer, delta) for delta in said],
            last=[*last, *[_DONE] * (2 if "dupdone" in answer.faults else 1)],
            keep_alive=_KEEP_ALIVE,
            error=_event({"error": _PROVIDER_ERROR}),
            malformed=_BROKEN_JSON,
            padding=(b'data: {"choices":[],"padding":"', b'"}\n\n'),
        ),
    )


def play(answer: Answer, written: Written) -> Reply:
    """Return the answer as a stream of what was written, at its times and with what goes wrong."""
    steps = _events(answer, written)
    ending = _ENDINGS.get(answer.broken.name, "complete") if answer.broken else "complete"
    return Reply(200, _SSE_HEADERS, _bytewise(steps) if "bytes" in answer.faults else steps, ending)


def at_once(answer: Answer) -> Reply:
    """Return the answer as one JSON object, after all the time that its streaming would have taken."""
    return whole(answer, _completion(answer), {"error": _PROVIDER_ERROR})


def whole(answer: Answer, said: object, error: object) -> Reply:
    """Return `said`, or where the answer fails in mid-text `error`, as JSON at the time of its end."""
    delay = sum(answer.delays)
    body = msgspec.json.encode(said)
    broken = answer.broken
    name = broken.name if broken else ""
    if broken and name in ("stall", "silent"):
        return Reply(200, _JSON_HEADERS, iter(()), "hang")
    if broken and name == "error":
        return Reply(500, _JSON_HEADERS, iter([Step(delay, msgspec.json.encode(error))]))
    if broken and name == "huge":
        body += b" " * _mebibytes(broken)
    if broken and name in ("cut", "malformed"):
        body = body[: int(len(body) * broken.value)]
    steps = iter([Step(delay, body)])
    return Reply(
        200,
        _JSON_HEADERS,
        _bytewise(steps) if "bytes" in answer.faults else steps,
        _ENDINGS.get(name, "complete"),
    )


def _events(answer: Answer, written: Written) -> Iterator[Step]:
    yield Step(answer.delays[0], written.first)
    broken = answer.broken
    at = _place(answer, broken) if broken else -1
    for number in range(len(written.pieces) + 1):
        if broken and number == at:
            yield from _breaking(broken, written)
            if broken.name in ("silent", "cut", "error"):
                return
        if number < len(written.pieces):
            yield Step(answer.delays[number] if number else 0.0, written.pieces[number])
    for data in written.last:
        yield Step(0.0, data)


def _place(answer: Answer, broken: Fault) -> int:
    """Return before which piece it happens."""
    share = 0.0 if broken.name == "huge" else broken.value
    return len(answer.thoughts) + int(len(answer.content) * share)


def _breaking(fault: Fault, written: Written) -> Iterator[Step]:
    if fault.name == "stall":
        while True:
            yield Step(KEEP_ALIVE_S, written.keep_alive)
    if fault.name == "error":
        yield Step(0.0, written.error)
    if fault.name == "malformed":
        yield Step(0.0, written.malformed)
    if fault.name == "huge":
        head, tail = written.padding
        yield Step(0.0, head + b"x" * _mebibytes(fault) + tail)


def _bytewise(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        for place in range(len(step.data)):
            yield Step(0.0 if place else step.delay_s, step.data[place : place + 1])


def _mebibytes(fault: Fault) -> int:
    return int(fault.value * 1024 * 1024)


def _head(answer: Answer, kind: str) -> dict[str, object]:
    return {
        "id": answer.id,
        "object": kind,
        "created": 0,
        "model": answer.model,
        "system_fingerprint": "simulated",
    }


def _chunk(answer: Answer, delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _event({**_head(answer, "chat.completion.chunk"), "choices": [choice]})


def _event(body: Mapping[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def _completion(answer: Answer) -> dict[str, object]:
    message = {"role": "assistant", "content": "".join(answer.content)}
    if answer.thoughts:
        message["reasoning_content"] = "".join(answer.thoughts)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return {**_head(answer, "chat.completion"), "choices": [choice], "usage": answer.usage}
