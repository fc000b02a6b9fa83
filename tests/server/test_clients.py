"""What clients that nobody here wrote do: readers that stumble over comments, requests that are repeated, paths with a
slash too many, headers of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import websockets

from facilitair.config import ServerConfig
from facilitair.server import openai_api
from facilitair.server.transcript import Fence
from tests.live import brain, until

from .harness import KEY, Served, served

TASK: Any = [{"role": "user", "content": "Sort a list"}]
CHAT = {"model": "facilitair/alone", "messages": TASK, "facilitair": {"models": "openai/brief"}}
FAILING = {**CHAT, "facilitair": {"models": "openai/steady", "timeout": 0.3}}


def at_a_server(work: Callable[[Served], Awaitable[None]], settings: ServerConfig | None = None) -> None:
    async def run() -> None:
        async with served(settings, script=brain()) as at:
            await work(at)

    asyncio.run(run())


# --- readers ---------------------------------------------------------------------------


def blocks(body: str) -> list[list[str]]:
    """Return what stands between blank lines, as a reader that takes each such block for an event."""
    return [block.split("\n") for block in body.split("\n\n") if block]


def test_every_block_of_a_stream_has_data() -> None:
    """@microsoft/fetch-event-source calls back with an empty message for a comment that a blank line ends."""

    async def work(at: Served) -> None:
        stream_id = await at.start({"task": "Sort", "models": "openai/mute", "strategy": "alone"})

        async def stop() -> None:
            await asyncio.sleep(0.5)
            await at.http.post(f"/api/stream/cancel/{stream_id}")

        watched, _ = await asyncio.gather(at.http.get(f"/api/stream/events/{stream_id}"), stop())
        assert ": waiting" in watched.text
        assert all(any(line.startswith("data:") for line in block) for block in blocks(watched.text))
        chat = await at.http.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert all(any(line.startswith("data:") for line in block) for block in blocks(chat.text))

    at_a_server(work, ServerConfig(port=0, heartbeat_s=0.1))


def test_a_get_that_is_repeated_starts_one_run() -> None:
    async def work(at: Served) -> None:
        params = {"task": "Sort a list", "models": "openai/brief"}
        bodies = [(await at.http.get("/api/collaborate/stream", params=params)).text for _ in range(4)]
        assert len(at.runs.directory.records()) == 1
        assert len({body.count("task_completed") for body in bodies}) == 1
        await at.http.get("/api/collaborate/stream", params={**params, "task": "Sort a tree"})
        assert len(at.runs.directory.records()) == 2

    at_a_server(work)


# --- `/v1` ---------------------------------------------------------------------------


def test_an_answer_that_takes_long_shows_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_api, "PATIENCE_S", 0.05)

    async def work(at: Served) -> None:
        answer = await at.http.post("/v1/chat/completions", json=CHAT)
        assert answer.headers["content-type"] == "application/json"
        assert answer.text.startswith(" ")
        assert answer.json()["choices"][0]["finish_reason"] == "stop"
        failed = await at.http.post("/v1/chat/completions", json=FAILING)
        assert failed.json()["error"]["code"] == "deadline_exceeded"
        await until(lambda: at.runs.active() == 0)

    at_a_server(work)


def test_a_client_that_leaves_a_long_answer_stops_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_api, "PATIENCE_S", 0.05)
    body = {**CHAT, "facilitair": {"models": "openai/mute"}}

    async def work(at: Served) -> None:
        async with at.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for piece in answer.aiter_raw():
                assert piece.isspace()
                break
            assert at.runs.active() == 1
        await until(lambda: at.runs.active() == 0)

    at_a_server(work)


@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_run_is_not_paid_for_again(stream: bool) -> None:
    async def work(at: Served) -> None:
        for _ in range(3):
            answer = await at.http.post("/v1/chat/completions", json={**FAILING, "stream": stream})
            assert "deadline_exceeded" in answer.text
        assert len(at.runs.directory.records()) == 1

    at_a_server(work)


@pytest.mark.parametrize(
    "more",
    [
        {"stream": None},
        {"messages": [{"role": "system", "content": "Sort a list"}]},
        {"messages": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, *TASK]},
        {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]}, *TASK]},
        {"messages": [{"role": "assistant", "content": None, "refusal": "No."}, *TASK]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
                *TASK,
            ]
        },
    ],
)
def test_what_openai_accepts_is_accepted(more: dict[str, Any]) -> None:
    async def work(at: Served) -> None:
        answer = await at.http.post("/v1/chat/completions", json={**CHAT, **more})
        assert answer.status_code == 200, answer.text

    at_a_server(work)


def test_a_fence_is_known_to_be_open() -> None:
    for text, fence in [
        ("a\n```python\nx = 1\n", "```python"),
        ("a\n```python\nx = 1\n```\n", ""),
        ("~~~~\n```\n~~~\n", "~~~~"),
        ("    ```\n", ""),
        ("``` `x`\n", ""),
        ("a ``` b", ""),
        ("", ""),
    ]:
        for size in (1, 3, 100):
            found = Fence()
            for at in range(0, len(text), size):
                found.feed(text[at : at + size])
            assert found.opening == fence, text


# --- paths, methods, headers ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/models/", "/v1//models", "//v1/models//"])
def test_a_slash_too_many_is_no_other_place(path: str) -> None:
    async def work(at: Served) -> None:
        answer = await at.http.get(f"{at.url}{path}")
        assert (answer.status_code, answer.json()["object"]) == (200, "list")
        posted = await at.http.post("/v1/chat/completions/", json=CHAT)
        assert posted.status_code == 200

    at_a_server(work)


def test_head_is_get_without_its_body() -> None:
    async def work(at: Served) -> None:
        for path in ("/healthz", "/v1/models"):
            answer = await at.http.head(path)
            assert (answer.status_code, answer.content) == (200, b"")

    at_a_server(work)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/chat/completions", "ends in /v1"),
        ("/v1/responses", "openai.chat"),
        ("/v1/completions", "chat/completions"),
    ],
)
def test_who_looks_elsewhere_is_told_where(path: str, word: str) -> None:
    async def work(at: Served) -> None:
        answer = await at.http.post(path, json=CHAT)
        assert answer.status_code == 404
        assert word in answer.text

    at_a_server(work)


def test_a_body_that_is_called_a_form_is_told_so() -> None:
    async def work(at: Served) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await at.http.post("/v1/chat/completions", content=json.dumps(CHAT), headers=form)
        assert answer.status_code == 422
        assert "Content-Type: application/json" in answer.text

    at_a_server(work)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": KEY},
        {"Authorization": f"Bearer {KEY}", "X-API-Key": "of-a-proxy"},
        {"Authorization": "Bearer of-a-proxy", "X-API-Key": KEY},
    ],
)
def test_one_right_key_is_enough(headers: dict[str, str]) -> None:
    async def work(at: Served) -> None:
        at.http.headers.pop("x-api-key")
        assert (await at.http.get("/v1/models", headers=headers)).status_code == 200

    at_a_server(work)


def test_a_page_may_send_what_openai_s_client_sends() -> None:
    origin = "https://page.example"

    async def work(at: Served) -> None:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os,user-agent,x-title",
        }
        answer = await at.http.options("/v1/chat/completions", headers=asked)
        assert answer.status_code == 200, answer.text
        assert "x-stainless-os" in answer.headers["access-control-allow-headers"]
        posted = await at.http.post("/v1/chat/completions", json=CHAT, headers={"Origin": origin})
        assert "X-Facilitair-Stream" in posted.headers["access-control-expose-headers"]

    at_a_server(work, ServerConfig(port=0, cors_origins=(origin,)))


# --- WebSocket, tickets ---------------------------------------------------------------------------


def test_a_binary_frame_is_refused_with_its_code() -> None:
    async def work(at: Served) -> None:
        address = f"{at.url.replace('http', 'ws')}/api/stream/ws"
        async with websockets.connect(address, additional_headers={"X-API-Key": KEY}) as socket:
            await socket.send(b"\x00\x01")
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003

    at_a_server(work)


def test_a_socket_without_a_key_is_told_why() -> None:
    async def work(at: Served) -> None:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"{at.url.replace('http', 'ws')}/api/stream/ws")
        assert refused.value.response.status_code == 401
        assert b"X-API-Key" in refused.value.response.body

    at_a_server(work)


def test_a_ticket_comes_back_until_the_end() -> None:
    async def work(at: Served) -> None:
        stream_id = await at.start()
        reply = await at.http.post("/api/stream/ticket", json={"stream_id": stream_id})
        at.http.headers.pop("x-api-key")
        path = f"/api/stream/events/{stream_id}?ticket={reply.json()['ticket']}"
        whole = await at.http.get(path)
        assert whole.status_code == 200
        last = [line for line in whole.text.split("\n") if line.startswith("id: ")][-1].removeprefix("id: ")
        first = next(line for line in whole.text.split("\n") if line.startswith("id: ")).removeprefix("id: ")
        assert (await at.http.get(path, headers={"Last-Event-ID": first})).status_code == 200
        assert (await at.http.get(path, headers={"Last-Event-ID": last})).status_code == 204

    at_a_server(work)
