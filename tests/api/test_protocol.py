"""What never becomes a request: the server gives up on it in time."""

import asyncio
import socket

import httpx2
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from api import protocol
from tests.api.calls import assert_problem

PIECE = b"x" * 10_000
HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"POST /projects HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def send_on(connection: socket.socket) -> None:
    for _ in range(10_000):  # 100 MB, which nobody keeps
        connection.sendall(PIECE)


@pytest.mark.parametrize(
    "begin",
    [b"GET /", HEAD + b"X-Endless: ", CHUNKED + b"1;", CHUNKED + b"1\r\na\r\n0\r\nX-Endless: "],
    ids=["address", "header", "chunk", "trailer"],
)
def test_what_does_not_end_is_given_up(live: httpx2.Client, begin: bytes) -> None:
    with socket.create_connection(("127.0.0.1", live.base_url.port or 0), timeout=10) as connection:
        connection.sendall(begin)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_on(connection)


@pytest.mark.parametrize("size", [70_000, 400_000])
def test_a_head_that_is_too_large_is_refused(live: httpx2.Client, size: int) -> None:
    for headers in ({"X-Large": "x" * size}, {f"X-Many-{n}": "x" * 1_000 for n in range(70)}):
        with httpx2.Client(base_url=live.base_url, trust_env=False) as client:
            answer = client.get("/health", headers=headers)
        assert answer.status_code == 431
        if answer.content:  # it was there as a whole, so that somebody could say more
            assert_problem(answer, 431, "head_too_large")


def test_a_body_may_be_longer_than_a_head(live: httpx2.Client) -> None:
    body = {"name": "Large", "instructions": "", "code": "#" + "x" * 199_000}
    assert live.post("/projects", json=body).status_code == 201


@pytest.mark.parametrize("begin", [b"", HEAD, b"GET /answered HTTP/1.1\r\nHost: a\r\n\r\nGET /"])
async def test_a_head_that_does_not_arrive_in_time_is_given_up(
    monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    config = uvicorn.Config(_answer, log_config=None)
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol.BoundedProtocol(config, ServerState(), {}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.write(begin)
    answered = await reader.read()
    assert answered.rpartition(b"HTTP/1.1 ")[2].startswith(b"408 Request Timeout")
    writer.close()
    server.close()


async def _answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
