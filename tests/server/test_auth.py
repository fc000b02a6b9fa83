"""Keys, tickets, Hosts and Origins: who gets in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from fastapi import Depends, FastAPI, WebSocket
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from facilitair.config import FILE_NAME, Config, ServerConfig, load_config
from facilitair.errors import ConfigError, Forbidden, NotFound, UsageError
from facilitair.keys import Secret, redact
from facilitair.server import problems
from facilitair.server.auth import Keyring, Principal, install_doors, principal, principal_id
from facilitair.server.directory import MemoryDirectory
from facilitair.server.reporting import Reporter
from facilitair.server.settings import server_settings
from facilitair.server.tickets import MOST_PER_OWNER, Tickets

KEY = "first-key-0123456789"
OTHER = "second-key-012345678"
WITH_KEY = {"X-API-Key": KEY}


def client_of(host: str = "127.0.0.1", **table: object) -> tuple[TestClient, MemoryDirectory]:
    """Return a client of an application with one route behind the doors, and the directory that gives tickets."""
    settings = server_settings(
        Config(server=msgspec.convert({"host": host, **table}, ServerConfig)),
        {"FACILITAIR_SERVER_KEYS": f"{KEY} {OTHER}"},
    )
    app = FastAPI()
    problems.install(app, Reporter())
    directory = MemoryDirectory(settings)
    install_doors(app, settings, directory)

    @app.get("/streams/{stream_id}")
    async def stream(stream_id: str, who: Annotated[Principal, Depends(principal)]) -> str:
        who.check_stream(stream_id)
        return who.id

    @app.post("/streams/{stream_id}")
    async def act(stream_id: str, who: Annotated[Principal, Depends(principal)]) -> str:
        who.check_may_act()
        return who.id

    @app.websocket("/ws")
    async def socket(websocket: WebSocket, who: Annotated[Principal, Depends(principal)]) -> None:
        await websocket.accept()
        await websocket.send_text(who.id)
        await websocket.close()

    return TestClient(app, base_url="http://127.0.0.1:8420"), directory


# --- settings ----------------------------------------------------------------------------------------------------


def test_on_loopback_a_missing_key_is_made() -> None:
    settings = server_settings(Config(), {})

    assert settings.generated
    (key,) = settings.keys
    assert len(key.reveal()) > 40
    assert key.reveal() not in repr(settings)
    assert key.reveal() not in redact(f"key {key.reveal()}"), (
        "it has the shape of a key, so it is removed anywhere"
    )
    assert server_settings(Config(), {}).keys != settings.keys


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "ai.example.com", "127.0.0.1.example.com"])  # noqa: S104
def test_beyond_loopback_a_missing_key_is_an_error(host: str) -> None:
    with pytest.raises(ConfigError, match="FACILITAIR_SERVER_KEY"):
        server_settings(Config(), {}, host=host)

    assert not server_settings(Config(), {"FACILITAIR_SERVER_KEY": KEY}, host=host).generated


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_what_counts_as_loopback(host: str) -> None:
    assert server_settings(Config(), {}, host=host).generated


def test_keys_come_from_the_environment_and_from_dotenv() -> None:
    config = Config(
        server=ServerConfig(keys_env="OUR_KEYS"),
        dotenv={"FACILITAIR_SERVER_KEY": Secret("dotenv-key-012345")},
    )

    keys = server_settings(config, {"OUR_KEYS": f"{KEY},{OTHER},\n{KEY}"}).keys

    assert [key.reveal() for key in keys] == ["dotenv-key-012345", KEY, OTHER]


@pytest.mark.parametrize("key", ["short", "fifteen-letters", "näme-with-16-letters"])
def test_a_weak_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="16 characters") as error:
        server_settings(Config(), {"FACILITAIR_SERVER_KEY": key})

    assert key not in str(error.value)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('keys = ["a"]', "server"),
        ('keys_env = "HOME"', "server.keys_env"),
        ('allowed_hosts = ["*"]', "server.allowed_hosts[0]"),
        ('allowed_hosts = ["https://ai.example.com"]', "server.allowed_hosts[0]"),
        ('allowed_origins = ["*"]', "server.allowed_origins[0]"),
        ('cors_origins = ["https://ok.example.com", "https://a.example.com/path"]', "server.cors_origins[1]"),
        ("heartbeat_s = 16", "server.heartbeat_s"),
        ("max_runs = 0", "server.max_runs"),
        ("port = 65536", "server.port"),
    ],
)
def test_a_mistake_in_the_file_names_its_key(tmp_path: Path, line: str, key: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / FILE_NAME).write_text(f"[server]\n{line}\n")

    with pytest.raises(ConfigError) as error:
        load_config(tmp_path, {})

    assert f"{FILE_NAME}: {key}: " in str(error.value)


def test_arguments_come_before_the_file() -> None:
    config = Config(server=ServerConfig(port=1, allowed_hosts=("a.example.com",)))

    settings = server_settings(config, {}, host="::1", port=2, allowed_hosts=["b.example.com"])

    assert (settings.host, settings.port) == ("::1", 2)
    assert settings.allowed_hosts == ("a.example.com", "b.example.com")
    for wrong in ({"port": 70_000}, {"allowed_hosts": ["http://b"]}):
        with pytest.raises(UsageError):
            server_settings(config, {}, **wrong)


# --- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        WITH_KEY,
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY} "},
        {"x-api-key": f" {KEY}"},
    ],
)
def test_a_key_is_taken_from_either_header(headers: dict[str, str]) -> None:
    client, _ = client_of()

    response = client.get("/streams/1", headers=headers)

    assert response.json() == principal_id(Secret(KEY))
    assert KEY not in response.text


def test_every_key_has_an_id_of_its_own_that_stays() -> None:
    client, _ = client_of()

    ids = {client.get("/streams/1", headers={"X-API-Key": key}).json() for key in (KEY, OTHER, KEY)}

    assert len(ids) == 2
    assert ids == {principal_id(Secret(KEY)), principal_id(Secret(OTHER))}


@given(st.text(max_size=60))
def test_only_keys_are_keys(shown: str) -> None:
    ring = Keyring([Secret(KEY)])

    assert (ring.find(shown) is not None) == (shown == KEY)


@pytest.mark.parametrize(
    "shown", [KEY[:-1], KEY + "x", KEY.upper(), "", "x" * 100_000, "\ud800" * 20, "ключ" * 5]
)
def test_nearly_a_key_is_none(shown: str) -> None:
    assert Keyring([Secret(KEY)]).find(shown) is None


# --- tickets -----------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_ticket_opens_its_stream_again_until_that_is_forgotten() -> None:
    clock = Clock()
    tickets = Tickets(30, clock)
    text = tickets.issue("me", "s1")

    assert tickets.redeem(text, "s1") == "me"
    clock.now = 1000.0
    assert tickets.redeem(text, "s1") == "me"
    tickets.forget("s1")
    assert tickets.redeem(text, "s1") is None


def test_a_ticket_for_another_stream_is_spent() -> None:
    tickets = Tickets(30)
    text = tickets.issue("me", "s1")

    assert tickets.redeem(text, "s2") is None
    assert tickets.redeem(text, "s1") is None


def test_a_ticket_grows_too_old() -> None:
    clock = Clock()
    tickets = Tickets(30, clock)
    text = tickets.issue("me", "s1")
    clock.now = 29.9
    kept = tickets.issue("me", "s1")
    clock.now = 30.0

    assert tickets.redeem(text, "s1") is None
    assert tickets.redeem(kept, "s1") == "me"
    assert len(tickets) == 1


def test_tickets_are_bounded_for_each_owner() -> None:
    tickets = Tickets(30)
    mine = tickets.issue("me", "s1")
    first, *_, last = [tickets.issue("you", "s2") for _ in range(MOST_PER_OWNER + 1)]

    assert len(tickets) == MOST_PER_OWNER + 1
    assert tickets.redeem(first, "s2") is None
    assert tickets.redeem(last, "s2") == "you"
    assert tickets.redeem(mine, "s1") == "me"


def test_a_ticket_only_looks() -> None:
    client, directory = client_of()

    def ticket() -> str:
        return asyncio.run(directory.issue_ticket("me", "1"))

    refused = client.post(f"/streams/1?ticket={ticket()}")

    assert refused.status_code == 401
    assert client.get(f"/streams/1?ticket={ticket()}").json() == "me"
    with client.websocket_connect(f"ws://127.0.0.1:8420/ws?stream_id=1&ticket={ticket()}") as socket:
        assert socket.receive_text() == "me"
    with pytest.raises(NotFound):
        Principal("me", "1").check_stream("2")
    with pytest.raises(Forbidden):
        Principal("me", "1").check_may_act()


# --- Host and Origin ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8420", 200),
        ("127.0.0.1", 200),
        ("[::1]:8420", 200),
        ("10.1.2.3:80", 200),
        ("localhost:8420", 200),
        ("LOCALHOST", 200),
        ("localhost.:8420", 200),
        ("ai.example.com", 200),
        ("deep.sub.example.org", 200),
        ("example.org", 403),
        ("badexample.org", 403),
        ("evil.example.com", 403),
        ("127.0.0.1.nip.io", 403),
        ("localhost.evil.com", 403),
        ("localhost@evil.com", 403),
        ("evil.com#localhost", 403),
        ("localhost:99999", 403),
        ("localhost:x", 403),
        ("", 403),
    ],
)
def test_only_known_hosts(host: str, status: int) -> None:
    client, _ = client_of(allowed_hosts=["ai.example.com", "*.example.org"])

    assert client.get("/streams/1", headers={**WITH_KEY, "Host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8420", 200),
        ("https://app.example.com", 200),
        ("https://APP.example.com:443", 200),
        ("https://127.0.0.1:8420", 200),
        ("http://127.0.0.1", 403),
        ("http://127.0.0.1:8421", 403),
        ("http://localhost:8420", 403),
        ("http://app.example.com", 403),
        ("https://app.example.com.evil.com", 403),
        ("https://evil.com", 403),
        ("null", 403),
        ("file://", 403),
        ("chrome-extension://abcdef", 403),
        ("", 403),
    ],
)
def test_only_our_own_and_allowed_origins(origin: str, status: int) -> None:
    client, _ = client_of(allowed_origins=["https://app.example.com"])

    headers = {**WITH_KEY, "Origin": origin}

    assert client.get("/streams/1", headers=headers).status_code == status
    if status == 200:
        with client.websocket_connect("ws://127.0.0.1:8420/ws", headers=headers) as socket:
            assert socket.receive_text()
    else:
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("ws://127.0.0.1:8420/ws", headers=headers),
        ):
            pass


def test_an_allowed_origin_may_send_and_a_cors_origin_may_read() -> None:
    client, _ = client_of(
        allowed_origins=["https://send.example.com"], cors_origins=["https://read.example.com"]
    )

    def allowed(origin: str) -> str | None:
        response = client.get("/streams/1", headers={**WITH_KEY, "Origin": origin})
        assert response.status_code == 200
        return response.headers.get("access-control-allow-origin")

    assert allowed("https://send.example.com") is None
    assert allowed("https://read.example.com") == "https://read.example.com"


def test_a_refusal_has_the_form_of_its_route() -> None:
    client, _ = client_of()

    ours = client.get("/streams/1", headers={"Host": "evil.com"})
    openai = client.get("/v1/models", headers={"Host": "evil.com"})

    assert ours.headers["content-type"] == "application/problem+json"
    assert ours.json()["status"] == 403
    assert openai.json()["error"]["type"] == "invalid_request_error"
