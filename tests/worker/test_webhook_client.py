"""A delivery goes to the address that was checked, and ends whatever answers there."""

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from shared.addresses import is_public
from shared.store.deliveries import DeliveryAttempt
from shared.store.webhooks import new_secret
from shared.tables import Message
from tests.services import free_port
from tests.webhook_sink import WebhookSink, webhook_sink
from worker.webhooks.client import Answer, WebhookClient

PUBLIC = "93.184.216.34"


def delivery_to(url: str) -> DeliveryAttempt:
    """Make a delivery without a database."""
    message = Message(
        id=uuid4(),
        session_id=uuid4(),
        project_id=uuid4(),
        status="completed",
        content="hi",
        reply="ho",
        diff="",
        model="offline",
        attempt=1,
        created_at=1.0,
        claimed_at=2.0,
        ended_at=3.5,
        trace_id="trace_" + "0" * 32,
    )
    return DeliveryAttempt(uuid4(), 1, uuid4(), url, new_secret(), message)


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    """Give a sink that takes everything."""
    with webhook_sink() as sink:
        yield sink


PostOnce = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def post_once() -> AsyncIterator[PostOnce]:
    """Give a way to send one delivery; private addresses are allowed unless it says no."""
    made: list[WebhookClient] = []

    async def send(url: str, *, private: bool = True, tls: ssl.SSLContext | None = None) -> Answer:
        made.append(WebhookClient(private=private, at_once=1, tls=tls))
        return await made[-1].post(delivery_to(url))

    yield send
    for client in made:
        await client.aclose()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Give what a name server answers: for each name a list of addresses a question, in turn."""
    known: dict[str, list[list[str]]] = {}

    def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        addresses = known[host].pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


async def test_a_notice_is_signed_and_says_what_the_message_became(
    post_once: PostOnce, sink: WebhookSink
) -> None:
    client, tried = WebhookClient(private=True, at_once=1), delivery_to(f"{sink.url}?a=1")
    assert await client.post(tried) == Answer(http_status=204)
    await client.aclose()
    [post] = sink.posts
    assert post.path == "/hook?a=1"
    assert post.headers["host"] == f"127.0.0.1:{sink.port}"
    assert post.id == str(tried.id)
    assert abs(int(post.headers["webhook-timestamp"]) - time.time()) < 10
    assert post.is_signed_with(tried.secret)
    assert not post.is_signed_with(new_secret())
    assert post.json["type"] == "message.completed"
    assert post.json["timestamp"] == post.json["data"]["ended_at"] == "1970-01-01T00:00:03.500000Z"
    assert post.json["data"]["message_id"] == str(tried.message.id)
    assert post.json["data"]["reply"] == "ho"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *(
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1%1",
            "fc00::1",
            "ff02::1",
        ),
        *("::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1"),
    ],
)
def test_what_the_world_does_not_reach_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"],
)
def test_what_the_world_reaches_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["::ffff:10.0.0.1"]])
async def test_a_name_that_leads_to_one_private_address_is_refused(
    post_once: PostOnce, sink: WebhookSink, names: dict[str, list[list[str]]], addresses: list[str]
) -> None:
    names["hooks.example"] = [addresses]
    url = f"https://hooks.example:{sink.port}/"
    assert await post_once(url, private=False) == Answer(error="private_address")
    assert sink.posts == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1"])
async def test_this_machine_is_refused_however_it_is_written(
    post_once: PostOnce, sink: WebhookSink, host: str
) -> None:
    answer = await post_once(f"https://{host}:{sink.port}/", private=False)
    assert answer == Answer(error="private_address")
    assert sink.posts == []


async def test_a_name_is_looked_up_once_and_what_was_checked_is_called(
    post_once: PostOnce, sink: WebhookSink, names: dict[str, list[list[str]]]
) -> None:
    names["hooks.example"] = [["127.0.0.1"], ["127.0.0.2"]]  # another answer the second time
    url = f"http://hooks.example:{sink.port}/"
    assert await post_once(url) == Answer(http_status=204)
    assert names["hooks.example"] == [["127.0.0.2"]], "asked once"
    assert sink.posts[0].headers["host"] == f"hooks.example:{sink.port}"


async def test_the_next_address_is_tried_if_the_first_takes_no_connection(
    post_once: PostOnce, sink: WebhookSink, names: dict[str, list[list[str]]]
) -> None:
    names["hooks.example"] = [["127.0.0.2", "127.0.0.1"]]
    assert await post_once(f"http://hooks.example:{sink.port}/") == Answer(http_status=204)
    assert len(sink.posts) == 1


async def test_without_the_setting_only_https_is_spoken(
    post_once: PostOnce, sink: WebhookSink
) -> None:
    assert await post_once(sink.url, private=False) == Answer(error="not_https")
    assert sink.posts == []


async def test_a_redirect_is_an_answer_and_is_not_followed(
    post_once: PostOnce, sink: WebhookSink
) -> None:
    with webhook_sink() as elsewhere:
        sink.status, sink.location = 307, elsewhere.url
        answer = await post_once(sink.url)
        assert (answer.http_status, answer.is_success) == (307, False)
        assert elsewhere.posts == []


async def test_a_large_answer_is_not_read(post_once: PostOnce, sink: WebhookSink) -> None:
    sink.body = b"x" * 100_000_000
    assert await post_once(sink.url) == Answer(http_status=204)
    assert await asyncio.to_thread(sink.hung_up.wait, 10)


async def test_who_does_not_answer_is_not_waited_for(
    post_once: PostOnce, sink: WebhookSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.webhooks.client.LIMIT_S", 0.1)
    sink.go_on.clear()
    assert await post_once(sink.url) == Answer(error="timeout")


async def test_what_goes_wrong_has_a_name(
    post_once: PostOnce, sink: WebhookSink, names: dict[str, list[list[str]]]
) -> None:
    assert await post_once(f"http://127.0.0.1:{free_port()}/") == Answer(error="unknown_host")
    names["127.0.0.1"] = [["127.0.0.1"]] * 3
    assert await post_once(f"http://127.0.0.1:{free_port()}/") == Answer(error="unreachable")
    assert await post_once(f"https://127.0.0.1:{sink.port}/") == Answer(error="tls")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await post_once(f"http://127.0.0.1:{port}/") == Answer(error="broken_off")
    server.close()
    await server.wait_closed()


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for a name; give a server's context, and a client's that trusts it."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-nodes", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    made += ["-days", "2", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(made, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=str(cert))


async def test_the_certificate_must_be_the_names_though_the_address_is_called(
    post_once: PostOnce, names: dict[str, list[list[str]]], tmp_path: Path
) -> None:
    server, client = certificate(tmp_path, "hooks.example")
    asked: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    names["hooks.example"] = names["other.example"] = [["127.0.0.1"]] * 2
    with webhook_sink(tls=server) as sink:
        url = f"https://hooks.example:{sink.port}/"
        assert await post_once(url, tls=client) == Answer(http_status=204)
        assert asked == ["hooks.example"]
        other = url.replace("hooks", "other")
        assert await post_once(other, tls=client) == Answer(error="tls")
        assert len(sink.posts) == 1
