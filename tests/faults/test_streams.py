"""Streams through faults: no event is lost, doubled or out of order, whoever dies meanwhile."""

import asyncio
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.faults.cluster import Cluster
from tests.faults.prompts import add_agent, prompt
from tests.services import ApiProcess, RedisServer, wait_until
from tests.streams import STREAM, Event, posting, text_of, watch, watching, whole

Making = Callable[[str, str], Cluster]
WORDS = "one two three four five six seven eight nine ten"
SLOW = ["pace 0.2", f"say {WORDS}"]


@contextmanager
def client_of(api: ApiProcess, *, timeout: float = 60) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=api.url, trust_env=False, timeout=timeout) as client:
        yield client


def accepted(client: httpx2.Client, session_id: str, text: str) -> str:
    """Have a message accepted; return its id."""
    sent = client.post(
        f"/sessions/{session_id}/messages",
        json={"prompt": text},
        headers={"Prefer": "respond-async"},
    )
    assert sent.status_code == 202, sent.text
    return str(sent.json()["message_id"])


def until_text(events: Iterator[Event]) -> list[Event]:
    """Read until some text came."""
    seen = []
    for event in events:
        seen.append(event)
        if event.kind == "text":
            return seen
    raise AssertionError(seen)


def test_a_stream_goes_on_at_another_api_process(cluster: Cluster) -> None:
    cluster.worker()
    session_id = cluster.client().session()
    with client_of(cluster.apis[0]) as here, client_of(cluster.apis[1]) as there:
        with posting(here, session_id, prompt(*SLOW)) as stream:
            seen = until_text(stream)
        message_id = seen[0].data["message_id"]
        with watching(there, message_id, after=seen[-1].id) as stream:
            seen.append(next(stream))
        seen += watch(here, message_id, after=seen[-1].id)
        whole(seen)
        assert text_of(seen) == WORDS
        assert [e.id for e in watch(there, message_id)] == [e.id for e in seen]
    cluster.check()


def test_a_killed_worker_is_told_of_and_the_text_begins_anew(cluster: Cluster) -> None:
    killed = cluster.worker()
    client = cluster.client()
    with (
        client_of(cluster.apis[0]) as http,
        posting(http, client.session(), prompt(*SLOW)) as stream,
    ):
        seen = until_text(stream)
        killed.kill()
        cluster.worker()
        seen += list(stream)
    whole(seen)
    again = next(e for e in seen if e.kind == "claimed" and e.data["attempt"] == 2)
    assert again.data["previous_outcome"] == "lost"
    assert WORDS.startswith(text_of(seen, attempt=1).rstrip())
    assert text_of(seen, attempt=2) == WORDS
    assert seen[-1].kind == "completed"


def test_a_redis_that_restarts_loses_no_event(
    make_cluster: Making, postgres_database: str, own_redis: RedisServer
) -> None:
    cluster = make_cluster(postgres_database, own_redis.url)
    api = cluster.api()
    cluster.worker()
    session_id = cluster.client().session()
    with client_of(api) as http, posting(http, session_id, prompt(*SLOW)) as stream:
        seen = until_text(stream)
        own_redis.kill()
        seen.append(next(stream))  # the database is asked
        own_redis.start()
        seen += list(stream)
    whole(seen)
    assert text_of(seen) == WORDS


def test_an_api_process_that_stops_ends_its_streams_and_another_goes_on(
    cluster: Cluster,
) -> None:
    cluster.worker()
    session_id = cluster.client().session()
    leaving = cluster.make_api()
    leaving.start()
    with client_of(leaving) as http, client_of(cluster.apis[0]) as other:
        message_id = accepted(other, session_id, prompt("delay 3", *SLOW))
        with watching(http, message_id) as stream:
            seen = [next(stream)]
            leaving.send_signal(signal.SIGTERM)
            told = time.monotonic()
            seen += list(stream)
            assert leaving.process
            assert leaving.process.wait(5) in (0, -signal.SIGTERM)
            assert time.monotonic() - told < 2
        assert seen[-1].kind != "completed"
        seen += watch(other, message_id, after=seen[-1].id)
    whole(seen)
    cluster.apis.remove(leaving)


@pytest.mark.parametrize("how", ["cancel", "rollback", "clear", "project"])
def test_a_worker_hears_within_a_second_that_it_need_not_go_on(cluster: Cluster, how: str) -> None:
    # the heartbeat would take far longer than the test allows
    cluster.worker(VIBECODER_HEARTBEAT_S="20", VIBECODER_LEASE_S="60")
    client = cluster.client()
    project_id = client.project()
    session_id = client.session(project_id)
    text = prompt("hang")
    with client_of(cluster.apis[0]) as here, client_of(cluster.apis[1]) as there:
        message_id = accepted(here, session_id, text)
        cluster.model_called(text)
        left, began = cluster.stub.stats()["left"], time.monotonic()
        match how:
            case "cancel":
                there.post(f"/messages/{message_id}/cancel")
            case "rollback":
                body = {"prompt": prompt(), "on_busy": "rollback"}
                answer = there.post(f"/sessions/{session_id}/messages", json=body)
                assert answer.status_code == 200
            case "clear":
                there.delete(f"/sessions/{session_id}")
            case _:
                there.delete(f"/projects/{project_id}")
        wait_until(lambda: cluster.stub.stats()["left"] > left, "the call to be closed", timeout=1)
        print(f"closed after {time.monotonic() - began:.2f} s")
        if how != "project":
            assert client.ask(session_id, prompt()).status == 200


def test_a_cancelled_message_is_answered_at_once_and_leaves_nothing(cluster: Cluster) -> None:
    cluster.worker()
    client = cluster.client()
    session_id = client.session()
    text = prompt(add_agent("helper"), "delay 5")
    waiting = client.asking(session_id, text)
    cluster.model_called(text)
    with client_of(cluster.apis[1]) as there:
        [message] = there.get(f"/sessions/{session_id}/messages").json()
        began = time.monotonic()
        there.post(f"/messages/{message['message_id']}/cancel")
        answer = waiting.result(5)
        assert time.monotonic() - began < 1
        assert (answer.status, answer.body["code"]) == (409, "cancelled")
        assert there.get(f"/sessions/{session_id}/items").json() == []
    assert client.ask(session_id, prompt()).body["reply"].startswith("echo 1:")
    cluster.check(client)


def test_a_silent_stream_is_kept_awake(cluster: Cluster) -> None:
    with client_of(cluster.apis[0]) as http:
        message_id = accepted(http, cluster.client().session(), prompt())
        began = time.monotonic()
        path = f"/messages/{message_id}/events"
        with http.stream("GET", path, headers=STREAM) as answer:
            assert next(line for line in answer.iter_lines() if line.startswith(":"))
        assert 14 < time.monotonic() - began < 20
        http.post(f"/messages/{message_id}/cancel")


def test_a_slow_reader_costs_the_process_no_memory(cluster: Cluster) -> None:
    cluster.worker()
    session_id = cluster.client().session()
    with client_of(cluster.apis[0]) as http:
        long = "x" * 400_000
        message_id = accepted(http, session_id, prompt(f"say {long}"))
        whole(watch(http, message_id))
        before = memory_mb(cluster.apis[0].pid)
        with watching_many(http, message_id, 40) as answers:
            time.sleep(2)
            grown = memory_mb(cluster.apis[0].pid) - before
            print(f"40 readers of 0.8 MB that read nothing: {grown:.1f} MB")
            assert grown < 20
            assert len(answers) == 40


@contextmanager
def watching_many(
    http: httpx2.Client, message_id: str, count: int
) -> Iterator[list[httpx2.Response]]:
    """Open streams of one message and read nothing of them."""
    opened = []
    with httpx2.Client(base_url=http.base_url, trust_env=False, limits=_NO_LIMIT) as many:
        for _ in range(count):
            request = many.build_request("GET", f"/messages/{message_id}/events")
            opened.append(many.send(request, stream=True))
        yield opened
        for answer in opened:
            answer.close()


_NO_LIMIT = httpx2.Limits(max_connections=None)


def memory_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123 -- of the kernel
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


WATCHERS = 1000


def test_a_thousand_watch_at_one_process(cluster: Cluster) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, most))
    cluster.worker()
    client = cluster.client()
    with client_of(cluster.apis[0]) as http:
        messages = [accepted(http, client.session(), prompt("delay 10", *SLOW)) for _ in range(10)]
        before = memory_mb(cluster.apis[0].pid)
        ends, health = asyncio.run(crowd(cluster.apis[0].url, messages))
    print(
        f"{memory_mb(cluster.apis[0].pid) - before:.0f} MB; slowest /health {health * 1e3:.0f} ms"
    )
    assert ends == ["completed"] * WATCHERS
    cluster.check()


async def crowd(url: str, messages: list[str]) -> tuple[list[str], float]:
    """Watch with a thousand connections; return how each stream ended, and the slowest answer."""
    host, port = url.removeprefix("http://").split(":")
    slowest = 0.0

    async def follow(number: int) -> str:
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
        path = f"/messages/{messages[number % len(messages)]}/events"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        ids, kind = [], ""
        while line := await reader.readline():
            name, _, value = line.decode().rstrip().partition(": ")
            if name == "id":
                ids.append(int(value))
            if name == "event":
                kind = value
        writer.close()
        assert ids == list(range(1, len(ids) + 1)), ids
        return kind

    async def look() -> None:
        nonlocal slowest
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
            while True:
                began = time.monotonic()
                assert (await http.get("/health")).status_code == 200
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.2)

    looking = asyncio.create_task(look())
    ends = await asyncio.gather(*(follow(number) for number in range(WATCHERS)))
    looking.cancel()
    return list(ends), slowest
