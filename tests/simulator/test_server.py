"""The simulator over real HTTP: the same text and ends as in process, and nothing left when a client leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
import pytest

from facilitair.clock import VirtualClock
from facilitair.errors import UsageError
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.script import ScriptTransport
from facilitair.simulator.server import Simulator, serve
from facilitair.simulator.wire import Reply, Step
from facilitair.transport import Delta, HttpRequest
from facilitair_rust import Closed, Content, Failed, Finished, HttpClient, Mux, Timeouts
from tests.simulator.chat import Messages, assistant, body, content, messages

T = TypeVar("T")
TEN = Script(text="0 1 2 3 4 5 6 7 8 9", ttft_s=0.2, between_s=0.05)
TIMEOUTS = Timeouts(connect=5, first_content=10, between_content=10, total=20)
IMPATIENT = Timeouts(connect=5, first_content=1, between_content=1, total=20)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine with a bound on its liveness."""

    async def bounded() -> T:
        async with asyncio.timeout(40):
            return await work

    return asyncio.run(bounded())


def simulator(scripts: Mapping[str, Script] | None = None) -> Simulator:
    return Simulator(Brain({"ten": TEN} | dict(scripts or {})), speed=20.0)


def start(
    mux: Mux, server: Simulator, model: str, timeouts: Timeouts = TIMEOUTS, said: Messages | None = None
) -> int:
    sent = msgspec.json.encode(body(model, said))
    return mux.open(
        f"{server.base_url}/chat/completions", {"Content-Type": "application/json"}, sent, timeouts
    )


async def collect(mux: Mux) -> list[Delta]:
    return [delta async for batch in mux for delta in batch]


async def ask(
    server: Simulator, model: str, timeouts: Timeouts = TIMEOUTS, said: Messages | None = None
) -> list[Delta]:
    """Return everything that one request over HTTP delivers."""
    client = HttpClient()
    try:
        mux = client.mux()
        start(mux, server, model, timeouts, said)
        return await collect(mux)
    finally:
        client.close()


async def in_process(model: str, timeouts: Timeouts = TIMEOUTS, said: Messages | None = None) -> list[Delta]:
    """Return everything that the same request delivers on a virtual clock."""
    channel = ScriptTransport(Brain({"ten": TEN}), VirtualClock()).channel()
    channel.open(HttpRequest("https://nowhere.invalid", {}, msgspec.json.encode(body(model, said)), timeouts))
    found: list[Delta] = []
    while not (found and isinstance(found[-1], Finished | Failed | Closed)):
        found += await channel.recv(None)
    return found


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Content))


def end(deltas: list[Delta]) -> str:
    last = deltas[-1]
    if isinstance(last, Failed):
        return last.error.code
    return last.reason if isinstance(last, Finished) else "closed"


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds; the test's own bound ends a wait for nothing."""
    while not holds():  # noqa: ASYNC110 (the counters are what is tested; they have no event)
        await asyncio.sleep(0.005)


class RawClient:
    """A connection on which every byte is ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, server: Simulator) -> RawClient:
        host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").rpartition(":")
        return cls(*await asyncio.open_connection(host.strip("[]"), int(port)))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def request(
        self, method: str, path: str, sent: bytes = b"", host: str = "127.0.0.1", more: str = ""
    ) -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(sent)}\r\n{more}\r\n"
        await self.send(head.encode() + sent)

    async def response(self) -> tuple[int, bytes, bytes]:
        """Return status, head and body of the next response, its chunks joined."""
        head = await self.head()
        joined = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            joined += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return int(head.split()[1]), head, joined

    async def head(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        return await self._reader.read()

    def drop(self) -> None:
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@pytest.mark.parametrize(
    "model",
    [
        "architect",
        "coder",
        "reviewer",
        "synthesizer",
        "thinker",
        "ten+bytes",
        "coder+u2028",
        "ten+dupdone",
        "ten+length",
        "ten+nousage",
        "ten+cut",
        "ten+error",
        "ten+malformed",
        "ten+huge",
        "ten+429",
        "ten+500",
        "ten+refused",
        "nobody",
        "ten+no",
    ],
)
def test_http_and_in_process_deliver_the_same(model: str) -> None:
    async def work() -> None:
        async with simulator() as server:
            over_http = await ask(server, model)
        expected = await in_process(model)
        assert (text(over_http), end(over_http)) == (text(expected), end(expected))

    run(work())


@pytest.mark.parametrize(
    ("fault", "how"),
    [("slow", "first_content_timeout"), ("stall", "stall_timeout"), ("silent", "stall_timeout")],
)
def test_silence_runs_into_the_clocks_comments_or_not(fault: str, how: str) -> None:
    async def work() -> None:
        async with simulator() as server:
            found = await ask(server, f"ten+{fault}", IMPATIENT)
            assert end(found) == how
            assert text(found) == ("" if fault == "slow" else "0 1 2")
            await eventually(lambda: server.open_streams == 0)
            assert server.closed_early == 1

    run(work())


def test_a_prefill_over_http_is_continued_in_place() -> None:
    async def work() -> None:
        async with simulator() as server:
            whole = text(await ask(server, "coder"))
            for cut in (1, len(whole) // 2, len(whole)):
                said = [*messages(), assistant(whole[:cut])]
                assert whole[:cut] + text(await ask(server, "coder", said=said)) == whole

    run(work())


def test_many_streams_at_once_keep_their_texts() -> None:
    async def work() -> None:
        lines = {f"line{n}": Script(text=f"{n} " * 50, ttft_s=0.1, between_s=0.02) for n in range(30)}
        async with simulator(lines) as server:
            client = HttpClient()
            mux = client.mux()
            opened = {start(mux, server, name): name for name in lines}
            found = await collect(mux)
            client.close()
            for stream, name in opened.items():
                assert text([delta for delta in found if delta.stream == stream]) == lines[name].text
            assert server.requests == 30

    run(work())


@pytest.mark.parametrize("model", ["ten+slow", "ten+stall", "ten+silent"])
def test_a_client_that_leaves_stops_the_generation(model: str) -> None:
    async def work() -> None:
        async with simulator() as server:
            client = HttpClient()
            mux = client.mux()
            stream = start(mux, server, model)
            await eventually(lambda: server.open_streams == 1)
            mux.close_stream(stream)
            assert isinstance((await collect(mux))[-1], Closed)
            await eventually(lambda: server.open_streams == 0)
            assert server.closed_early == 1
            client.close()

    run(work())


class Flood(Brain):
    """Answers without end and without pause, and counts what is taken of it."""

    taken = 0

    def reply_to(self, body: bytes) -> Reply:
        return Reply(200, (), self._steps())

    def _steps(self) -> Iterator[Step]:
        while True:
            self.taken += 1
            yield Step(0.0, bytes(65536))


def test_a_client_that_does_not_read_stops_the_writing() -> None:
    async def work() -> None:
        flood = Flood()
        async with Simulator(flood) as server:
            client = await RawClient.connect(server)
            await client.request("POST", "/v1/chat/completions")
            await eventually(lambda: flood.taken > 0)
            before = -1
            while flood.taken > before:  # without back-pressure this would never end
                before = flood.taken
                await asyncio.sleep(0.1)
            assert server.open_streams == 1
            client.drop()
            await eventually(lambda: server.open_streams == 0)
            assert server.closed_early == 1

    run(work())


def test_a_connection_serves_one_request_after_the_other() -> None:
    async def work() -> None:
        async with simulator() as server:
            client = await RawClient.connect(server)
            sent = json.dumps(body("ten")).encode()
            for _ in range(3):
                await client.request("POST", "/v1/chat/completions", sent)
                status, head, data = await client.response()
                assert (status, content(data)) == (200, TEN.text)
                assert b"X-Simulated: 1\r\n" in head
            await client.request("POST", "/v1/chat/completions", sent)
            await client.request("GET", "/v1/models")
            assert content((await client.response())[2]) == TEN.text
            assert json.loads((await client.response())[2])["object"] == "list"
            assert server.stats["connections"] == 1
            await client.close()
            await eventually(lambda: server.stats["connections"] == 0)
            assert server.closed_early == 0

    run(work())


def test_an_answer_that_is_not_streamed() -> None:
    async def work() -> None:
        async with simulator() as server:
            client = await RawClient.connect(server)
            await client.request(
                "POST", "/v1/chat/completions", json.dumps(body("ten", stream=False)).encode()
            )
            status, _, data = await client.response()
            assert (status, json.loads(data)["choices"][0]["message"]["content"]) == (200, TEN.text)
            await client.close()

    run(work())


def test_stats_say_what_was_asked() -> None:
    async def work() -> None:
        async with simulator() as server:
            await ask(server, "ten")
            await ask(server, "ten+429")
            client = await RawClient.connect(server)
            await client.request("GET", "/stats")
            _, _, data = await client.response()
            await client.close()
        found = json.loads(data)
        assert found["requests"] == 2
        assert found["models"] == {"ten": 1, "ten+429": 1}
        assert found["closed_early"] == 0

    run(work())


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.1:80", ""])
def test_a_page_cannot_reach_it_by_another_name(host: str) -> None:
    async def work() -> None:
        async with simulator() as server:
            client = await RawClient.connect(server)
            await client.request("POST", "/v1/chat/completions", json.dumps(body("ten")).encode(), host=host)
            assert (await client.response())[0] == 403
            await client.close()
            assert server.requests == 0

    run(work())


@pytest.mark.parametrize("host", ["localhost:80", "LOCALHOST", "127.0.0.1", "[::1]:1234"])
def test_loopback_names_are_welcome(host: str) -> None:
    async def work() -> None:
        async with simulator() as server:
            client = await RawClient.connect(server)
            await client.request("GET", "/v1/models", host=host)
            assert (await client.response())[0] == 200
            await client.close()

    run(work())


def test_other_paths_are_named_as_unknown() -> None:
    async def work() -> None:
        async with simulator() as server:
            client = await RawClient.connect(server)
            for method, path in (("GET", "/"), ("GET", "/v1/chat/completions"), ("POST", "/v1/embeddings")):
                await client.request(method, path)
                status, _, data = await client.response()
                assert status == 404
                assert "POST /v1/chat/completions" in json.loads(data)["error"]["message"]
            await client.close()

    run(work())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 100_000, b"431"),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000000\r\n\r\n",
            b"413",
        ),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(sent: bytes, status: bytes) -> None:
    async def work() -> None:
        async with simulator() as server:
            client = await RawClient.connect(server)
            await client.send(sent)
            assert (await client.rest()).split()[1] == status
            await eventually(lambda: server.stats["connections"] == 0)
            client.drop()

    run(work())


def test_a_body_without_a_length_is_limited_too() -> None:
    async def work() -> None:
        async with simulator() as server:
            client = await RawClient.connect(server)
            head = (
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            await client.send(head.encode())
            with pytest.raises(ConnectionError):
                await client.send((b"100000\r\n" + bytes(0x100000) + b"\r\n") * 200)
            client.drop()

    run(work())


def test_a_body_announced_with_expect_is_asked_for() -> None:
    async def work() -> None:
        async with simulator() as server:
            client = await RawClient.connect(server)
            sent = json.dumps(body("ten")).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n"
            await client.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert (await client.head()).startswith(b"HTTP/1.1 100")
            await client.send(sent)
            assert content((await client.response())[2]) == TEN.text
            await client.close()

    run(work())


def test_closing_the_simulator_ends_every_stream_and_connection() -> None:
    async def work() -> None:
        client = HttpClient()
        async with simulator() as server:
            mux = client.mux()
            for model in ("ten+slow", "ten+stall", "ten+silent"):
                start(mux, server, model)
            await eventually(lambda: server.open_streams == 3)
        assert (server.open_streams, server.stats["connections"]) == (0, 0)
        assert {end([delta]) for delta in await collect(mux) if isinstance(delta, Failed)} <= {
            "truncated",
            "connect_failed",
        }
        client.close()

    run(work())


def test_it_listens_on_ipv6_loopback() -> None:
    async def work() -> None:
        async with Simulator(Brain({"ten": TEN}), host="::1", speed=20) as server:
            assert server.base_url.startswith("http://[::1]:")
            assert text(await ask(server, "ten")) == TEN.text

    run(work())


def test_serve_announces_its_address_and_runs_until_cancelled() -> None:
    async def work() -> None:
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve("127.0.0.1", 0, 50.0, address.set_result))
        port = int((await address).rpartition(":")[2].removesuffix("/v1"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        await reader.read()
        writer.close()
        with pytest.raises(OSError, match="onnect"):
            await asyncio.open_connection("127.0.0.1", port)

    run(work())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com", "192.168.0.1"])  # noqa: S104 (must be refused)
def test_an_address_that_others_reach_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="loopback only"):
        Simulator(host=host)


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan")])
def test_a_speed_that_cannot_be_is_refused(speed: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Simulator(speed=speed)


def test_a_port_in_use_is_named() -> None:
    async def work() -> None:
        async with simulator() as server:
            port = int(server.base_url.rpartition(":")[2].removesuffix("/v1"))
            with pytest.raises(UsageError, match=rf"port {port}.*another port"):
                async with Simulator(port=port):
                    pass
        with pytest.raises(UsageError, match="70000"):
            async with Simulator(port=70000):
                pass

    run(work())
