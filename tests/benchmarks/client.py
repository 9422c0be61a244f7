"""The load generator: conversations over keep-alive connections, every reply checked.

A bare HTTP/1.1 client on asyncio streams: a client library costs 0.5 to 1 ms of CPU a request,
which on two cores would take from the services a part of what is to be measured.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from tests.benchmarks.prompts import echo, growth

_ANSWER_LIMIT_S = 90


@dataclass(frozen=True)
class Answer:
    """What became of one message, in seconds; the last two only where the service tells times."""

    status: int
    latency: float
    arrived_at: float
    fault: str | None = None
    accepted_to_claimed: float | None = None
    finished_to_reply: float | None = None


class Connection:
    """A keep-alive HTTP/1.1 connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def post(self, path: str, body: Any, *, accept: str = "*/*") -> tuple[int, bytes]:
        """Send JSON; return status and body of the answer, of a stream too once it has ended."""
        status = await self.ask("POST", path, body, accept=accept)
        return status, await self.rest()

    async def ask(
        self, method: str, path: str, body: Any = None, *, accept: str = "*/*", prefer: str = ""
    ) -> int:
        """Send a request and return the answer's status; `rest` reads its body."""
        content = b"" if body is None else json.dumps(body).encode()
        preference = f"prefer: {prefer}\r\n" if prefer else ""
        self._writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"accept: {accept}\r\n{preference}content-length: {len(content)}\r\n\r\n".encode()
            + content
        )
        self._head = await self._reader.readuntil(b"\r\n\r\n")
        return int(self._head[9:12])

    async def rest(self) -> bytes:
        """Read the body of the answer; of a stream, until it has ended."""
        if b"chunked" in self._head:
            return await self._chunks()
        length = self._head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
        return await self._reader.readexactly(int(length))

    async def _chunks(self) -> bytes:
        body = bytearray()
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return bytes(body)


@dataclass
class Conversation:
    """One client's session, at `path`, and how many items the model must remember of it."""

    path: str
    remembered: int = 0

    async def send(self, connection: Connection, prompt: str, *, streamed: bool = False) -> Answer:
        """Send one message, read its events if they are wanted, and check its reply."""
        accept = "text/event-stream" if streamed else "*/*"
        began = time.perf_counter()
        try:
            async with asyncio.timeout(_ANSWER_LIMIT_S):
                status, body = await connection.post(self.path, {"prompt": prompt}, accept=accept)
        except (OSError, EOFError, TimeoutError) as error:
            return Answer(0, time.perf_counter() - began, time.time(), fault=repr(error))
        latency, now = time.perf_counter() - began, time.time()
        if status != 200:
            return Answer(status, latency, now, fault=body.decode()[:300])
        answer = _last_message(body) if streamed else json.loads(body)
        expected = echo(prompt, remembered=self.remembered)
        self.remembered += growth(prompt)
        wrong = None if answer["reply"] == expected else f"{answer['reply']!r}, not {expected!r}"
        return Answer(status, latency, now, wrong, *_times(answer, now))


def _last_message(stream: bytes) -> dict[str, Any]:
    """Return the message that the last event of a stream carries."""
    data = stream.rstrip().rpartition(b"\ndata: ")[2]
    message: dict[str, Any] = json.loads(data)["message"]
    return message


def _times(answer: dict[str, Any], now: float) -> tuple[float | None, float | None]:
    if "claimed_at" not in answer:
        return None, None
    accepted, claimed, ended = (
        datetime.fromisoformat(answer[name]).timestamp()
        for name in ("created_at", "claimed_at", "ended_at")
    )
    return claimed - accepted, now - ended


async def talk(
    port: int,
    conversation: Conversation,
    *,
    prompt: str,
    messages: int,
    answers: list[Answer],
    streamed: bool = False,
) -> None:
    """Send one message after the other, as one client does."""
    async with Connection(port) as connection:
        for _ in range(messages):
            answer = await conversation.send(connection, prompt, streamed=streamed)
            answers.append(answer)
            if answer.status == 0:
                return  # the connection is of no use any more


async def talk_at_once(
    port: int,
    conversations: Sequence[Conversation],
    *,
    prompt: str,
    messages: int,
    streamed: bool = False,
) -> list[Answer]:
    """Let all clients talk at the same time; return the answers in the order of arrival."""
    answers: list[Answer] = []
    async with asyncio.TaskGroup() as group:
        for conversation in conversations:
            group.create_task(
                talk(
                    port,
                    conversation,
                    prompt=prompt,
                    messages=messages,
                    answers=answers,
                    streamed=streamed,
                )
            )
    return answers
