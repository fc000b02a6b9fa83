"""Tickets: how a browser opens a stream without a key in the URL, and opens it again when the connection breaks.

`EventSource` and `WebSocket` cannot send headers, and a key in a URL ends up in logs and histories. A page that has
the key therefore asks for a ticket and puts that into the URL: it opens one stream, within seconds, and from then on
that stream again, since an `EventSource` comes back with the URL it has. Only hashes of tickets are kept. A ticket
shown for another stream is spent: somebody is trying it out.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST_PER_OWNER: Final = 256


@dataclass(slots=True)
class _Ticket:
    owner: str
    stream_id: str
    expires: float
    opened: bool = False


class Tickets:
    """The tickets that are out. `ticket_s` is how long one can be used, `now` gives seconds.

    An owner has at most `MOST_PER_OWNER`; a further one takes the place of his oldest.
    """

    def __init__(self, ticket_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._ticket_s = ticket_s
        self._now = now
        self._out: dict[bytes, _Ticket] = {}  # oldest first, because all live equally long

    def __len__(self) -> int:
        return len(self._out)

    def issue(self, owner: str, stream_id: str) -> str:
        """Return a new ticket with which `owner` can open the stream once."""
        self._drop_expired()
        his = [key for key, ticket in self._out.items() if ticket.owner == owner]
        if len(his) >= MOST_PER_OWNER:
            del self._out[his[0]]
        text = secrets.token_urlsafe(32)
        self._out[_hashed(text)] = _Ticket(owner, stream_id, self._now() + self._ticket_s)
        return text

    def redeem(self, text: str, stream_id: str) -> str | None:
        """Return whose ticket it is, or `None` when it does not open this stream."""
        self._drop_expired()
        key = _hashed(text)
        ticket = self._out.get(key)
        if ticket is None:
            return None
        if ticket.stream_id != stream_id:
            del self._out[key]
            return None
        ticket.opened = True
        return ticket.owner

    def forget(self, stream_id: str) -> None:
        """Let no ticket open this stream any more."""
        for key in [key for key, ticket in self._out.items() if ticket.stream_id == stream_id]:
            del self._out[key]

    def _drop_expired(self) -> None:
        now = self._now()
        for key, ticket in list(self._out.items()):
            if ticket.expires > now:
                return
            if not ticket.opened:
                del self._out[key]


def _hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()
