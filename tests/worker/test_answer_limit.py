"""An answer of a model's server is read and unpacked up to a limit, over both APIs."""

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.errors import FailureCode
from tests.worker.test_llm import APIS, Client, settings_for, watched
from worker.failures import LARGEST_ANSWER, failure_from

_LIMIT = 2**20
_OFFERED = 64 * _LIMIT
_BUFFERS = 8 * 2**20
"""More than sockets and clients hold on the way."""


class Server:
    """Answers each request with a head and then a chunk again and again; counts what it sent."""

    def __init__(self, head: str, first: bytes, chunk: bytes) -> None:
        self.calls = 0
        self.sent = 0
        self.requested = b""
        self._head = f"HTTP/1.1 200 OK\r\n{head}\r\nConnection: close\r\n\r\n".encode()
        self._first, self._chunk = first, chunk

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requested = await reader.readuntil(b"\r\n\r\n")
        self.calls += 1
        try:
            writer.write(self._head + self._first)
            while self._chunk and self.sent < _OFFERED:
                writer.write(self._chunk)
                await writer.drain()
                self.sent += len(self._chunk)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def answering(server: Server, api: str) -> AsyncIterator[Client]:
    listener = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    client = Client(settings_for(f"http://127.0.0.1:{port}/v1", model_api=api))
    try:
        yield client
    finally:
        await client.models.aclose()
        listener.close()


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.model.answer_limit.LARGEST_ANSWER", _LIMIT)


async def failing(client: Client, *, is_watched: bool) -> str:
    """Ask, and return the detail of the failure."""
    if not is_watched:
        failure = await client.fail("hi")
    else:
        with pytest.raises(Exception) as raised:  # noqa: PT011
            await watched(client, "hi")
        failure = failure_from(raised.value)
    assert failure.code == FailureCode.MODEL_ERROR
    assert client.errors == ["AnswerTooLarge"], "asked once"
    return failure.detail


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("is_watched", "kind", "chunk"),
    [
        (False, "application/json", b"a" * 2**16),
        (True, "text/event-stream", b"a" * 2**16),
        (True, "text/event-stream", b'data: {"type": "response.created"}\n\n' * 2**11),
    ],
    ids=["plain", "one event", "many events"],
)
async def test_no_more_than_the_limit_is_read(
    api: str, is_watched: bool, kind: str, chunk: bytes
) -> None:
    server = Server(f"Content-Type: {kind}", b"", chunk)
    async with answering(server, api) as client:
        detail = await failing(client, is_watched=is_watched)
    assert f"{LARGEST_ANSWER // 2**20} MiB" in detail
    assert server.sent < _LIMIT + _BUFFERS


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("is_watched", [False, True], ids=["plain", "watched"])
async def test_no_more_than_the_limit_is_unpacked(api: str, is_watched: bool) -> None:
    kind = "text/event-stream" if is_watched else "application/json"
    packed = gzip.compress(b'data: "' + b"a" * _OFFERED)
    head = f"Content-Type: {kind}\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}"
    async with answering(Server(head, packed, b""), api) as client:
        tracemalloc.start()
        try:
            await failing(client, is_watched=is_watched)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < _LIMIT + _BUFFERS


@pytest.mark.parametrize("api", APIS)
async def test_an_encoding_that_nobody_asked_for_is_not_unpacked(api: str) -> None:
    head = "Content-Type: application/json\r\nContent-Encoding: gzip, gzip\r\nContent-Length: 2"
    server = Server(head, b"{}", b"")
    async with answering(server, api) as client:
        assert (await client.fail("hi")).code == FailureCode.MODEL_ERROR
        assert client.errors == ["UnusableAnswer"]
    assert b"accept-encoding: gzip\r\n" in server.requested.lower()


async def test_a_packed_answer_within_the_limit_is_an_answer() -> None:
    said = b"""{"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "well", "annotations": []}]}],
        "parallel_tool_calls": true, "tool_choice": "auto", "tools": []}"""
    packed = gzip.compress(said)
    head = "Content-Type: application/json\r\nContent-Encoding: gzip"
    head += f"\r\nContent-Length: {len(packed)}"
    async with answering(Server(head, packed, b""), "responses") as client:
        assert await client.ask("hi") == "well"


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("is_watched", [False, True], ids=["plain", "watched"])
async def test_a_chunk_that_breaks_off_the_framing_ends_the_call(
    api: str, is_watched: bool
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n2\r\n: \r\n")
        await writer.drain()
        await asyncio.sleep(0.05)  # the framing breaks in another packet
        writer.write(b"zz\r\n")
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    client = Client(settings_for(url, model_api=api, model_timeout_s=0.5, model_retries=0))
    async with asyncio.timeout(20):
        if is_watched:
            with pytest.raises(Exception) as raised:  # noqa: PT011
                await watched(client, "hi")
            failure = failure_from(raised.value)
        else:
            failure = await client.fail("hi")
    assert failure.code == FailureCode.MODEL_TIMEOUT
    await client.models.aclose()
    listener.close()
