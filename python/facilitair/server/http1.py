"""HTTP/1 as uvicorn speaks it on httptools, mended where that loses or garbles what others send.

httptools is chosen because it costs the least for each piece of a stream (`benches/viewers.py` measures the choice).
Two things it does wrong, which h11 does right:

- A request that offers an upgrade which is not taken (`Upgrade: h2c`, as Java's HttpClient sends it) loses its body:
  the parser stops behind the headers (Kludex/uvicorn#2722). RFC 9110, 7.8 lets a server ignore the offer; so the
  request is read again without it.
- A response without a length is chunked for HTTP/1.0 too, whose clients take the sizes for text. There it ends with
  the connection (RFC 9112, 6.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

_OFFERS: Final = (b"upgrade", b"http2-settings")


class Http1Protocol(HttpToolsProtocol):
    """One connection."""

    _declined = False  # the request being read offers an upgrade that is not taken

    def on_headers_complete(self) -> None:
        """Begin the request, unless it has to be read again without its offer."""
        if self.parser.should_upgrade() and self._get_upgrade() is not None and not self._should_upgrade():
            self._declined = True
            return
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            self.cycle.__class__ = _UntilClose

    def on_message_complete(self) -> None:
        """End the request, unless it has to be read again."""
        if not self._declined:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parse what came; behind the headers of a declined offer the parser stops and says where."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            if self._declined:
                self._read_again(data[stop.args[0] :])
            elif self._should_upgrade():
                self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)

    def _read_again(self, rest: bytes) -> None:
        self._declined = False
        version = self.parser.get_http_version().encode()
        head = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                kept = [word for word in value.split(b",") if word.strip().lower() not in _OFFERS]
                head += [name + b": " + b",".join(kept)] if kept else []
            elif name not in _OFFERS:
                head.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join(head) + b"\r\n\r\n" + rest)


class _UntilClose(RequestResponseCycle):
    """A response to HTTP/1.0."""

    _no_length = False

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the response; one without a length is sent as it is, and its connection closed."""
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            if b"content-length" not in names:
                self._no_length, self.chunked_encoding = True, False
        elif self._no_length and message["type"] == "http.response.body":
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
