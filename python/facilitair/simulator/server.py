"""The simulator over HTTP: a server on loopback that plays what the brain says in real time, to clients of OpenAI and
of Anthropic.

HTTP/1.1 with keep-alive and chunked encoding. It listens on loopback only and answers only requests whose Host is
loopback, so that no web page can reach it by a name of its own. A client that closes its sending side counts as
gone: its stream stops at once. A second request sent before the first is answered waits its turn.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import h11

from ..errors import UsageError
from .brain import Brain
from .wire import Refusal, Reply, error_reply, json_reply

_READ: Final = 65536
_LARGEST_BODY: Final = 32 * 1024 * 1024
_REASONS: Final = {529: b"Overloaded"}  # not registered
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: the peer sees a reset, not an end


class Simulator:
    """A running simulator: `async with Simulator() as simulator: ... simulator.base_url`.

    `requests` counts chat requests, `open_streams` the responses being sent, `closed_early` those whose client left
    before the end, `steps` what was written of all responses: for a streamed one about one a token.

    `speed` divides all times: at 10 a script of 10 s takes 1 s. Port 0 takes a free one. Raises `UsageError` for an
    address that is not loopback or cannot be listened on, and for a speed that is not above 0.
    """

    def __init__(
        self, brain: Brain | None = None, *, host: str = "127.0.0.1", port: int = 0, speed: float = 1.0
    ) -> None:
        if not _is_loopback(host):
            raise UsageError(
                f"the simulator listens on loopback only, not on {host!r}; use 127.0.0.1 or ::1."
            )
        if not 0 < speed < float("inf"):
            raise UsageError(f"the speed {speed!r} cannot be; give a number above 0, 1 is real time.")
        self.brain = brain or Brain()
        self.requests = 0
        self.open_streams = 0
        self.closed_early = 0
        self.steps = 0
        self._host = host
        self._port = port
        self._speed = speed
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL; one of Anthropic takes it without `/v1`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/v1"

    @property
    def stats(self) -> Mapping[str, object]:
        """What `GET /stats` answers."""
        return {
            "requests": self.requests,
            "open_streams": self.open_streams,
            "closed_early": self.closed_early,
            "steps": self.steps,
            "connections": len(self._connections),
            "models": self.brain.requests,
        }

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(self._accept, self._host, self._port)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"the simulator cannot listen on {self._host} port {self._port}: {error}. "
                "Choose another port, or 0 for a free one."
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None  # noqa: S101 (entered before it is left)
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(_Connection(self, self._speed, reader, writer).run())
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)


async def serve(host: str, port: int, speed: float, announce: Callable[[str], None]) -> None:
    """Run a simulator until cancelled; `announce` is called with its base URL once it listens.

    Raises what `Simulator` raises.
    """
    async with Simulator(host=host, port=port, speed=speed) as simulator:
        announce(simulator.base_url)
        await asyncio.Event().wait()


class _Connection:
    """One client's connection: requests in, replies out, one after the other."""

    def __init__(
        self, simulator: Simulator, speed: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._simulator = simulator
        self._speed = speed
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        """Serve until either side ends the connection."""
        try:
            while await self._exchange():
                self._http.start_next_cycle()
            self._writer.close()
            await self._writer.wait_closed()
        except ConnectionError:
            pass  # the client is gone, which is its right
        finally:
            self._writer.transport.abort()

    async def _exchange(self) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            request, body = await self._request()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await self._play(error_reply(error.error_status_hint, f"the request cannot be read: {error}"))
            return False
        if request is None:
            return False
        reply = self._routed(request, body)
        if isinstance(reply, Refusal):
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._writer.transport.abort()
            return False
        await self._stream(reply)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _request(self) -> tuple[h11.Request | None, bytes]:
        """Return the next request and its body; no request when the client has closed the connection."""
        request: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                self._http.receive_data(await self._reader.read(_READ))
            elif isinstance(event, h11.Request):
                request = event
                _check_size(
                    int(next((value for name, value in event.headers if name == b"content-length"), 0))
                )
            elif isinstance(event, h11.Data):
                body += event.data
                _check_size(len(body))
            else:
                return (request if isinstance(event, h11.EndOfMessage) else None), bytes(body)

    def _routed(self, request: h11.Request, body: bytes) -> Reply | Refusal:
        host = next((value.decode() for name, value in request.headers if name == b"host"), "")
        if not _is_loopback(_without_port(host)):
            return error_reply(HTTPStatus.FORBIDDEN, f"the Host {host[:100]!r} is not a loopback name")
        path = request.target.decode().partition("?")[0]
        match request.method, path:
            case b"POST", "/v1/chat/completions":
                self._simulator.requests += 1
                return self._simulator.brain.reply_to(body)
            case b"POST", "/v1/messages":
                self._simulator.requests += 1
                return self._simulator.brain.message_reply_to(body)
            case b"GET", "/v1/models":
                return self._simulator.brain.models()
            case b"GET", "/stats":
                return json_reply(self._simulator.stats)
        return error_reply(
            HTTPStatus.NOT_FOUND,
            f"there is no {request.method.decode()} {path[:100]}; "
            "there are POST /v1/chat/completions, POST /v1/messages, GET /v1/models and GET /stats",
        )

    async def _stream(self, reply: Reply) -> None:
        """Play `reply`, and stop at once when the client leaves."""
        self._simulator.open_streams += 1
        playing = asyncio.create_task(self._play(reply))
        reading = asyncio.create_task(self._reader.read(_READ))
        try:
            await asyncio.wait({playing, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                self._http.receive_data(reading.result())
                if not self._reader.at_eof():
                    await playing
            if playing.done():
                playing.result()
            else:
                raise ConnectionResetError("the client left")
        except ConnectionError:
            self._simulator.closed_early += 1
            raise
        finally:
            self._simulator.open_streams -= 1
            playing.cancel()
            reading.cancel()
            await asyncio.gather(playing, reading, return_exceptions=True)

    async def _play(self, reply: Reply) -> None:
        loop = asyncio.get_running_loop()
        reason = _REASONS.get(reply.status) or HTTPStatus(reply.status).phrase.encode()
        await self._send(h11.Response(status_code=reply.status, reason=reason, headers=list(reply.headers)))
        due = loop.time()
        for step in reply.steps:
            due += step.delay_s / self._speed
            if step.delay_s:
                await asyncio.sleep(max(0.0, due - loop.time()))
            await self._send(h11.Data(data=step.data))
            self._simulator.steps += 1
        if reply.ending == "hang":
            await asyncio.Event().wait()
        if reply.ending == "complete":
            await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()


def _check_size(size: int) -> None:
    if size > _LARGEST_BODY:
        raise h11.RemoteProtocolError(f"the body is larger than {_LARGEST_BODY} bytes", 413)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
