"""A local stub of the OpenAI API: `python -m tests.stub_openai --port 0` prints its port.

Speaks `POST /v1/responses` and `POST /v1/chat/completions`, plain and with `stream: true`, and asks
for no key. What it does is written in the prompt: see tests/stub_replies.py. `GET /stats` counts
calls; `GET /requests` lists the last calls when started with `--record N`, with `?containing=TEXT`
those whose prompt contains a text, with `?newest=N` the last of these. It is a bare HTTP/1.1 server
so that benchmarks measure the service and not the stub.
"""

import argparse
import asyncio
import contextlib
import json
import time
from asyncio import StreamReader, StreamWriter
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import parse_qsl, urlsplit

from tests.stub_replies import (
    Call,
    Directive,
    Json,
    answer,
    completion_body,
    completion_events,
    directives,
    response_body,
    response_events,
)
from tests.stub_rules import refusal

_RESPONSES, _COMPLETIONS = "/v1/responses", "/v1/chat/completions"
_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
_REQUEST_NUMBERS = count(1)


class Hangup(Exception):
    """The connection is to be cut now."""


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes


@dataclass
class Stub:
    """The counters of a stub, and what it does with a connection."""

    delay: float = 0
    record: int = 0
    calls: int = 0
    connections: int = 0
    """Those over which a model was asked."""
    running: int = 0
    most_running: int = 0
    left: int = 0
    """Clients that closed the connection before their answer had come."""
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    recorded: deque[Json] = field(default_factory=deque)
    kept: dict[str, set[str]] = field(default_factory=dict)
    """The ids of the items that the server made, by model."""

    async def connection(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve a connection until either side ends it."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, Hangup):
            request = await _read(reader)
            self.connections += request.method == "POST"
            while True:
                await self._serve(request, reader, writer)
                await writer.drain()
                request = await _read(reader)
        writer.close()

    async def _serve(self, request: Request, reader: StreamReader, writer: StreamWriter) -> None:
        target = urlsplit(request.path)
        match request.method, target.path:
            case "GET", "/stats":
                counts = {"calls": self.calls, "max_concurrent": self.most_running}
                _send(writer, 200, counts | {"left": self.left, "connections": self.connections})
            case "GET", "/requests":
                _send(writer, 200, self._requests(dict(parse_qsl(target.query))))
            case "POST", "/v1/responses" | "/v1/chat/completions":
                await self._count(request, reader, writer)
            case _:
                _send(writer, 404, _error("Unknown request URL", None))

    def _requests(self, query: dict[str, str]) -> list[Json]:
        text = query.get("containing", "")
        found = [call for call in self.recorded if text in call["prompt"]]
        return found[-int(query.get("newest", len(found))) :]

    async def _count(self, request: Request, reader: StreamReader, writer: StreamWriter) -> None:
        self.calls += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self._model_call(request, reader, writer)
        finally:
            self.running -= 1

    async def _model_call(
        self, request: Request, reader: StreamReader, writer: StreamWriter
    ) -> None:
        arrived = time.time()
        call = Call.of(request.path, request.content)
        script = list(self._due(call))
        by_name = {directive.name: directive for directive in script}
        entry = self._record(request, call, arrived)
        if delay := self.delay + float(getattr(by_name.get("delay"), "argument", 0)):
            await asyncio.sleep(delay)
        if "hang" in by_name:
            await reader.read(1)
            self.left += 1
            raise Hangup
        if "status" in by_name:
            _send_error(writer, by_name["status"], call)
        elif refused := refusal(call, self.kept.get(call.model, set())):
            _send(writer, refused.status, _error(refused.message, None, refused.param))
        elif "error" in by_name:
            body = {"error": json.loads(by_name["error"].argument)}
            if call.body.get("stream"):
                await _send_stream(writer, iter([body]), broken=False, pace=0)
            else:
                _send(writer, 200, body)
        elif "events" in by_name:
            name, _, data = by_name["events"].argument.partition("|")
            writer.write(_head(200, "text/event-stream", None))
            _send_chunk(writer, f"{name}\n" * bool(name) + f"data: {data}\n\ndata: [DONE]\n\n")
            writer.write(b"0\r\n\r\n")
        elif "chunks" in by_name:
            writer.write(_head(200, "application/json", None) + b"zz\r\nno chunk\r\n")
            raise Hangup
        elif "garbage" in by_name:
            _send(writer, 200, by_name["garbage"].argument or '{"id": "resp_')
        else:
            pace = float(getattr(by_name.get("pace"), "argument", 0))
            entry["sent"] = await self._reply(
                writer, call, script, broken="broken" in by_name, pace=pace
            )

    async def _reply(
        self,
        writer: StreamWriter,
        call: Call,
        script: list[Directive],
        *,
        broken: bool,
        pace: float,
    ) -> str | None:
        try:
            body = _reply_body(call, script)
            ids = (item["id"] for item in body.get("output", ()))
            self.kept.setdefault(call.model, set()).update(ids)
            return await _send_reply(writer, call, body, broken=broken, pace=pace)
        except ConnectionError:
            self.left += 1
            raise

    def _due(self, call: Call) -> Iterator[Directive]:
        for directive in directives(call.prompt):
            key = (call.prompt, directive.name)
            self.seen[key] += 1
            if directive.name == "after":
                turn = self.seen[key] - int(directive.argument.split()[0])
                if turn > 0 and (directive.times is None or turn <= directive.times):
                    yield from directives(f"[[{directive.argument.partition(' ')[2]}]]")
            elif directive.times is None or self.seen[key] <= directive.times:
                yield directive

    def _record(self, request: Request, call: Call, arrived: float) -> Json:
        entry: Json = {"at": arrived, "path": call.path, "prompt": call.prompt, "sent": None}
        if self.record:
            self.recorded.append(entry | {"headers": request.headers, "body": call.body})
            entry = self.recorded[-1]
            while len(self.recorded) > self.record:
                self.recorded.popleft()
        return entry


async def _read(reader: StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines) if k}
    method, path, _ = first.split(" ")
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, content)


def _reply_body(call: Call, script: list[Directive]) -> Json:
    reply = answer(call, script)
    return (completion_body if call.path == _COMPLETIONS else response_body)(call, reply)


async def _send_reply(
    writer: StreamWriter, call: Call, body: Json, *, broken: bool, pace: float
) -> str | None:
    chat = call.path == _COMPLETIONS
    if call.body.get("stream"):
        events = completion_events(body) if chat else response_events(body)
        await _send_stream(writer, events, broken=broken, pace=pace)
        return None
    text = json.dumps(body)
    if broken:
        writer.write(_head(200, "application/json", len(text)) + text[: len(text) // 2].encode())
        raise Hangup
    _send(writer, 200, text)
    return text


async def _send_stream(
    writer: StreamWriter, events: Iterator[Json], *, broken: bool, pace: float
) -> None:
    writer.write(_head(200, "text/event-stream", None))
    for number, event in enumerate(events):
        if broken and number == 3:
            raise Hangup
        if pace:
            await writer.drain()
            await asyncio.sleep(pace)
        named = "type" in event
        data = json.dumps({**event, "sequence_number": number} if named else event)
        _send_chunk(writer, (f"event: {event['type']}\n" if named else "") + f"data: {data}\n\n")
    _send_chunk(writer, "data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")


def _send_chunk(writer: StreamWriter, text: str) -> None:
    content = text.encode()
    writer.write(b"%x\r\n%s\r\n" % (len(content), content))


def _send_error(writer: StreamWriter, status: Directive, call: Call) -> None:
    # The real API quotes the request in some of its messages, and a part of the key in others.
    message = f"sk-stub*** sent what cannot be answered: {call.prompt}"
    headers = {"retry-after": status.option("retry-after"), "location": status.option("location")}
    number = int(status.argument.split()[0])
    _send(writer, number, _error(message, status.option("code")), headers)


def _error(message: str, code: str | None, param: str | None = None) -> Json:
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _send(
    writer: StreamWriter, status: int, body: object, headers: dict[str, str | None] | None = None
) -> None:
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    kind = "text/html" if content.startswith(b"<") else "application/json"
    writer.write(_head(status, kind, len(content), headers) + content)


def _head(
    status: int, kind: str, length: int | None, headers: dict[str, str | None] | None = None
) -> bytes:
    fields: dict[str, str | int | None] = {
        "content-type": kind,
        "content-length": length,
        "transfer-encoding": "chunked" if length is None else None,
        "x-request-id": f"req_{next(_REQUEST_NUMBERS):032x}",
        **(headers or {}),
    }
    lines = "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v is not None)
    return f"HTTP/1.1 {status} {_PHRASES.get(status, 'Status')}\r\n{lines}\r\n".encode("latin-1")


async def _main() -> None:
    parser = argparse.ArgumentParser(description="A local stub of the OpenAI API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one, printed on stdout")
    parser.add_argument("--delay", type=float, default=0, help="seconds before each answer")
    parser.add_argument("--record", type=int, default=0, help="how many calls to keep")
    options = parser.parse_args()
    stub = Stub(delay=options.delay, record=options.record)
    server = await asyncio.start_server(
        stub.connection, options.host, options.port, limit=1 << 20, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
