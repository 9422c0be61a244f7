"""A client as the README asks for: each message has a key, and what is unclear is sent again."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2

_AGAIN_S = 0.1
_UNANSWERED = frozenset({202, 429, 503})


@dataclass(frozen=True)
class Answer:
    """What one POST or the last of several was answered with, and how long it took."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]
    seconds: float

    @property
    def message_id(self) -> str | None:
        return self.body.get("message_id")

    @property
    def final(self) -> bool:
        """Tell whether the message has ended: a reply, or a problem that names the message."""
        return self.status == 200 or (self.status >= 400 and "retryable" in self.body)


@dataclass
class Sent:
    """A prompt under its key, with every answer that came for it."""

    session_id: str
    prompt: str
    key: str = field(default_factory=lambda: uuid4().hex)
    answers: list[Answer] = field(default_factory=list)
    cuts: int = 0
    """How many of its POSTs got no answer at all: refused, or the connection broke."""

    @property
    def message_ids(self) -> set[str]:
        """Return the messages that the key was answered with: never more than one."""
        return {answer.message_id for answer in self.answers if answer.message_id}


class Client:
    """Send prompts to whichever API process answers; `sent` is what it saw of the service."""

    def __init__(self, urls: Sequence[str], *, timeout: float = 90) -> None:
        self.urls = list(urls)
        self.sent: list[Sent] = []
        self._timeout = timeout

    def project(self, *, code: str | None = None) -> str:
        """Make a project and return its id."""
        body = {"name": "faults"} | ({} if code is None else {"code": code})
        project: dict[str, Any] = self._call("POST", "/projects", body).json()
        return str(project["id"])

    def session(self, project_id: str | None = None) -> str:
        """Begin a conversation, on a new project unless one is named, and return its id."""
        place = f"/projects/{project_id or self.project()}/sessions"
        return str(self._call("POST", place, {"new": True}).json()["session_id"])

    def get(self, path: str) -> Any:
        """Read a resource."""
        return self._call("GET", path).json()

    def send(self, session_id: str, prompt: str, *, wait: float = 60) -> Sent:
        """POST a prompt once, on the first API process; `wait=0`: only let it be accepted."""
        sent = self._note(session_id, prompt)
        self.post(sent, self.urls[0], wait=wait)
        return sent

    def ask(self, session_id: str, prompt: str, *, within: float = 60) -> Answer:
        """POST a prompt, and again with its key, until its message has ended."""
        return self.insist(self._note(session_id, prompt), within=within)

    def insist(self, sent: Sent, *, within: float = 60) -> Answer:
        """Send what was sent again with its key, from one API process to the next."""
        began = time.monotonic()
        turn = 0
        while time.monotonic() < began + within:
            answer = self.post(sent, self.urls[turn % len(self.urls)])
            if answer and answer.final:
                return answer
            if answer:
                assert answer.status in _UNANSWERED, answer
            turn += 1
            time.sleep(_AGAIN_S)
        raise AssertionError(f"no end within {within} s: {sent}")

    def asking(self, session_id: str, prompt: str, *, within: float = 60) -> "Future[Answer]":
        """Do `ask` in a thread."""
        return in_background(lambda: self.ask(session_id, prompt, within=within))

    def insisting(self, sent: Sent) -> "Future[Answer]":
        """Do `insist` in a thread."""
        return in_background(lambda: self.insist(sent))

    def posting(self, sent: Sent, url: str) -> "Future[Answer]":
        """Do `post` in a thread; it must be answered."""

        def post() -> Answer:
            answer = self.post(sent, url)
            assert answer is not None, f"no answer to {sent}"
            return answer

        return in_background(post)

    def post(self, sent: Sent, url: str, *, wait: float = 60) -> Answer | None:
        """POST once; None: there was no answer."""
        began = time.monotonic()
        headers = {"Idempotency-Key": sent.key, "Prefer": f"wait={wait:g}"}
        place = f"{url}/sessions/{sent.session_id}/messages"
        try:
            with httpx2.Client(trust_env=False, verify=False, timeout=self._timeout) as http:
                got = http.post(place, json={"prompt": sent.prompt}, headers=headers)
        except httpx2.TransportError:
            sent.cuts += 1
            return None
        seconds = time.monotonic() - began
        answer = Answer(got.status_code, got.json(), dict(got.headers), seconds)
        sent.answers.append(answer)
        return answer

    def _note(self, session_id: str, prompt: str) -> Sent:
        sent = Sent(session_id, prompt)
        self.sent.append(sent)
        return sent

    def _call(self, method: str, path: str, body: object = None) -> httpx2.Response:
        with httpx2.Client(trust_env=False, verify=False, timeout=self._timeout) as http:
            answer = http.request(method, self.urls[0] + path, json=body)
        assert answer.is_success, answer.text
        return answer


def in_background(work: Callable[[], Answer]) -> "Future[Answer]":
    """Do something in a thread that does not outlive the tests."""
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 -- it belongs to whoever reads the result
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
