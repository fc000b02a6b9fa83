"""`HttpClient` and `Mux` against a loopback provider: what is on the wire, and what becomes of it.

Times are only bounds for liveness; nothing here measures speed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from facilitair_rust import (
    Closed,
    Content,
    Delta,
    Failed,
    Finished,
    HttpClient,
    Mux,
    Reasoning,
    Timeouts,
    Usage,
)
from tests.rust.provider import (
    DONE,
    FINISH,
    HEAD,
    LAST,
    UNTIL_CLOSE,
    USAGE,
    Request,
    answer,
    chunk,
    event,
    provider,
    said,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

SOON = 10.0
KEY = {"authorization": "Bearer sk-test-0123456789"}


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


async def everything(mux: Mux) -> list[Delta]:
    return [delta async for batch in mux for delta in batch]


def text(deltas: list[Delta], stream: int = 1) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Content) and delta.stream == stream)


def failure(deltas: list[Delta]) -> Failed:
    last = deltas[-1]
    assert isinstance(last, Failed), deltas
    assert sum(isinstance(delta, Finished | Failed | Closed) for delta in deltas) == 1
    return last


async def ask(respond: Callable[[Request], Awaitable[None]], timeouts: Timeouts | None = None) -> list[Delta]:
    async with provider(respond) as server:
        mux = HttpClient().mux()
        mux.open(server.url, KEY, b"{}", timeouts)
        return await everything(mux)


def ask_bytes(*pieces: bytes, timeouts: Timeouts | None = None) -> list[Delta]:
    """Sends the pieces, then closes the connection."""

    async def respond(request: Request) -> None:
        await request.send(*pieces)
        request.writer.close()

    return asyncio.run(asyncio.wait_for(ask(respond, timeouts), 30))


def test_a_whole_stream() -> None:
    async def work() -> None:
        async def respond(request: Request) -> None:
            reasoning = event({"choices": [{"delta": {"reasoning_content": "hm"}}]})
            await request.send(HEAD, chunk(reasoning + said("a") + said("b") + FINISH + USAGE + DONE) + LAST)

        async with provider(respond) as server:
            mux = HttpClient(user_agent="me/1").mux()
            assert mux.open(server.url, KEY, b'{"x":1}') == 1
            deltas = await everything(mux)
            assert await everything(mux) == []
        (request,) = server.requests
        assert request.body == b'{"x":1}'
        assert "authorization: bearer sk-test-0123456789" in request.head.lower()
        assert "user-agent: me/1" in request.head.lower()
        assert "accept: text/event-stream" in request.head.lower()
        assert "content-type: application/json" in request.head.lower()
        reasoning, content, finished = deltas
        assert isinstance(reasoning, Reasoning)
        assert reasoning.text == "hm"
        assert isinstance(content, Content)
        assert (content.text, content.chunks) == ("ab", 2)
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.model) == ("stop", "m-1")
        assert isinstance(finished.usage, Usage)
        assert (finished.usage.input_tokens, finished.usage.output_tokens) == (3, 4)
        assert finished.usage.cost_usd is None

    run(work())


def test_one_byte_at_a_time() -> None:
    words = "caf\u00e9 \u2028 \u0085 \U0001f980"
    wire = chunk(said(words)) + chunk(FINISH + DONE) + LAST
    deltas = ask_bytes(HEAD, *(wire[i : i + 1] for i in range(len(wire))))
    assert text(deltas) == words
    assert isinstance(deltas[-1], Finished)


def test_what_follows_done_is_ignored() -> None:
    deltas = ask_bytes(HEAD, chunk(said("a") + FINISH + DONE + DONE + said("b")) + LAST)
    assert text(deltas) == "a"
    assert [type(delta) for delta in deltas] == [Content, Finished]


def test_a_cut_is_no_success() -> None:
    deltas = ask_bytes(HEAD, chunk(said("half")))
    assert text(deltas) == "half"
    error = failure(deltas).error
    assert (error.code, error.retryable) == ("truncated", True)


def test_a_cut_after_the_finish_reason_is_one() -> None:
    assert isinstance(ask_bytes(UNTIL_CLOSE, said("a") + FINISH)[-1], Finished)


def test_comments_do_not_hide_a_stall() -> None:
    async def respond(request: Request) -> None:
        await request.send(HEAD, chunk(said("a")))
        while True:
            await request.send(chunk(b": keep-alive\n\n"))
            await asyncio.sleep(0.02)

    async def work() -> None:
        deltas = await ask(respond, Timeouts(between_content=0.3))
        assert failure(deltas).error.code == "stall_timeout"
        assert text(deltas) == "a"

    run(work())


def test_a_late_head_is_late_content_and_no_failed_connection() -> None:
    async def respond(request: Request) -> None:
        await request.gone()

    async def work() -> None:
        deltas = await ask(respond, Timeouts(connect=0.1, first_content=0.4))
        assert failure(deltas).error.code == "first_content_timeout"

    run(work())


def test_the_whole_has_a_limit() -> None:
    async def respond(request: Request) -> None:
        await request.send(HEAD)
        while True:
            await request.send(chunk(said("a")))
            await asyncio.sleep(0.02)

    async def work() -> None:
        assert failure(await ask(respond, Timeouts(total=0.4))).error.code == "total_timeout"

    run(work())


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        ("400 Bad Request", "http_status", False),
        ("401 Unauthorized", "auth_failed", False),
        ("429 Too Many Requests", "rate_limited", True),
        ("503 Service Unavailable", "http_status", True),
    ],
)
def test_refused_requests(status: str, code: str, retryable: bool) -> None:
    body = b'{"error": {"message": "no: sk-test-0123456789"}}'
    error = failure(ask_bytes(answer(status, body, "retry-after: 7"))).error
    assert (error.code, error.retryable, error.status) == (code, retryable, int(status[:3]))
    assert error.retry_after_s == 7.0
    assert error.message == f"HTTP {status[:3]}: no: [redacted]"
    assert "sk-test" not in repr(error)


def test_an_endless_refusal_ends() -> None:
    async def respond(request: Request) -> None:
        await request.send(b"HTTP/1.1 400 Bad Request\r\n\r\nno: sk-test-0123456789 ")
        while True:
            await request.send(b"no " * 10_000)

    async def work() -> None:
        error = failure(await ask(respond)).error
        assert (error.code, error.status) == ("http_status", 400)
        assert error.message.startswith("HTTP 400: no: [redacted] no no")

    run(work())


def test_secrets_of_the_address_are_never_repeated() -> None:
    async def work() -> None:
        async def respond(request: Request) -> None:
            await request.send(
                answer("400 Bad Request", b"no query-secret, pass%77ord-secret, header-secret")
            )

        async with provider(respond) as server:
            mux = HttpClient().mux()
            url = server.url.replace("://", "://me:password-secret@") + "?key=query-secret"
            mux.open(url, {"x-password": "header-secret"}, b"{}")
            error = failure(await everything(mux)).error
        assert error.message == "HTTP 400: no [redacted], [redacted], [redacted]"

    run(work())


def test_refused_connections() -> None:
    async def work() -> None:
        async with provider(lambda request: request.gone()) as server:
            url = server.url
        mux = HttpClient().mux()
        mux.open(url, {}, b"{}")
        error = failure(await everything(mux)).error
        assert (error.code, error.retryable) == ("connect_failed", True)

    run(work())


def test_what_is_no_tls() -> None:
    async def work() -> None:
        async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer("400 Bad Request", b"plain http only"))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        async with server:
            mux = HttpClient().mux()
            mux.open(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, b"{}")
            error = failure(await everything(mux)).error
        assert (error.code, error.retryable) == ("tls_failed", False)

    run(work())


ASKING = """
import asyncio, sys
from facilitair_rust import HttpClient
async def main():
    mux = HttpClient().mux()
    mux.open(sys.argv[1], {}, b"{}")
    print([delta async for batch in mux for delta in batch])
asyncio.run(main())
"""


async def ask_elsewhere(url: str, **environment: str) -> str:
    """What a process of its own gets, as certificates and proxies are read when a process starts."""
    inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASKING, url, env=inherited | environment, stdout=subprocess.PIPE
    )
    output, _ = await program.communicate()
    return output.decode()


async def said_hello(request: Request) -> None:
    await request.send(HEAD, chunk(said("hello") + FINISH + DONE) + LAST)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make a certificate")
def test_only_a_known_certificate_is_trusted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def work() -> None:
        async with provider(said_hello, tls) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            refused = await ask_elsewhere(url)
            assert "tls_failed" in refused
            assert "retryable=False" in refused
            assert server.requests == []
            assert "text='hello'" in await ask_elsewhere(url, SSL_CERT_FILE=str(certificate))
            none = await ask_elsewhere(url, SSL_CERT_FILE=str(tmp_path / "none.pem"), SSL_CERT_DIR="")
            assert "tls_failed" in none
            assert "apt-get install ca-certificates" in none

    run(work())


def test_a_machine_without_certificates_still_speaks_plain_http(tmp_path: Path) -> None:
    nowhere = {"SSL_CERT_FILE": str(tmp_path / "none.pem"), "SSL_CERT_DIR": str(tmp_path)}

    async def work() -> None:
        async with provider(said_hello) as server:
            assert "text='hello'" in await ask_elsewhere(server.url, **nowhere)

    run(work())


@pytest.mark.parametrize(
    ("url", "headers"),
    [("ftp://x/", {}), ("no url", {}), ("http://x/", {"a": "b\n"}), ("http://x/", {"ä": ""})],
)
def test_what_cannot_be_sent(url: str, headers: dict[str, str]) -> None:
    async def work() -> None:
        mux = HttpClient().mux()
        mux.open(url, headers, b"{}")
        assert failure(await everything(mux)).error.code == "invalid_request"

    run(work())


def test_malformed_json() -> None:
    deltas = ask_bytes(HEAD, chunk(said("a") + b"data: {not json\n\n" + said("b")) + LAST)
    assert text(deltas) == "a"
    assert failure(deltas).error.code == "malformed"


def test_an_error_in_the_stream() -> None:
    deltas = ask_bytes(HEAD, chunk(said("a") + event({"error": {"message": "overloaded", "code": 502}})))
    assert text(deltas) == "a"
    error = failure(deltas).error
    assert (error.code, error.status, error.retryable, error.message) == (
        "provider_error",
        502,
        True,
        "overloaded",
    )


def test_an_endless_event() -> None:
    error = failure(ask_bytes(HEAD, chunk(b"data: " + b"x" * 9_000_000))).error
    assert error.code == "too_large"


def test_a_completion_that_was_not_streamed() -> None:
    body = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "length"}], "usage": {"prompt_tokens": 1}}'
    deltas = ask_bytes(answer("200 OK", body, "content-type: application/json"))
    assert text(deltas) == "hi"
    assert isinstance(deltas[-1], Finished)
    assert deltas[-1].reason == "length"


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            b'\n {"error": {"message": "bad model", "type": "invalid_request_error"}}',
            "provider_error",
            "bad model",
        ),
        (b"<html>Sign in</html>", "malformed", "the response is a web page"),
    ],
)
@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain", "application/json"])
def test_the_body_tells_what_it_is_not_its_type(body: bytes, code: str, message: str, kind: str) -> None:
    error = failure(ask_bytes(answer("200 OK", body, f"content-type: {kind}"))).error
    assert (error.code, error.retryable) == (code, False)
    assert error.message.startswith(message)


def test_a_stream_declared_as_json() -> None:
    deltas = ask_bytes(answer("200 OK", said("a") + FINISH + DONE, "content-type: application/json"))
    assert text(deltas) == "a"
    assert isinstance(deltas[-1], Finished)


def test_other_choices_are_ignored() -> None:
    other = event({"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "length"}]})
    deltas = ask_bytes(HEAD, chunk(other + said("a") + other + FINISH + DONE) + LAST)
    assert text(deltas) == "a"
    assert isinstance(deltas[-1], Finished)
    assert deltas[-1].reason == "stop"


def test_a_proxy_that_wants_a_password_is_not_asked_again() -> None:
    async def respond(request: Request) -> None:
        await request.send(answer("407 Proxy Authentication Required", b""))

    async def work() -> None:
        async with provider(respond) as proxy:
            output = await ask_elsewhere("https://provider.invalid/", HTTPS_PROXY=proxy.url, NO_PROXY="")
        assert "connect_failed" in output
        assert "retryable=False" in output

    run(work())


def test_a_key_never_follows_a_redirect() -> None:
    async def work() -> None:
        seen: list[str] = []

        async def other(request: Request) -> None:
            seen.append(request.head)
            await request.send(answer("200 OK", b""))

        async with provider(other) as target:

            async def respond(request: Request) -> None:
                await request.send(answer("307 Temporary Redirect", b"", f"location: {target.url}"))

            deltas = await ask(respond)
        error = failure(deltas).error
        assert (error.code, error.status, error.retryable) == ("http_status", 307, False)
        assert "redirect" in error.message
        assert seen == []

    run(work())


def test_connections_are_used_again() -> None:
    async def work() -> None:
        async def respond(request: Request) -> None:
            await request.send(HEAD, chunk(said("a")), chunk(FINISH + DONE), LAST)

        async with provider(respond) as server:
            client = HttpClient()
            for _ in range(5):
                mux = client.mux()
                mux.open(server.url, KEY, b"{}")
                assert text(await everything(mux)) == "a"
                await asyncio.sleep(0.05)  # the end of the response follows the finish
            assert (server.connections, len(server.requests)) == (1, 5)

    run(work())


def test_many_streams_keep_their_order() -> None:
    async def work() -> None:
        async def respond(request: Request) -> None:
            await request.send(HEAD)
            for index in range(50):
                await request.send(chunk(said(f"{request.body.decode()}.{index} ")))
                if index % 7 == 0:
                    await asyncio.sleep(0)
            await request.send(chunk(FINISH + DONE) + LAST)

        async with provider(respond) as server:
            mux = HttpClient().mux()
            streams = {mux.open(server.url, {}, str(n).encode()): n for n in range(20)}
            deltas = await everything(mux)
        for stream, n in streams.items():
            assert text(deltas, stream) == "".join(f"{n}.{index} " for index in range(50))
            chunks = sum(
                delta.chunks for delta in deltas if isinstance(delta, Content) and delta.stream == stream
            )
            assert chunks == 50
        assert sum(isinstance(delta, Finished) for delta in deltas) == 20

    run(work())


def test_what_waits_together_is_one_delta() -> None:
    async def work() -> None:
        sent = asyncio.Event()

        async def respond(request: Request) -> None:
            await request.send(HEAD)
            for _ in range(10):
                await request.send(chunk(said("a")))
            sent.set()
            await request.gone()

        async with provider(respond) as server:
            mux = HttpClient().mux()
            mux.open(server.url, {}, b"")
            await sent.wait()
            await asyncio.sleep(0.3)
            (delta,) = mux.take()
            assert isinstance(delta, Content)
            assert (delta.text, delta.chunks) == ("a" * 10, 10)
            assert mux.take() == []
            mux.close()

    run(work())


def test_back_pressure_reaches_the_socket_and_stalls_nothing_else() -> None:
    async def work() -> None:
        piece = chunk(said("x" * 50_000))
        written = 0

        async def respond(request: Request) -> None:
            nonlocal written
            if request.body == b"small":
                await request.send(HEAD, chunk(said("ok") + FINISH + DONE) + LAST)
                return
            await request.send(HEAD)
            for _ in range(2000):
                await request.send(piece)
                written += 1
            await request.send(chunk(FINISH + DONE) + LAST)

        async with provider(respond) as server:
            mux = HttpClient().mux(buffered_bytes=1000)
            # A stall clock far shorter than the time in which nobody takes anything.
            mux.open(server.url, {}, b"big", Timeouts(between_content=0.4))
            await stands_still(lambda: written)
            assert written < 1900
            small = mux.open(server.url, {}, b"small")
            await asyncio.sleep(0.5)
            deltas = mux.take()
            assert text(deltas, small) == "ok"
            assert len(text(deltas)) < 10_000_000
            deltas += await everything(mux)
            assert len(text(deltas)) == 2000 * 50_000
            assert not [delta for delta in deltas if isinstance(delta, Failed)]

    run(work())


async def stands_still(count: Callable[[], int]) -> None:
    last = -1
    while last != count() or last == 0:
        last = count()
        await asyncio.sleep(0.3)


@pytest.mark.parametrize("before_the_head", [True, False])
def test_closing_a_stream_closes_its_connection(before_the_head: bool) -> None:
    async def work() -> None:
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def respond(request: Request) -> None:
            if not before_the_head:
                await request.send(HEAD, chunk(said("kept")))
            arrived.set()
            await request.gone()
            gone.set()

        async with provider(respond) as server:
            mux = HttpClient().mux()
            stream = mux.open(server.url, {}, b"")
            await arrived.wait()
            if not before_the_head:
                await mux.wait()
            mux.close_stream(stream)
            deltas = await everything(mux)
            await asyncio.wait_for(gone.wait(), SOON)
            assert text(deltas) == ("" if before_the_head else "kept")
            assert isinstance(deltas[-1], Closed)
            mux.close_stream(stream)
            mux.close_stream(999)
            assert mux.take() == []

    run(work())


def test_a_closed_mux_closes_everything() -> None:
    async def work() -> None:
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def respond(request: Request) -> None:
            await request.send(HEAD, chunk(said("a")))
            arrived.set()
            await request.gone()
            gone.set()

        async with provider(respond) as server:
            mux = HttpClient().mux()
            mux.open(server.url, {}, b"")
            waiting = asyncio.ensure_future(everything(mux))
            await arrived.wait()
            await asyncio.sleep(0.05)
            mux.close()
            assert text(await waiting) == "a"
            await asyncio.wait_for(gone.wait(), SOON)
            await mux.wait()
            assert mux.take() == []
            with pytest.raises(RuntimeError, match="closed"):
                mux.open(server.url, {}, b"")

    run(work())


def test_a_forgotten_mux_closes_everything() -> None:
    async def work() -> None:
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def respond(request: Request) -> None:
            await request.send(HEAD, chunk(said("a")))
            arrived.set()
            await request.gone()
            gone.set()

        async with provider(respond) as server:
            mux = HttpClient().mux()
            mux.open(server.url, {}, b"")
            await mux.wait()
            del mux
            gc.collect()
            await asyncio.wait_for(gone.wait(), SOON)

    run(work())


def test_a_cancelled_wait_loses_nothing() -> None:
    async def work() -> None:
        async def respond(request: Request) -> None:
            await request.send(HEAD)
            for index in range(40):
                await request.send(chunk(said(f"{index} ")))
                await asyncio.sleep(0.005)
            await request.send(chunk(FINISH + DONE) + LAST)

        async def one(mux: Mux) -> list[Delta]:
            return await anext(aiter(mux))

        async with provider(respond) as server:
            mux = HttpClient().mux()
            mux.open(server.url, {}, b"")
            deltas: list[Delta] = []
            cancelled = 0
            while not any(isinstance(delta, Finished) for delta in deltas):
                task = asyncio.ensure_future(one(mux))
                await asyncio.sleep(0.003)
                task.cancel()
                try:
                    deltas += await task
                except asyncio.CancelledError:
                    cancelled += 1
            assert cancelled > 0
            assert text(deltas) == "".join(f"{index} " for index in range(40))

    run(work())


def test_wake_ends_a_wait() -> None:
    async def work() -> None:
        arrived = asyncio.Event()

        async def respond(request: Request) -> None:
            arrived.set()
            await request.gone()

        async with provider(respond) as server:
            mux = HttpClient().mux()
            loop = asyncio.get_running_loop()
            loop.call_later(0.02, mux.wake)
            await mux.wait()
            mux.wake()
            await mux.wait()  # a wake before the wait counts once
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(mux.wait(), 0.05)
            mux.open(server.url, {}, b"")
            await arrived.wait()
            await loop.run_in_executor(None, mux.wake)
            assert await anext(aiter(mux)) == []
            mux.close()

    run(work())


def test_two_waiters_are_both_woken() -> None:
    async def work() -> None:
        async def respond(request: Request) -> None:
            await asyncio.sleep(0.05)
            await request.send(HEAD, chunk(said("a")))
            await request.gone()

        async def wait(mux: Mux) -> None:
            await mux.wait()

        async with provider(respond) as server:
            mux = HttpClient().mux()
            mux.open(server.url, {}, b"")
            await asyncio.gather(wait(mux), wait(mux))
            assert text(mux.take()) == "a"
            mux.close()

    run(work())


def test_a_mux_belongs_to_one_loop_and_survives_its_end() -> None:
    client = HttpClient()
    mux = client.mux()

    async def wait_a_little() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(mux.wait(), 0.05)

    asyncio.run(wait_a_little())
    mux.open("http://127.0.0.1:1/", {}, b"")
    deadline = time.monotonic() + SOON
    while not (deltas := mux.take()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert failure(deltas).error.code == "connect_failed"

    async def wait_elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await mux.wait()

    asyncio.run(wait_elsewhere())
    mux.close()


class Unwatching(asyncio.SelectorEventLoop):
    """Like Windows' proactor loop, which cannot watch sockets for others."""

    def add_reader(self, *_args: object) -> None:
        raise NotImplementedError


def test_a_loop_that_cannot_watch_sockets() -> None:
    async def work() -> None:
        mux = HttpClient().mux()
        mux.open("http://127.0.0.1:1/", {}, b"")
        assert failure(await everything(mux)).error.code == "connect_failed"
        mux.close()

    # asyncio's own start needs the watching that tests take away later.
    loop = asyncio.SelectorEventLoop()
    loop.__class__ = Unwatching
    try:
        loop.run_until_complete(work())
    finally:
        loop.close()


def test_a_closed_client_makes_no_mux() -> None:
    client = HttpClient()
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.mux()


def test_the_proxy_of_the_environment_is_used() -> None:
    async def work() -> None:
        async def respond(request: Request) -> None:
            await request.send(HEAD, chunk(said("through") + FINISH + DONE) + LAST)

        async with provider(respond) as proxy:
            environment = {
                **os.environ,
                "HTTP_PROXY": proxy.url,
                "http_proxy": proxy.url,
                "NO_PROXY": "",
                "no_proxy": "",
            }
            program = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                ASKING,
                "http://provider.invalid/v1/x",
                env=environment,
                stdout=subprocess.PIPE,
            )
            output, _ = await program.communicate()
            assert b"through" in output
            assert proxy.requests[0].head.startswith("POST http://provider.invalid/v1/x ")

    run(work())


FORKED = """
import os, warnings
from facilitair_rust import HttpClient
warnings.simplefilter("ignore")
client = HttpClient()
mux = client.mux()
child = os.fork()
if child == 0:
    found = []
    for use in (client.mux, lambda: mux.open("http://127.0.0.1:1/", {}, b"")):
        try:
            use()
        except RuntimeError as error:
            found.append("fork" in str(error))
    fresh = HttpClient().mux()
    fresh.open("http://127.0.0.1:1/", {}, b"")
    while not fresh.take():
        pass
    os._exit(0 if found == [True, True] else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_is_noticed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "0\n"
