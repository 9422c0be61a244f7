"""What a worker says of itself over HTTP: /metrics, and /health while it holds its lease."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from typing_extensions import override

from shared.errors import SettingsError


class StatusServer:
    """Answer on a port of its own, in threads: a busy event loop does not hold it up."""

    def __init__(self, host: str, port: int, *, healthy: Callable[[], bool]) -> None:
        class Handler(_Handler):
            is_healthy = staticmethod(healthy)

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise SettingsError(
                f"VIBECODER_METRICS_PORT={port} cannot be bound ({error.strerror}): workers on one "
                "host need a port each, or none."
            ) from None
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="status", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    is_healthy: Callable[[], bool]
    timeout = 5  # a client that says nothing must not keep a thread

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(), CONTENT_TYPE_PLAIN_0_0_4)
            case "/health" if self.is_healthy():
                self._answer(HTTPStatus.OK, b"ok\n")
            case "/health":
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"the lease was not renewed in time\n")
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"here are /metrics and /health\n")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, *args: Any) -> None:
        pass  # probes and scrapes come every few seconds
