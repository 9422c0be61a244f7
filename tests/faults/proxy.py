"""A TCP proxy between a process and a server, which cuts or swallows what a test names."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 1 << 16


class Proxy:
    """Forward each connection to the port of a server's URL, and spoil some of it.

    `cut_at(marker, then, after=...)`: the first connection that was sent `marker` and then `then`,
    or whatever comes next, is closed, before or after that reached the server. Later ones work.
    """

    def __init__(self, server_url: str) -> None:
        self._server_port = urlsplit(server_url).port or 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._cut: tuple[bytes, bytes, bool] | None = None
        self._unwanted: tuple[bytes, ...] = ()
        self._refusing = False
        self.cuts = 0
        self.swallowed = 0

    def url(self, server_url: str) -> str:
        """Return the server's URL with the proxy's port."""
        parts = urlsplit(server_url)
        user = f"{parts.username}@" if parts.username else ""
        return urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{self.port}"))

    def cut_at(self, marker: bytes, then: bytes = b"", *, after: bool) -> None:
        """Close one connection at the moment that the class describes."""
        self._cut = (marker, then, after)

    def swallow(self, *unwanted: bytes) -> None:
        """Drop what the server says in chunks that contain one of these."""
        self._unwanted = unwanted

    def refuse(self, *, refusing: bool) -> None:
        """Cut every connection and take no new ones, or take them again."""
        self._refusing = refusing
        if refusing:
            for one in list(self._open):
                _close(one)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _close(self._listener)
        for one in list(self._open):
            _close(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._refusing:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self._server_port))
                except OSError:
                    client.close()
                    continue
                self._open |= {client, server}
                for work in (self._upstream, self._downstream):
                    threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _upstream(self, client: socket.socket, server: socket.socket) -> None:
        marked = False
        with contextlib.suppress(OSError):
            while data := client.recv(_CHUNK):
                was_marked, marked = marked, marked or bool(self._cut and self._cut[0] in data)
                if self._cut and (was_marked or (marked and self._cut[1])) and self._cut[1] in data:
                    self._cut_now(client, server, data)
                    break
                server.sendall(data)
        self._end(client, server)

    def _cut_now(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        assert self._cut
        after, self._cut = self._cut[2], None
        self.cuts += 1
        if after:
            _close(client)  # first, so that the answer cannot slip through
            server.sendall(data + b"X\x00\x00\x00\x04")  # PostgreSQL's goodbye: wait for its end
            while server.recv(_CHUNK):
                pass

    def _downstream(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                if any(unwanted in data for unwanted in self._unwanted):
                    self.swallowed += 1
                    continue
                client.sendall(data)
        if client in self._open:
            self._end(client, server)

    def _end(self, *both: socket.socket) -> None:
        for one in both:
            _close(one)
            self._open.discard(one)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
