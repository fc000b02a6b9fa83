"""The seam between the engine and the providers: chat requests go out, batches of deltas come back.

Two transports exist: HTTP over the Rust core (`providers.http`), and scripts on a virtual clock
(`simulator.script`). The engine waits in one place only, `Channel.recv`, so whoever owns that call owns time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from facilitair_rust import Closed, Content, Failed, Finished, Reasoning, Timeouts

from .clock import Clock
from .protocols import Wire

Delta = Content | Reasoning | Finished | Failed | Closed


class HttpRequest(msgspec.Struct, frozen=True):
    """One streaming chat request, ready to send. Headers hold the key, so they and the body are kept out of `repr`.

    `provider` is who is asked; a transport may have another way to it than HTTP of its own. `wire` is the protocol it
    speaks, and `think_tags` that its content may begin with `<think>`.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeouts: Timeouts
    provider: str = ""
    wire: Wire = "openai"
    think_tags: bool = False

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in ("url", "timeouts", "provider", "wire")}
        return f"HttpRequest({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class Channel(Protocol):
    """The streams of one run, merged.

    Each opened stream ends in exactly one `Finished`, `Failed` or `Closed`. `open` never blocks and never raises
    for what the network does: a refused connection is a `Failed` delta of that stream.
    """

    def open(self, request: HttpRequest) -> int:
        """Start a stream and return its number, unique in this channel."""
        ...

    def close_stream(self, stream: int) -> None:
        """Stop a stream. What had arrived is still delivered, then `Closed`. Unknown or ended: nothing."""
        ...

    async def recv(self, until: float | None) -> list[Delta]:
        """Return what has arrived, at once if there is something; else wait, at the latest until the clock shows
        `until`. An empty list means that time came or `wake` was called."""
        ...

    def wake(self) -> None:
        """Make a waiting `recv` return now."""
        ...

    async def aclose(self) -> None:
        """Close every stream and its connection."""
        ...


class Transport(Protocol):
    """Opens channels and owns the clock they wait on."""

    @property
    def clock(self) -> Clock:
        """The clock that `recv` waits on."""
        ...

    def channel(self) -> Channel:
        """Return a new, empty channel."""
        ...
