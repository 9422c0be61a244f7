"""A request's body is read only where it counts, and never without a bound."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from api.auth import Caller
from api.body_limit import BodyLimit
from shared.errors import BodyTooSlow, TooManyBodies
from shared.tables import Role
from tests.api.calls import assert_problem

LIMIT = 1000
BOMBS = {
    "quotes that escapes hide": b'"\\' * 25_000 + b"," * 10_001,
    "escapes alone": b"\\" * 400_001 + b"," * 10_001,
    "quotes alone": b'"' * 400_000 + b"," * 10_001,
    "strings that end": b'"a",' * 100_000,
    "strings with escapes": b'"\\"\\\\",' * 60_000,
    "brackets": b"[" * 400_000,
}


def scope_of(path: str = "/projects", method: str = "POST", owner: str = "a") -> Scope:
    caller = Caller(owner, Role.WRITE)
    return {
        "type": "http",
        "path": path,
        "method": method,
        "headers": [],
        "state": {"caller": caller},
    }


async def _never_sent(message: Message) -> None:
    raise AssertionError(message)


async def _read_all(scope: Scope, receive: Receive, send: Send) -> None:
    scope["read"] = (await receive()).get("body")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/health"), ("POST", "/console/x"), ("GET", "/projects")]
)
async def test_a_route_without_a_body_reads_none(method: str, path: str) -> None:
    async def receive() -> Message:
        raise AssertionError("the body was read")

    scope = scope_of(path, method)
    await BodyLimit(_read_all, limit=LIMIT)(scope, receive, _never_sent)
    assert scope["read"] == b""


@pytest.mark.parametrize("kind", BOMBS)
def test_the_values_of_a_body_are_counted_in_one_pass(client: TestClient, kind: str) -> None:
    def seconds(content: bytes) -> float:
        began = time.process_time()
        answer = client.post(
            "/projects", content=content, headers={"Content-Type": "application/json"}
        )
        assert_problem(answer, 422, "invalid_request")
        return time.process_time() - began

    bomb = BOMBS[kind]
    seconds(bomb)
    assert min(seconds(bomb * 8) for _ in range(3)) < 40 * min(seconds(bomb) for _ in range(3))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_do_not_pass_the_bound_on_values(client: TestClient, encoding: str) -> None:
    content = ('{"name": "x", "code": [' + "[]," * 20_000 + "[]]}").encode(encoding)
    answer = client.post("/projects", content=content, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, "invalid_request")
    assert "UTF-8" in answer.json()["detail"]


def test_an_escaped_quote_ends_no_string(client: TestClient) -> None:
    code = 'x = "' + r"\"[,\\" * 8_000 + '"\n'
    assert client.post("/projects", json={"name": "Quotes", "code": code}).status_code == 201


async def test_a_body_that_does_not_end_is_given_up() -> None:
    async def receive() -> Message:
        await asyncio.sleep(0.005)
        return {"type": "http.request", "body": b".", "more_body": True}

    with pytest.raises(BodyTooSlow):
        await BodyLimit(_read_all, limit=LIMIT, seconds=0.05)(scope_of(), receive, _never_sent)


class _Uploads:
    """Bodies of one owner each that begin and do not end."""

    def __init__(self, limited: BodyLimit) -> None:
        self._limited = limited
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, owner: str) -> asyncio.Task[None]:
        """Send a whole body but for its end; return the request."""
        sent = asyncio.Event()

        async def receive() -> Message:
            if sent.is_set():
                await asyncio.Event().wait()
            sent.set()
            return {"type": "http.request", "body": b"." * LIMIT, "more_body": True}

        request = self._limited(scope_of(owner=owner), receive, _never_sent)
        task = asyncio.ensure_future(request)
        self._tasks.append(task)
        await asyncio.wait([task], timeout=0.01)
        return task

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, TooManyBodies):
                await task


@pytest.fixture
async def uploads() -> AsyncIterator[_Uploads]:
    uploads = _Uploads(BodyLimit(_read_all, limit=LIMIT))
    yield uploads
    await uploads.end()


async def test_unfinished_bodies_of_one_owner_leave_room_for_another(uploads: _Uploads) -> None:
    greedy = [await uploads.begin("greedy") for _ in range(12)]
    assert [task.done() for task in greedy] == [False] * 8 + [True] * 4
    assert isinstance(greedy[-1].exception(), TooManyBodies)
    honest = [await uploads.begin("honest") for _ in range(8)]
    assert not any(task.done() for task in honest)
    assert (await uploads.begin("third")).done()
    await uploads.end()
    assert not (await uploads.begin("third")).done()
