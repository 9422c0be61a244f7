"""A caller as the README asks for: a key for each message, and what is unclear is sent again."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.faults.client import Answer, Sent
from tests.streams import STREAM, Event, parse

_PATIENCE_S = 600
_AGAIN_S = (0.2, 1.0)
_ENDS = frozenset({"completed", "failed", "cancelled"})


@dataclass
class Asked:
    """A message as its caller knows it."""

    sent: Sent
    watched: bool = False
    began: float = field(default_factory=time.time)
    ended: float | None = None
    again: list[tuple[float, str]] = field(default_factory=list)
    """When it was sent again, and why."""
    message_id: str | None = None
    last_event: int = 0
    resumed: int = 0
    wrong: list[str] = field(default_factory=list)
    """What no caller should ever see."""

    @property
    def seconds(self) -> float:
        """Return how long it took from the first POST to the end."""
        return (self.ended or time.time()) - self.began

    def note(self, status: int, body: dict[str, Any], headers: httpx2.Headers) -> Answer:
        """Keep an answer."""
        answer = Answer(status, body, dict(headers), time.time() - self.began)
        self.sent.answers.append(answer)
        self.message_id = self.message_id or answer.message_id
        if answer.final:
            self.ended = time.time()
        return answer


class Caller:
    """Ask, and insist until there is an end."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def ask(self, asked: Asked) -> None:
        """Send a message until it has ended, as often as that takes."""
        while asked.ended is None and not asked.wrong and asked.seconds < _PATIENCE_S:
            try:
                why, pause = await (self._watch(asked) if asked.watched else self._post(asked))
            except httpx2.TransportError as error:
                asked.sent.cuts += 1
                why, pause = type(error).__name__, random.uniform(*_AGAIN_S)
            if asked.ended is None:
                asked.again.append((time.time(), why))
                await asyncio.sleep(pause)

    async def _post(self, asked: Asked) -> tuple[str, float]:
        got = await self._http.post(
            f"/sessions/{asked.sent.session_id}/messages",
            json={"prompt": asked.sent.prompt},
            headers={"Idempotency-Key": asked.sent.key},
        )
        return _understood(asked, got)

    async def _watch(self, asked: Asked) -> tuple[str, float]:
        """Read events to the end; after a cut those that follow the last one that came."""
        headers = STREAM | {"Idempotency-Key": asked.sent.key}
        method, path = "POST", f"/sessions/{asked.sent.session_id}/messages"
        body: object = {"prompt": asked.sent.prompt}
        if asked.message_id:
            method, path, body = "GET", f"/messages/{asked.message_id}/events", None
            headers = STREAM | {"Last-Event-ID": str(asked.last_event)}
            asked.resumed += 1
        async with self._http.stream(method, path, json=body, headers=headers) as got:
            if got.status_code != 200:
                await got.aread()
                return _understood(asked, got)
            async for event in _events(got):
                _hear(asked, event, got.headers)
        return "the stream ended", random.uniform(*_AGAIN_S)


async def _events(got: httpx2.Response) -> AsyncIterator[Event]:
    lines: list[str] = []
    async for line in got.aiter_lines():
        lines.append(line)
        if not line:
            for event in parse(lines):
                yield event
            lines = []


def _hear(asked: Asked, event: Event, headers: httpx2.Headers) -> None:
    if event.id != asked.last_event + 1:
        asked.wrong.append(f"event {event.id} came after event {asked.last_event}")
    asked.last_event = event.id
    if event.kind not in _ENDS:
        if not asked.message_id:
            asked.note(202, {"message_id": event.data["message_id"]}, headers)
    elif problem := event.data.get("problem"):
        asked.note(problem["status"], problem, headers)
    else:
        asked.note(200, event.data["message"], headers)


def _understood(asked: Asked, got: httpx2.Response) -> tuple[str, float]:
    """Keep an answer; tell why and after how many seconds to ask again, if it is not the end."""
    is_json = "json" in got.headers.get("content-type", "")
    answer = asked.note(got.status_code, got.json() if is_json else {}, got.headers)
    if not answer.final and answer.status not in (202, 429) and answer.status < 500:
        asked.wrong.append(f"it was answered with {answer.status}: {answer.body}")
    pause = float(got.headers.get("retry-after", 0)) or random.uniform(*_AGAIN_S)
    return str(answer.status), 0 if answer.status == 202 else pause
