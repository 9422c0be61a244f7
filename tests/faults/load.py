"""Clients with keys that send prompts and insist on an end, whatever becomes of the service."""

import random
import threading
import time
from collections.abc import Sequence
from uuid import UUID

from tests.faults.client import Client, Sent
from tests.faults.prompts import insert_agent, prompt

END_WITHIN_S = 180.0
_SESSIONS_A_PROJECT = 4


class LoadedClient(threading.Thread):
    """One client: it talks in its own session, and now and then in one that it shares."""

    def __init__(
        self, number: int, urls: Sequence[str], sessions: Sequence[str], *, seed: int, until: float
    ) -> None:
        super().__init__(name=f"client {number}", daemon=True)
        self._random = random.Random(f"client {number} {seed}")
        turned = number % len(urls)
        self.client = Client([*urls[turned:], *urls[:turned]])
        self._own = sessions[number % len(sessions)]
        self._sessions = sessions
        self._until = until
        self.seconds: list[float] = []
        self.unended: list[Sent] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        """Send one prompt after the other until the time is over."""
        try:
            while time.monotonic() < self._until:
                self._ask()
        except BaseException as error:  # noqa: BLE001 -- the main thread raises it
            self.error = error

    def _ask(self) -> None:
        shared = self._random.random() < 0.2
        session = self._random.choice(self._sessions) if shared else self._own
        sent = Sent(session, self._prompt(), key=str(UUID(int=self._random.getrandbits(128))))
        self.client.sent.append(sent)
        began = time.monotonic()
        try:
            self.client.insist(sent, within=END_WITHIN_S)
        except AssertionError:
            self.unended.append(sent)
        self.seconds.append(time.monotonic() - began)

    def _prompt(self) -> str:
        chance = self._random.random()
        delay = f"delay {self._random.uniform(0.1, 2):.2f}"
        if chance < 0.35:
            return prompt()
        if chance < 0.65:
            return prompt(delay)
        if chance < 0.95:
            return prompt(insert_agent(f"agent_{self._random.getrandbits(40):x}"), delay)
        return prompt(self._random.choice(["status 400", "broken times 1", "status 500 times 2"]))


def open_sessions(urls: Sequence[str], count: int) -> list[str]:
    """Make sessions, some of them on the same project, so that changes of code meet."""
    client = Client(urls)
    sessions: list[str] = []
    while len(sessions) < count:
        project = client.project()
        sessions += [client.session(project) for _ in range(_SESSIONS_A_PROJECT)]
    return sessions[:count]
