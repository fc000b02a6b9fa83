"""What somebody may try on a server, against a real one: with no key, from a web page, or with a key and ill will."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import websockets

from facilitair import events as ev
from facilitair.config import ServerConfig
from facilitair.simulator.brain import Brain, Script
from facilitair.simulator.wire import Reply, error_reply
from tests.cli.command import start
from tests.live import KEY as PROVIDER_KEY
from tests.live import until

from .harness import BRIEF, KEY, MUTE, OTHER_KEY, STEADY, Served, served

EVIL = "https://evil.example"
CHAT = {"model": "facilitair/alone", "messages": [{"role": "user", "content": "Sort"}]}
OPEN_ROUTES = {"/healthz"}


@asynccontextmanager
async def stranger(at: Served, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=at.url, headers=headers, timeout=20) as client:
        yield client


def socket_address(at: Served, path: str = "/api/stream/ws") -> str:
    return at.url.replace("http://", "ws://") + path


async def handshake(
    at: Served,
    path: str = "/api/stream/ws",
    origin: str | None = None,
    name: str = "127.0.0.1",
    **headers: str,
) -> int:
    """Return the status with which a WebSocket is refused, or 101; the server is asked for by `name`."""
    port = urlsplit(at.url).port
    try:
        async with websockets.connect(
            f"ws://{name}:{port}{path}",
            host="127.0.0.1",
            port=port,
            origin=None if origin is None else websockets.Origin(origin),
            additional_headers=headers,
        ):
            return 101
    except websockets.InvalidStatus as error:
        return error.response.status_code


async def raw(at: Served, request: bytes) -> tuple[int, str]:
    """Send bytes and return the status of the first answer, and all that came until the server had no more."""
    address = urlsplit(at.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request)
    writer.write_eof()
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split(" ", 2)[1]), answer


async def routes(at: Served) -> list[tuple[str, str]]:
    """Return all documented routes, with some stream's name in their paths."""
    document = (await at.http.get("/openapi.json")).json()
    return [
        (method.upper(), path.replace("{stream_id}", "0" * 32).replace("{model}", "x"))
        for path, operations in document["paths"].items()
        for method in operations
        if path not in OPEN_ROUTES
    ]


# --- without a key -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, ""),
        ({"X-API-Key": "sk-fac-wrong-0123456789"}, ""),
        ({"Authorization": "Bearer sk-fac-wrong-0123456789"}, ""),
        ({"Authorization": f"Basic {KEY}"}, ""),
        ({"Cookie": f"key={KEY}; X-API-Key={KEY}"}, ""),
        ({}, f"?key={KEY}&api_key={KEY}&X-API-Key={KEY}&token={KEY}"),
        ({}, f"?ticket={KEY}&stream_id={'0' * 32}"),
    ],
)
def test_no_route_opens_without_the_key_in_a_header(headers: dict[str, str], query: str) -> None:
    async def run() -> None:
        async with served() as at, stranger(at, **headers) as client:
            asked = await routes(at)
            assert len(asked) > 8
            for method, path in asked:
                response = await client.request(
                    method, path + query, json=BRIEF if method == "POST" else None
                )
                assert response.status_code == 401, (method, path)
                assert response.headers["www-authenticate"] == "Bearer"
                assert KEY not in response.text
            assert await handshake(at, f"/api/stream/ws{query}", **headers) == 401
            assert at.runs.directory.records() == []

    asyncio.run(run())


# --- from a web page ---------------------------------------------------------------------------------------------


def test_a_name_that_was_rebound_to_this_machine_reaches_nothing() -> None:
    async def run() -> None:
        async with served() as at, stranger(at, **{"X-API-Key": KEY, "Host": "evil.example"}) as client:
            for method, path in [*await routes(at), ("GET", "/healthz")]:
                response = await client.request(method, path, json=BRIEF if method == "POST" else None)
                assert response.status_code == 403, (method, path)
            assert await handshake(at, name="evil.example", **{"X-API-Key": KEY}) == 403
            assert await handshake(at, name="127.0.0.1.nip.io", **{"X-API-Key": KEY}) == 403
            assert at.runs.directory.records() == []

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_a_page_of_another_origin_starts_nothing(kind: str) -> None:
    async def run() -> None:
        async with served() as at, stranger(at, **{"X-API-Key": KEY, "Origin": EVIL}) as client:
            for path, body in (("/api/stream/task", BRIEF), ("/v1/chat/completions", CHAT)):
                response = await client.post(path, content=json.dumps(body), headers={"Content-Type": kind})
                assert response.status_code == 403
            response = await client.get("/api/collaborate/stream", params={"task": "Sort"})
            assert response.status_code == 403
            assert at.runs.directory.records() == []

    asyncio.run(run())


def test_a_page_of_another_origin_opens_no_socket() -> None:
    async def run() -> None:
        async with served() as at:
            stream_id = await at.start()
            assert await handshake(at, origin=EVIL, **{"X-API-Key": KEY}) == 403
            ticket = (await at.http.post("/api/stream/ticket", json={"stream_id": stream_id})).json()[
                "ticket"
            ]
            assert await handshake(at, f"/api/stream/ws?stream_id={stream_id}&ticket={ticket}", EVIL) == 403
            assert await handshake(at, origin=at.url, **{"X-API-Key": KEY}) == 101

    asyncio.run(run())


def test_cors_is_off() -> None:
    async def run() -> None:
        async with served() as at:
            preflight = await at.http.options(
                "/api/stream/task",
                headers={
                    "Origin": EVIL,
                    "Access-Control-Request-Method": "POST",
                    "Access-Control-Request-Headers": "x-api-key",
                },
            )
            own = await at.http.get("/v1/models", headers={"Origin": at.url})

        assert preflight.status_code == 403
        for response in (preflight, own):
            assert not [name for name in response.headers if name.startswith("access-control-")]

    asyncio.run(run())


def test_no_answer_can_be_taken_for_a_page() -> None:
    async def run() -> None:
        async with served() as at:
            answers = [
                await at.http.get("/healthz"),
                await at.http.get("/api/stream/events/<script>alert(1)</script>"),
                await at.http.get("/nothing/<script>alert(1)</script>"),
                await at.http.get("/healthz", headers={"Host": "<script>"}),
                await at.http.get(f"/api/stream/events/{await at.start()}"),
                await at.http.post("/v1/chat/completions", content=b"x" * 3_000_000),
            ]

        for answer in answers:
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["referrer-policy"] == "no-referrer", (
                "a ticket in a page's own address stays there"
            )
        assert "html" not in answer.headers["content-type"]

    asyncio.run(run())


@pytest.mark.parametrize(
    "head",
    [
        "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
        "GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost",
        "GET /v1/models HTTP/1.1\r\nHost: localhost:x@evil.example",
        "GET http://evil.example/v1/models HTTP/1.1\r\nHost: evil.example",
        "GET /v1/models HTTP/1.0",
        "GET /v1/models HTTP/1.1",
        "POST /api/stream/task HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 30",
        "POST /api/stream/task HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked",
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(head: str) -> None:
    async def run() -> None:
        async with served() as at:
            status, body = await raw(at, f"{head}\r\nX-API-Key: {KEY}\r\n\r\n".encode())
            assert 400 <= status < 600, body
            assert "facilitair/balanced" not in body
            assert at.runs.directory.records() == []

    asyncio.run(run())


def test_nothing_is_smuggled_in_the_body_of_a_request() -> None:
    inner = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\r\n"
    head = "POST /api/stream/ticket HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    async def run() -> None:
        async with served() as at:
            for more in (
                f"Content-Length: {len(inner)}\r\n\r\n{inner}",
                f"Content-Length: {len(inner) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
            ):
                status, body = await raw(at, f"{head}{more}".encode())
                assert 400 <= status < 500, body
                assert "facilitair/balanced" not in body, "the key of whoever comes next was used"

    asyncio.run(run())


# --- tickets -----------------------------------------------------------------------------------------------------


def test_a_ticket_opens_one_stream_and_does_nothing_else() -> None:
    async def run() -> None:
        async with served() as at, stranger(at) as client:
            stream_id, other = await at.start(MUTE), await at.start(MUTE)

            async def ticket(stream: str = stream_id) -> str:
                reply = await at.http.post("/api/stream/ticket", json={"stream_id": stream})
                text: str = reply.json()["ticket"]
                return text

            held = await ticket()
            for _ in range(2):  # the page comes back when its connection breaks
                assert (await client.get(f"/api/stream/status/{stream_id}?ticket={held}")).status_code == 200
            assert (await client.get(f"/api/stream/status/{other}?ticket={held}")).status_code == 401
            assert (await client.get(f"/api/stream/status/{stream_id}?ticket={held}")).status_code == 401
            assert (
                await client.get(f"/api/stream/status/{other}?ticket={await ticket()}")
            ).status_code == 401
            assert (
                await client.get(f"/v1/models?ticket={await ticket()}&stream_id={stream_id}")
            ).status_code == 403
            for path, body in (
                (f"/api/stream/cancel/{stream_id}", {}),
                ("/api/stream/ticket", {"stream_id": other}),
            ):
                assert (await client.post(f"{path}?ticket={await ticket()}", json=body)).status_code == 401
            start = f"/api/collaborate/stream?task=Sort&stream_id={stream_id}&ticket={await ticket()}"
            assert (await client.get(start)).status_code == 403
            assert len(at.runs.directory.records()) == 2

            used = f"/api/stream/ws?stream_id={stream_id}&ticket={await ticket()}"
            async with websockets.connect(socket_address(at, used)) as socket:
                for command in (
                    {"type": "cancel", "stream_id": stream_id},
                    {"type": "cancel", "stream_id": other},
                    {"type": "subscribe", "stream_id": other},
                    {"type": "task", **BRIEF},
                ):
                    await socket.send(json.dumps(command))
                refused = 0
                async for text in socket:
                    message = json.loads(text)
                    refused += message["type"] == "problem"
                    assert message.get("stream_id") in (None, stream_id)
                    if refused == 4:
                        break
            assert at.runs.active() == 2
            assert await handshake(at, used.replace(stream_id, other)) == 401

    asyncio.run(run())


def test_a_ticket_grows_old() -> None:
    async def run() -> None:
        async with served(ServerConfig(ticket_s=0.01)) as at, stranger(at) as client:
            stream_id = await at.start()
            reply = (await at.http.post("/api/stream/ticket", json={"stream_id": stream_id})).json()
            await asyncio.sleep(0.02)
            response = await client.get(f"/api/stream/events/{stream_id}", params={"ticket": reply["ticket"]})

        assert response.status_code == 401

    asyncio.run(run())


# --- with a key of one's own -------------------------------------------------------------------------------------


def test_a_stream_of_another_key_does_not_exist() -> None:
    async def run() -> None:
        async with served() as at, stranger(at, **{"X-API-Key": OTHER_KEY}) as client:
            stream_id = await at.start(STEADY)
            answers = [
                await client.get(f"/api/stream/events/{stream_id}"),
                await client.get(
                    f"/api/stream/events/{stream_id}", headers={"Last-Event-ID": f"{stream_id}:0"}
                ),
                await client.get(f"/api/stream/status/{stream_id}"),
                await client.post(f"/api/stream/cancel/{stream_id}"),
                await client.post("/api/stream/ticket", json={"stream_id": stream_id}),
                await client.get(
                    "/api/collaborate/stream",
                    params={"task": "x"},
                    headers={"Last-Event-ID": f"{stream_id}:0"},
                ),
            ]
            missing = await client.get(f"/api/stream/status/{'0' * 32}")
            async with websockets.connect(
                socket_address(at), additional_headers={"X-API-Key": OTHER_KEY}
            ) as socket:
                for kind in ("subscribe", "cancel"):
                    await socket.send(json.dumps({"type": kind, "stream_id": stream_id}))
                    assert json.loads(await socket.recv())["problem"]["status"] == 404
            assert at.runs.active() == 1

        assert [answer.status_code for answer in (*answers, missing)] == [404] * 7
        told = {answer.json()["detail"].replace(stream_id, "ID") for answer in answers}
        assert told == {missing.json()["detail"].replace("0" * 32, "ID")}, (
            "nothing tells it from one that never was"
        )

    asyncio.run(run())


def test_the_idempotency_key_of_another_gives_nothing_away() -> None:
    async def run() -> None:
        async with served() as at, stranger(at, **{"X-API-Key": OTHER_KEY}) as client:
            first = await at.start(MUTE, **{"Idempotency-Key": "same"})
            second = await client.post("/api/stream/task", json=MUTE, headers={"Idempotency-Key": "same"})

        assert second.json()["stream_id"] != first

    asyncio.run(run())


@pytest.mark.parametrize(
    "field", ["base_url", "api_base", "api_key", "headers", "extra_headers", "provider", "url"]
)
def test_no_request_sends_the_server_elsewhere(field: str) -> None:
    hits = 0

    async def run() -> None:
        nonlocal hits

        async def hit(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal hits
            hits += 1
            writer.close()

        trap = await asyncio.start_server(hit, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{trap.sockets[0].getsockname()[1]}/v1"
        async with trap, served(speed=50) as at:
            for body in (
                {**BRIEF, field: address},
                {"task": "Sort", "models": {"coder": "openai/brief", field: address}},
                {"task": "Sort", "models": f"{address}/gpt"},
                {"task": "Sort", "models": {"*": f"{address}/gpt"}},
                {"task": "Sort", "preset": address},
                {"task": "Sort", "strategy": address},
            ):
                response = await at.http.post("/api/stream/task", json=body)
                assert response.status_code == 422, (body, response.text)
                assert PROVIDER_KEY not in response.text
            for extra in ({field: address}, {"models": f"{address}/gpt"}):
                response = await at.http.post("/v1/chat/completions", json={**CHAT, "facilitair": extra})
                assert response.status_code == 422, response.text
            openai = {**CHAT, "facilitair": {"models": "openai/brief"}, field: address}
            response = await at.http.post("/v1/chat/completions", json=openai)
            assert response.status_code == (200 if field in ("provider", "url") else 422), response.text
            if response.status_code == 200:
                assert at.simulator.requests > 0, "an unknown field changes nothing"
            context = {"task": "Sort", "models": "openai/brief", "context": {field: address}}
            stream_id = await at.start(context)
            assert isinstance((await at.events(stream_id))[-1], ev.TaskCompletedEvent)

    asyncio.run(run())
    assert hits == 0


# --- large and deep things ---------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused_however_it_comes() -> None:
    async def run() -> None:
        async with served(ServerConfig(max_body_bytes=10_000)) as at:
            body = json.dumps({**BRIEF, "task": "x" * 20_000}).encode()

            async def pieces() -> AsyncIterator[bytes]:
                for start in range(0, len(body), 100):
                    yield body[start : start + 100]

            for path in ("/api/stream/task", "/v1/chat/completions", "/api/stream/ticket"):
                for content in (body, pieces()):
                    response = await at.http.post(
                        path, content=content, headers={"Content-Type": "application/json"}
                    )
                    assert response.status_code == 413, response.text
            async with websockets.connect(
                socket_address(at), additional_headers={"X-API-Key": KEY}
            ) as socket:
                await socket.send(json.dumps({"type": "task", "task": "x" * 20_000}))
                with pytest.raises(websockets.ConnectionClosed) as error:
                    await socket.recv()
            assert error.value.rcvd is not None
            assert error.value.rcvd.code == 1009
            assert at.runs.directory.records() == []

    asyncio.run(run())


def test_a_task_that_is_too_long_is_refused() -> None:
    async def run() -> None:
        async with served(ServerConfig(max_task_characters=100)) as at:
            task = await at.http.post("/api/stream/task", json={**BRIEF, "task": "x" * 101})
            chat: dict[str, Any] = {"model": "facilitair/alone"}
            chat["messages"] = [
                {"role": "system", "content": "x" * 60},
                {"role": "user", "content": "x" * 60},
            ]
            openai = await at.http.post("/v1/chat/completions", json=chat)
            query = await at.http.get("/api/collaborate/stream", params={"task": "x" * 101})

        assert [task.status_code, openai.status_code, query.status_code] == [413, 413, 413]

    asyncio.run(run())


DEEP = 100_000
BOMBS = {
    "lists": '{"task": "Sort", "context": {"a": ' + "[" * DEEP + "]" * DEEP + "}}",
    "objects": '{"task": "Sort", "context": ' + '{"a":' * DEEP + "1" + "}" * DEEP + "}",
    "unclosed": "[" * DEEP,
    "digits": '{"task": "Sort", "max_tokens": ' + "9" * DEEP + "}",
    "exponent": '{"task": "Sort", "max_cost": 1e999999}',
    "not a number": '{"task": "Sort", "max_cost": NaN}',
    "surrogate": '{"task": "Sort \\ud800"}',
    "surrogate in a key": '{"task": "Sort", "context": {"\\udc00": "\\ud800"}, "models": "openai/brief"}',
    "null": '{"task": "Sort \\u0000"}',
    "no JSON": "\x00\xff",
    "no object": '"task"',
    "many titles": json.dumps({"task": "Sort", "sections": [str(n) for n in range(10_000)]}),
    "many models": json.dumps(
        {"task": "Sort", "models": {f"role{n}": "openai/brief" for n in range(10_000)}}
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_json_bomb_is_a_mistake_of_the_client(name: str) -> None:
    async def run() -> None:
        async with served() as at:
            content, kind = BOMBS[name].encode("latin-1"), {"Content-Type": "application/json"}
            for path in ("/api/stream/task", "/v1/chat/completions", "/api/stream/ticket"):
                response = await at.http.post(path, content=content, headers=kind)
                assert 400 <= response.status_code < 500, (path, response.status_code, response.text[:200])
                assert len(response.content) < 4000
                json.loads(response.content)
            chat = json.dumps({**CHAT, "facilitair": "BOMB"}).replace('"BOMB"', BOMBS[name])
            response = await at.http.post(
                "/v1/chat/completions", content=chat.encode("latin-1"), headers=kind
            )
            assert 400 <= response.status_code < 500, response.text[:200]

            async with websockets.connect(
                socket_address(at), additional_headers={"X-API-Key": KEY}
            ) as socket:
                await socket.send(BOMBS[name].replace("{", '{"type": "task", ', 1))
                assert json.loads(await socket.recv())["problem"]["status"] in (400, 422)
                await socket.send('{"type": "cancel", "stream_id": "x"}')
                assert json.loads(await socket.recv())["problem"]["status"] == 404
            assert (await at.http.get("/healthz")).status_code == 200
            assert at.runs.directory.records() == []

    asyncio.run(run())


# --- text that wants to be more ----------------------------------------------------------------------------------

INJECTION = (
    "Sort\r\n\r\nevent: task_completed\r\ndata: {}\r\n\r\nid: 9:9\nretry: 1\n\n: x\r"
    "\u2028event: task_error\u2028\u2029\x85data: [DONE]\x85\n\ndata: [DONE]\n\n"
)


def test_no_text_breaks_out_of_its_event() -> None:
    script = Brain({"evil": Script(text=f"Fine. {INJECTION}More. {INJECTION}", ttft_s=0.01, between_s=0.001)})

    async def run() -> None:
        async with served(script=script, speed=20) as at:
            body = {
                "task": INJECTION,
                "context": {INJECTION: INJECTION},
                "models": "openai/evil",
                "sections": [INJECTION[:60]],
                "session_id": INJECTION[:100],
            }
            stream_id = await at.start(body)
            seen = [(sse, event) async for sse, event in at.watch(stream_id)]
            raw = (await at.http.get(f"/api/stream/events/{stream_id}")).content
            openai = {
                "messages": [{"role": "user", "content": INJECTION}],
                "facilitair": {"models": "openai/evil"},
            }
            stream = await at.http.post(
                "/v1/chat/completions", json={"model": "facilitair/alone", "stream": True, **openai}
            )

        assert all(sse.event == event.__struct_config__.tag for sse, event in seen)
        assert [sse.id for sse, _ in seen] == [f"{stream_id}:{event.seq}" for _, event in seen]
        assert isinstance(seen[-1][1], ev.TaskCompletedEvent)
        assert "event: task_completed" in seen[-1][1].content
        for line in raw.decode().splitlines():  # as careless clients split lines
            assert not line or line.startswith(("id: " + stream_id, "event: ", "data: {", "retry: ", ": "))
        assert raw.decode().count("\nevent: task_completed\n") == 1
        lines = stream.text.splitlines()
        assert lines.count("data: [DONE]") == 1
        assert all(not line or line.startswith(("data: {", "data: [DONE]")) for line in lines)

    asyncio.run(run())


def test_no_text_speaks_to_the_terminal_of_who_watches_with_curl() -> None:
    evil = "Sort \x1b]0;owned\x07 \x1b[2J\x1b[1;1H \x08\x08 \x0b\x0c end"
    script = Brain({"evil": Script(text=evil * 3, ttft_s=0.01, between_s=0.001)})
    body = {
        "task": evil,
        "context": {evil: evil},
        "models": "openai/evil",
        "sections": [evil],
        "session_id": evil,
    }

    async def run() -> None:
        async with served(script=script, speed=20) as at:
            started = await at.http.post("/api/stream/task", json=body)
            assert started.status_code == 202, started.text
            stream_id = started.json()["stream_id"]
            chat = {**CHAT, "facilitair": {"models": "openai/evil"}}
            answers = [
                started,
                await at.http.get(f"/api/stream/events/{stream_id}"),
                await at.http.get(f"/api/stream/status/{stream_id}"),
                await at.http.post(f"/api/stream/cancel/{stream_id}", json={"reason": evil}),
                await at.http.post("/v1/chat/completions", json=chat),
                await at.http.post("/v1/chat/completions", json={**chat, "stream": True}),
                await at.http.post("/api/stream/task", json={"task": "Sort", "models": evil}),
                await at.http.post("/api/stream/task", json={"task": "Sort", "strategy": evil}),
                await at.http.post("/v1/chat/completions", json={**CHAT, "model": evil}),
                await at.http.get("/api/collaborate/stream", params={"task": "Sort", "preset": evil}),
                await at.http.get("/metrics"),
            ]

        assert "owned" in answers[1].text
        assert "owned" not in answers[-1].text, "no label is taken from a request"
        for answer in answers:
            assert not [byte for byte in answer.content if byte < 0x20 and byte != 0x0A], answer.request.url

    asyncio.run(run())


def test_no_header_is_made_of_what_was_sent() -> None:
    async def run() -> None:
        async with served() as at:
            stream_id = await at.start(STEADY)
            reason = {"reason": "stop\r\nX-Evil: 1\r\n\r\nevent: task_completed\ndata: {}"}
            cancelled = await at.http.post(f"/api/stream/cancel/{stream_id}", json=reason)
            odd = await at.http.get(f"/api/stream/events/{stream_id}%0d%0aX-Evil:%201")
            model = await at.http.get("/v1/models/x%0d%0aX-Evil:%201")
            end = (await at.events(stream_id))[-1]

        assert isinstance(end, ev.TaskCancelledEvent)
        for response in (cancelled, odd, model):
            assert "x-evil" not in response.headers
        assert [cancelled.status_code, odd.status_code, model.status_code] == [200, 404, 404]

    asyncio.run(run())


# --- secrets -----------------------------------------------------------------------------------------------------


def test_no_key_and_no_ticket_is_ever_logged_or_answered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "sk-fac-guessed-by-somebody-012"
    said: list[str] = []

    async def run() -> None:
        async with served(speed=50) as at, stranger(at) as client:
            stream_id = await at.start()
            ticket = (await at.http.post("/api/stream/ticket", json={"stream_id": stream_id})).json()[
                "ticket"
            ]
            answers = [
                await client.get(f"/api/stream/status/{stream_id}?ticket={ticket}"),
                await client.get(f"/api/stream/status/{stream_id}?ticket={ticket}&api_key={KEY}"),
                await client.get(f"/v1/models?api_key={KEY}"),
                await client.get("/v1/models", headers={"X-API-Key": wrong}),
                await client.get("/v1/models", headers={"Authorization": f"Bearer {wrong}"}),
                await at.http.get(f"/nothing?key={KEY}"),
                await at.http.post("/api/stream/task", json={"task": "Sort", "models": "openai/none-such"}),
                await at.http.post(
                    "/api/stream/task", content="{", headers={"Content-Type": "application/json"}
                ),
                await at.http.get("/metrics"),
            ]
            await handshake(at, f"/api/stream/ws?key={KEY}")
            await until(lambda: at.runs.active() == 0)
            said.extend(answer.text for answer in answers)
            said.extend(ev.encode(event).decode() for event in await at.events(stream_id))
            said.append(ticket)

    asyncio.run(run())
    ticket = said.pop()
    theirs = ("httpx", "httpcore", "websockets.client")  # the test's own clients may log what they send
    logged = "\n".join(
        f"{record.getMessage()} {record.__dict__}"
        for record in caplog.records
        if not record.name.startswith(theirs)
    )
    for secret in (KEY, OTHER_KEY, PROVIDER_KEY, wrong, ticket):
        assert secret not in logged
        assert not [text for text in said if secret in text]


class Echoing(Brain):
    """A provider that refuses every request and repeats the key that it was shown."""

    def reply(self, *_: object) -> Reply:
        return error_reply(
            401, f"Incorrect API key provided: {PROVIDER_KEY}. Authorization: Bearer {PROVIDER_KEY}"
        )


def test_a_key_that_the_provider_repeats_reaches_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "facilitair")
    said: list[str] = []

    async def run() -> None:
        async with served(script=Echoing()) as at:
            stream_id = await at.start(STEADY)
            chat = {**CHAT, "facilitair": {"models": "openai/steady"}}
            async with websockets.connect(
                socket_address(at, f"/api/stream/ws?stream_id={stream_id}"),
                additional_headers={"X-API-Key": KEY},
            ) as socket:
                said.extend([str(text) async for text in until_the_end(socket)])
            answers = [
                await at.http.get(f"/api/stream/events/{stream_id}"),
                await at.http.get(f"/api/stream/status/{stream_id}"),
                await at.http.post("/v1/chat/completions", json=chat),
                await at.http.post("/v1/chat/completions", json={**chat, "stream": True}),
                await at.http.get("/metrics"),
            ]
            said.extend(f"{answer.headers} {answer.text}" for answer in answers)
            assert at.simulator.requests > 0

    asyncio.run(run())
    text = "\n".join([*said, *(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)])
    assert "Incorrect API key provided" in text
    assert PROVIDER_KEY not in text
    assert PROVIDER_KEY[8:] not in text


async def until_the_end(socket: websockets.ClientConnection) -> AsyncIterator[str | bytes]:
    """Yield what comes, with the event that ends a run as the last."""
    async for text in socket:
        yield text
        if isinstance(ev.decode(text), ev.TERMINAL):
            return


def test_the_command_writes_no_key_that_the_user_has_set(tmp_path: Path) -> None:
    (tmp_path / "facilitair.toml").write_text('[models]\nprovider = "simulator"\n')
    with start("serve", "--port", "0", cwd=tmp_path, FACILITAIR_SERVER_KEYS=f"{KEY} {OTHER_KEY}") as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            with httpx.Client(base_url=url, timeout=20) as client:
                assert client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
                assert client.get(f"/v1/models?api_key={KEY}").status_code == 401
                assert client.get(f"/nothing/{KEY}?key={KEY}").status_code == 404
                assert (
                    client.get("/v1/models", headers={"X-API-Key": OTHER_KEY, "Host": KEY}).status_code == 403
                )
        finally:
            process.terminate()
            out, errors = process.communicate(timeout=20)
    assert url.startswith("http://127.0.0.1:")
    for key in (KEY, OTHER_KEY):
        assert key not in (out + errors).decode()
    assert process.returncode == 0
