"""One embedded service for many histories, with a client that survives its restarts."""

from pathlib import Path
from typing import Any

import httpx2

from tests.services import EmbeddedService
from tests.stub_process import StubOpenAI

SESSION_LIMIT = 4
PROJECT_LIMIT = 6


class AppUnderTest:
    """The service, and what is asked of it over HTTP."""

    def __init__(self, directory: Path, stub: StubOpenAI) -> None:
        self.service = EmbeddedService(
            directory,
            {
                "OPENAI_BASE_URL": stub.base_url,
                "VIBECODER_MODEL_RETRIES": "0",
                # a message that hangs is run again after each restart, and never given up
                "VIBECODER_MAX_LOST": "1000",
                "VIBECODER_MODEL_TIMEOUT_S": "3000",
                "VIBECODER_RUN_TIMEOUT_S": "3000",
                "VIBECODER_SESSION_QUEUE_LIMIT": str(SESSION_LIMIT),
                "VIBECODER_PROJECT_QUEUE_LIMIT": str(PROJECT_LIMIT),
            },
        )
        self._http = self._connect()

    def _connect(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.service.url, timeout=30, trust_env=False)

    def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """Ask once; nothing may be answered with the service's own failure."""
        answer = self._http.request(method, path, json=body, headers=headers)
        assert answer.status_code < 500, f"{method} {path}: {answer.text}"
        return answer

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        """Read what must be there."""
        answer = self.call("GET", path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pages(self, path: str, *, limit: int) -> list[Any]:
        """Read a whole list, a page at a time, as its `Link` headers lead."""
        found: list[Any] = []
        next_page: str | None = f"{path}?limit={limit}"
        while next_page:
            answer = self.call("GET", next_page)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            assert len(page) <= limit
            found += page
            next_page = answer.links.get("next", {}).get("url")
        return found

    def restart(self, *, kill: bool) -> None:
        """End the process, with SIGKILL or politely, and start it on what it stored."""
        if kill:
            self.service.kill()
        else:
            self.service.terminate()
        self.service.start()
        self._http.close()
        self._http = self._connect()

    def close(self) -> None:
        """End it for good."""
        self._http.close()
        self.service.kill()
