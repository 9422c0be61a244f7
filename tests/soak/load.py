"""Messages at a fixed rate, whatever becomes of those before, over sessions that come and go."""

import asyncio
import random
import time
from collections import Counter
from uuid import uuid4

import httpx2

from tests.faults.client import Sent
from tests.faults.prompts import insert_agent, prompt
from tests.soak.caller import Asked, Caller

PROJECTS, SESSIONS = 30, 4
"""Open at once, and of each project: what runs at the same time changes the same code."""
MESSAGES = 20
"""Of a conversation; then another takes its place, so that the work stays the same."""
_CODE, _WATCHED = 0.15, 0.2
_DELAY_S = (0.5, 1.5)
_AGAIN_S = 0.5


class Load:
    """Callers in one event loop; `asked` is all that they know."""

    def __init__(self, http: httpx2.AsyncClient, rate: float) -> None:
        self.asked: list[Asked] = []
        self._http = http
        self._rate = rate
        self._caller = Caller(http)
        self._projects: list[str] = []
        self._sessions: dict[int, str] = {}
        self._used: Counter[int] = Counter()

    async def open(self) -> None:
        """Make the first projects and sessions."""
        for place in range(PROJECTS * SESSIONS):
            await self._renew(place)

    async def run(self, seconds: float) -> None:
        """Send for so long, then wait for every end."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(round(seconds * self._rate)):
                await asyncio.sleep(max(0, began + number / self._rate - time.monotonic()))
                group.create_task(self._one())

    async def _one(self) -> None:
        place = random.randrange(len(self._sessions))
        text = [f"delay {random.uniform(*_DELAY_S):.2f}"]
        if random.random() < _CODE:
            text.append(insert_agent(f"agent_{uuid4().hex[:10]}"))
        asked = Asked(Sent(self._sessions[place], prompt(*text)), random.random() < _WATCHED)
        self.asked.append(asked)
        self._used[place] += 1
        if self._used[place] % MESSAGES == 0:
            await asyncio.gather(self._caller.ask(asked), self._renew(place))
        else:
            await self._caller.ask(asked)

    async def _renew(self, place: int) -> None:
        """Begin another conversation; with the first one of a project, another project too."""
        number = place // SESSIONS
        if place % SESSIONS == 0:
            project = await self._make("/projects", {"name": "soak"}, "id")
            self._projects[number : number + 1] = [project]
        path = f"/projects/{self._projects[number]}/sessions"
        self._sessions[place] = await self._make(path, {"new": True}, "session_id")

    async def _make(self, path: str, body: object, name: str) -> str:
        while True:
            try:
                got = await self._http.post(path, json=body)
                if got.is_success:
                    return str(got.json()[name])
            except httpx2.TransportError:
                pass
            await asyncio.sleep(_AGAIN_S)
