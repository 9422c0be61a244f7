"""Malformed requests: each gets a clear answer, and none has an effect."""

import re
import socket
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.calls import new_project, new_session, send, statuses
from tests.services import EmbeddedService
from tests.stateful import fewer

_PATIENCE_S = 2
DEEP = b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BODIES = {
    "deep": DEEP,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep and open": b"[" * 1_000_000,
    "half": b'{"prompt": "x',
    "not UTF-8": b'{"prompt": "\xff\xfe"}',
    "overlong UTF-8": b'{"prompt": "\xc0\x80"}',
    "surrogate in UTF-8": b'{"prompt": "\xed\xa0\x80"}',
    "raw NUL": b'{"prompt": "a\x00b"}',
    "raw newline": b'{"prompt": "a\nb"}',
    "not a number": b'{"prompt": NaN}',
    "infinite": b'{"prompt": 1e999}',
    "a number of 10,000 digits": b'{"prompt": ' + b"9" * 10_000 + b"}",
    "an array": b'["prompt"]',
    "a string": b'"prompt"',
    "nothing": b"",
    "null": b"null",
    "two": b'{"prompt": "x"}{"prompt": "y"}',
    "UTF-16": '{"prompt": "x"}'.encode("utf-16-le")[1:],
    "700,000 members": b"{" + b",".join(b'"%x":1' % n for n in range(700_000)) + b"}",
    "a member twice, the last one wrong": b'{"prompt": "x", "prompt": 1}',
    "another type": b'{"prompt": {"text": "x"}}',
    "an unknown member": b'{"prompt": "x", "on_buzy": "reject"}',
}
PAYLOAD = b'{"prompt": "hello"}'
HEADS = {
    "too long": b"Content-Length: 1000\r\n",
    "too short": b"Content-Length: 5\r\n",
    "negative": b"Content-Length: -1\r\n",
    "no number": b"Content-Length: many\r\n",
    "of 40 digits": b"Content-Length: " + b"9" * 40 + b"\r\n",
    "a large one": b"Content-Length: 8000001\r\n",
    "two of them": b"Content-Length: 19\r\nContent-Length: 20\r\n",
    "and chunked": b"Content-Length: 19\r\nTransfer-Encoding: chunked\r\n",
    "no chunks": b"Transfer-Encoding: chunked\r\n",
    "unknown coding": b"Transfer-Encoding: brotli\r\n",
    "missing": b"",
    "gzip that is none": b"Content-Length: 19\r\nContent-Encoding: gzip\r\n",
    "in latin 1": b"Content-Length: 19\r\nIdempotency-Key: \xe9\xff\r\n",
    "with a NUL": b"Content-Length: 19\r\nIdempotency-Key: a\x00b\r\n",
    "folded": b"Content-Length: 19\r\nIdempotency-Key: a\r\n b\r\n",
    "of 100 kB": b"Content-Length: 19\r\nX: " + b"x" * 100_000 + b"\r\n",
    "10,000 of them": b"Content-Length: 19\r\n" + b"X: y\r\n" * 10_000,
}


class Target:
    """A service, its address and its client."""

    def __init__(self, service: EmbeddedService, client: httpx2.Client) -> None:
        self.service = service
        self.client = client
        self.told_before = len(service.log.read_text())

    def raw(self, request: bytes) -> int | None:
        """Send bytes; return the status of the answer, None if the service waits or hangs up."""
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=_PATIENCE_S) as one:
            try:
                one.sendall(request)
                answer = one.recv(100)
            except (ConnectionError, TimeoutError):
                return None
        found = re.match(rb"HTTP/1.1 (\d{3})", answer)
        return int(found[1]) if found else None

    def is_well(self) -> bool:
        """Tell whether it answers and its log tells of no accident since the test began."""
        log = self.service.log.read_text()[self.told_before :]
        return self.service.answers("/ready") and "Traceback" not in log and '"error"' not in log


@pytest.fixture
def target(embedded: EmbeddedService, live: httpx2.Client) -> Target:
    return Target(embedded, live)


@pytest.fixture
def session_id(target: Target) -> str:
    return new_session(target.client)


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("path", ["/sessions/{}/messages", "/projects"])
def test_a_body_that_is_no_request_is_refused(
    target: Target, session_id: str, path: str, kind: str
) -> None:
    headers = {"Content-Type": "application/json"}
    for _ in range(3):  # what is measured is the service, not a machine with other work
        answer = target.client.post(path.format(session_id), content=BODIES[kind], headers=headers)
        assert answer.status_code in {400, 413, 422}, answer.text
        if answer.elapsed.total_seconds() < 2:
            break
    else:
        pytest.fail("all other clients waited for that")
    assert len(answer.content) < 20_000
    assert target.is_well()
    assert statuses(target.client, session_id) == []


@pytest.mark.parametrize("kind", HEADS)
def test_malformed_headers_have_no_effect(target: Target, kind: str) -> None:
    session_id = new_session(target.client)
    head = f"POST /sessions/{session_id}/messages HTTP/1.1\r\nHost: localhost\r\n".encode()
    kinds = b"Content-Type: application/json\r\n"
    status = target.raw(head + kinds + HEADS[kind] + b"\r\n" + PAYLOAD)
    assert status is None or status == 200 or 400 <= status < 500, status
    assert statuses(target.client, session_id) == (["completed"] if status == 200 else [])
    assert target.is_well()


def test_a_client_that_goes_away_in_the_middle_of_its_body_leaves_nothing(target: Target) -> None:
    session_id = new_session(target.client)
    head = (
        f"POST /sessions/{session_id}/messages HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Length: 500\r\n"
    )
    with socket.create_connection(("127.0.0.1", target.service.port)) as peer:
        peer.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + PAYLOAD)
    assert statuses(target.client, session_id) == []
    assert target.is_well()


IDS = [
    "null", "0", "-1", "%00", "%ff%fe", "..%2f..%2fetc%2fpasswd", "%F0%9F%98%80", "x" * 5000,
    "{session_id}", "'%20OR%201=1--", "00000000-0000-0000-0000-000000000000", "%7B%7D",
    "urn:uuid:" + "0" * 32, "0" * 32, "%EF%BC%91" * 32, "1e5", "%0d%0aX: y".replace(" ", "%20"),
]  # fmt: skip
PATHS = [
    "/projects/{}", "/projects/{}/code", "/projects/{}/workflow.svg", "/projects/{}/sessions",
    "/sessions/{}", "/sessions/{}/messages", "/sessions/{}/items", "/messages/{}",
    "/messages/{}/full", "/problems/{}", "/{}",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_an_id_that_is_none_is_not_found_or_refused(target: Target, path: str) -> None:
    for one in IDS:
        answer = target.client.get(path.format(one))
        assert answer.status_code in {404, 422}, (one, answer.text)
    assert target.is_well()


QUERIES = [
    "limit=0", "limit=1001", "limit=-1", "limit=1e2", "limit=%EF%BC%91", "limit=",
    "limit=1&limit=x",
    "limit=" + "9" * 5000, "after=", "after=%00", "after=-1", "after=" + "9" * 60, "after=1.5",
    "after=%EF%BC%91", "after=%ff", "after=null", f"after={uuid4()}", "after=" + "x" * 65,
]  # fmt: skip


def test_malformed_cursors_and_limits_are_refused(target: Target) -> None:
    project_id = new_project(target.client)
    session_id = new_session(target.client, project_id)
    other = send(target.client, new_session(target.client)).json()["message_id"]
    lists = [
        "/projects",
        f"/projects/{project_id}/sessions",
        f"/projects/{project_id}/revisions",
        f"/sessions/{session_id}/messages",
        f"/sessions/{session_id}/items",
    ]
    for path in lists:
        for query in QUERIES:
            answer = target.client.get(f"{path}?{query}")
            assert answer.status_code == 422, (path, query, answer.text)
        assert target.client.get(f"{path}?after={other}&limit=5").status_code in {200, 422}
    assert target.is_well()


@fewer()
@given(
    name=st.sampled_from(["Prefer", "If-Match", "Idempotency-Key", "traceparent", "Accept"]),
    value=st.binary(max_size=60).filter(lambda value: not {0, 10, 13} & set(value))
    | st.from_regex(r"\A(wait|respond-async|handling)[ =\";,0-9a-z.-]{0,30}\Z").map(str.encode),
)
def test_any_value_of_a_header_is_read_or_refused(
    target: Target, session_id: str, name: str, value: bytes
) -> None:
    headers = {"Host": b"localhost", "Connection": b"close", name: value}
    lines = b"".join(key.encode() + b": " + each + b"\r\n" for key, each in headers.items())
    for line in (b"GET /projects HTTP/1.1", f"PATCH /sessions/{session_id} HTTP/1.1".encode()):
        status = target.raw(line + b"\r\n" + lines + b"\r\n")
        assert status is None or 200 <= status < 500, (name, value)


@pytest.mark.parametrize("method", ["BREW", "TRACE", "OPTIONS", "CONNECT", "PUT", "HEAD", "get"])
def test_methods_that_are_not_known_are_refused(target: Target, method: str) -> None:
    status = target.raw(f"{method} /projects HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert status is None or status in {200, 400, 405}, status
    assert target.is_well()


def test_a_data_folder_is_untouched_by_names_that_look_like_paths(target: Target) -> None:
    name = "../../../../tmp/vibecoder-was-here"
    project_id = new_project(target.client, name=name)
    assert (
        target.client.post(f"/projects/{project_id}/sessions", json={"node_id": name}).status_code
        == 422
    )
    assert (
        send(target.client, new_session(target.client, project_id, title=name), name).status_code
        == 200
    )
    assert not Path("/tmp/vibecoder-was-here").exists()
