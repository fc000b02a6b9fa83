"""HTTP/1 as uvicorn speaks it on httptools, mended where that loses or garbles what others send.

httptools is chosen because it costs the least for each piece of a stream (`benches/viewers.py` measures the choice).
What it does wrong, and h11 does right:

- A request that offers an upgrade which is not taken (`Upgrade: h2c`, as Java's HttpClient sends it) loses its body:
  the parser stops behind the headers (Kludex/uvicorn#2722). RFC 9110, 7.8 lets a server ignore the offer; so the
  request is read again without it.
- A response without a length is chunked for HTTP/1.0 too, whose clients take the sizes for text. There it ends with
  the connection (RFC 9112, 6.3).
- The head of a request may have any length, before anybody has shown a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

ABORT: Final = "facilitair.abort"
"""The extension of a scope with which a response gives up a client that takes nothing: `close` would wait for it."""
_LONGEST_HEAD: Final = 65_536
_OFFERS: Final = (b"upgrade", b"http2-settings")
_TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class Http1Protocol(HttpToolsProtocol):
    """One connection."""

    _declined = False  # the request being read offers an upgrade that is not taken
    _head_bytes = 0  # of what the parser has handed on
    _unparsed = 0  # of packets that brought no end of the head
    _reads_head = _reads_body = False

    def on_message_begin(self) -> None:
        """Begin to read a request."""
        self._head_bytes = self._unparsed = 0
        self._reads_head, self._reads_body = True, False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Add to the URL."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the request has to be read again without its offer."""
        self._reads_head, self._reads_body = False, True
        old = self.parser.get_http_version() == "1.0"
        tunnel = self.parser.get_method() == b"CONNECT"
        if self.parser.should_upgrade() and not tunnel and (old or not self._should_upgrade()):
            self._declined = True
            return
        if old:
            self.expect_100_continue = False  # RFC 9110, 10.1.1
        super().on_headers_complete()
        scope: dict[str, object] = self.scope  # type: ignore[assignment]
        scope["extensions"] = {ABORT: self.transport.abort}
        if old:
            self.cycle.__class__ = _UntilClose

    def on_message_complete(self) -> None:
        """End the request, unless it has to be read again."""
        self._reads_body = False
        if not self._declined:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parse what came; behind the headers of a declined offer the parser stops and says where."""
        self._unset_keepalive_if_required()
        of_a_head = not self._reads_body
        while True:
            try:
                self.parser.feed_data(data)
                if self._reads_head and of_a_head:
                    self._unparsed += len(data)  # a header without end stays in the parser
                    self._count(0)
            except httptools.HttpParserUpgrade as stop:
                if self._declined:
                    data = self._head_again() + data[stop.args[0] :]
                    continue
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
            except (httptools.HttpParserError, OverflowError):
                self._refuse()
            return

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if max(self._head_bytes, self._unparsed) > _LONGEST_HEAD:
            raise OverflowError  # in a callback, which the parser hands on as a mistake of the request

    def _refuse(self) -> None:
        if max(self._head_bytes, self._unparsed) > _LONGEST_HEAD:
            self.transport.write(_TOO_LONG)
            self.transport.close()
            return
        message = "Invalid HTTP request received."
        self.logger.warning(message)
        self.send_400_response(message)

    def _get_upgrade(self) -> bytes | None:
        """Return what is offered, over all lines of these headers, as the parser reads them; a WebSocket comes first,
        and only a GET can open one."""
        connection = {word for name, value in self.headers if name == b"connection" for word in _words(value)}
        offered = [word for name, value in self.headers if name == b"upgrade" for word in _words(value)]
        if b"upgrade" not in connection or not offered:
            return None
        opens = b"websocket" in offered and self.parser.get_method() == b"GET"
        return b"websocket" if opens else b", ".join(word for word in offered if word != b"websocket")

    def _head_again(self) -> bytes:
        """Return the head of the request without its offer, for a parser that begins anew."""
        self._declined = False
        version = self.parser.get_http_version().encode()
        head = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                kept = [word for word in _words(value) if word not in _OFFERS]
                head += [name + b": " + b", ".join(kept)] if kept else []
            elif name not in _OFFERS:
                head.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join(head) + b"\r\n\r\n"


def _words(value: bytes) -> list[bytes]:
    return [word.strip().lower() for word in value.split(b",") if word.strip()]


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
