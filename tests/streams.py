"""Server-sent events as a client reads them."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

STREAM = {"Accept": "text/event-stream"}
_ENDS = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    id: int
    kind: str
    data: dict[str, Any]


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """Read events from the lines of a stream; comments and `retry` are none."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif "id" in fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


@contextmanager
def watching(
    client: httpx2.Client, message_id: str, *, after: int | None = None
) -> Iterator[Iterator[Event]]:
    """Watch a message from the start, or after an event."""
    headers = STREAM if after is None else STREAM | {"Last-Event-ID": str(after)}
    with client.stream("GET", f"/messages/{message_id}/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield parse(answer.iter_lines())


def watch(client: httpx2.Client, message_id: str, *, after: int | None = None) -> list[Event]:
    """Watch a message to its end."""
    with watching(client, message_id, after=after) as events:
        return list(events)


@contextmanager
def posting(
    client: httpx2.Client, session_id: str, prompt: str, headers: dict[str, str] | None = None
) -> Iterator[Iterator[Event]]:
    """POST a prompt and watch it."""
    body = {"prompt": prompt}
    sent = STREAM | (headers or {})
    path = f"/sessions/{session_id}/messages"
    with client.stream("POST", path, json=body, headers=sent) as answer:
        assert answer.status_code == 200, answer.read()
        yield parse(answer.iter_lines())


def text_of(events: Iterable[Event], *, attempt: int = 1, call: int | None = None) -> str:
    """Join the text that an attempt wrote."""
    return "".join(
        event.data["text"]
        for event in events
        if event.kind == "text"
        and event.data["attempt"] == attempt
        and call in (None, event.data["call"])
    )


def whole(events: list[Event]) -> None:
    """Check that a stream is numbered without gaps from 1, and ends once."""
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    ends = [
        n for n, event in enumerate(events) if event.kind in ("completed", "failed", "cancelled")
    ]
    assert ends == [len(events) - 1]
