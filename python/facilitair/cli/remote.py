"""Runs on a server, shown here: the way to the server, and what is said when it is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ServerError
from .commands import Server
from .messages import say
from .presentation import Presentation

if TYPE_CHECKING:
    from ..remote import RemoteClient, RemoteRun


def connect(server: Server) -> RemoteClient:
    """Return a client of `server`. Raises `ConfigError` for an address that cannot be one."""
    from ..remote import RemoteClient  # the HTTP client, which a run here does without

    return RemoteClient(server.url, server.key.reveal() if server.key else None)


async def watch(run: RemoteRun, presentation: Presentation) -> None:
    """Show `run`. Raises `ServerError` when the server is lost, after it has said how to come back."""
    try:
        await presentation.show(aiter(run))
    except ServerError:
        if run.state.seq:
            say(f"the run may go on; `facilitair attach {run.stream_id}` watches it")
        raise
