"""A sink of webhooks: a real HTTP server that keeps what it gets and answers as it is told."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.services import wait_until


@dataclass(frozen=True)
class Post:
    """What came in one request; names of headers in small letters."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        """Check the signature as the specification of Standard Webhooks says."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = b".".join(
            [self.id.encode(), self.headers["webhook-timestamp"].encode(), self.body]
        )
        expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        return f"v1,{expected}" in self.headers["webhook-signature"].split(" ")


@dataclass
class WebhookSink:
    """Answers with `status`, after `go_on`; what came is in `posts`."""

    port: int
    status: int = 204
    location: str | None = None
    body: bytes = b""
    posts: list[Post] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    hung_up: threading.Event = field(default_factory=threading.Event)
    """Set when somebody did not read the whole answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def wait(self, count: int, *, timeout: float = 10) -> list[Post]:
        """Wait until so many requests came."""
        wait_until(lambda: len(self.posts) >= count, f"{count} deliveries", timeout=timeout)
        return self.posts


@contextmanager
def webhook_sink(*, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[WebhookSink]:
    """Receive on loopback while the context is open."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    sink = WebhookSink(server.server_port)
    sink.go_on.set()
    server.sink = sink  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield sink
    finally:
        sink.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        sink: WebhookSink = self.server.sink  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        sink.posts.append(Post(self.path, headers, body))
        sink.go_on.wait(30)
        self.send_response(sink.status)
        if sink.location:
            self.send_header("Location", sink.location)
        self.send_header("Content-Length", str(len(sink.body)))
        self.end_headers()
        try:
            self.wfile.write(sink.body)
        except ConnectionError:
            sink.hung_up.set()

    def log_message(self, *args: Any) -> None:
        pass
