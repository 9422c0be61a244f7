"""The OpenAI stub as a process of its own, started and stopped by a test."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

_ROOT = Path(__file__).resolve().parents[1]
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StubOpenAI:
    """A running stub on a free port; use it in a `with`, `base_url` is for OPENAI_BASE_URL."""

    def __init__(self, *, delay: float = 0, record: int = 1000, address: str = "127.0.0.1") -> None:
        self._address = address
        self._options = ["--host", address, "--delay", str(delay), "--record", str(record)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stub_openai", "--port", "0", *self._options],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdout
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()

    @property
    def base_url(self) -> str:
        """Return what the OpenAI client takes as its base URL."""
        return f"http://{self._address}:{self.port}/v1"

    def stats(self) -> dict[str, int]:
        """Return `calls`, `connections` and `max_concurrent` since the start."""
        counts: dict[str, int] = self._get("/stats")
        return counts

    def requests(self, containing: str = "", *, newest: int = 1000) -> list[dict[str, Any]]:
        """Return the newest calls whose prompt contains a text, oldest first.

        Each has `at`, `path`, `prompt`, `headers`, `body`, and in `sent` the body of a plain
        answer, letter by letter.
        """
        query = urlencode({"containing": containing, "newest": newest})
        calls: list[dict[str, Any]] = self._get(f"/requests?{query}")
        return calls

    def _get(self, path: str) -> Any:
        with _DIRECT.open(f"http://{self._address}:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)
