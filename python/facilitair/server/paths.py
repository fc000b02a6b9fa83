"""Paths and methods as clients write them: a slash too many is no other place, and HEAD is GET without its body.

Nothing is redirected: a redirect behind TLS would lead to `http://`, and a client that follows one may drop the body of
a POST or send its key in the clear.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send


class PlainPaths:
    """ASGI middleware: takes doubled slashes and those at the end out of a path, and answers HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a connection through."""
        if scope["type"] in ("http", "websocket"):
            path = re.sub(r"//+", "/", scope["path"]).rstrip("/") or "/"
            # A copy: whoever writes the answer still knows that it was HEAD, and leaves the body out.
            scope = {**scope, "path": path, "raw_path": path.encode()}
            if scope.get("method") == "HEAD":
                scope["method"] = "GET"
        await self._app(scope, receive, send)
