"""Read and check code in child processes: a few warm ones, shared fairly between owners.

One `CodeChecker` an event loop; the API and the worker use the same one.
"""

import asyncio
import hashlib
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from shared.errors import InvalidWorkflow, RateLimited
from shared.logging import get_logger
from shared.workflow.child import CPU_S, LONGEST_RESULT, TOO_COSTLY
from shared.workflow.model import MORE, Diagnostic, Error, Report, Workflow, invalid

PLACES = 2
"""Jobs at once, and warm children at most."""
DEADLINE_S = 30.0
"""Of one job by the clock. The limits of CPU time strike first, but on a machine that is busy."""
_STAYS = b'{"last": false'
_START_LIMIT_S = 30.0
_END_LIMIT_S = 2.0
_RETRY_AFTER_S = 5
_ROOT = Path(__file__).parents[2]
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from shared.workflow.child import main; main(sys.argv[2], int(sys.argv[3]))"
)
_MOST_REPORTS = 256
_REPORT_BYTES = 4_000_000
_BRIEF_S = 60.0
_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE_NUMBER = re.compile(r"line \d+")
_log = get_logger(__name__)


class CodeChecker:
    """Read and check modules in child processes; owners get their places in turn."""

    def __init__(
        self,
        *,
        places: int = PLACES,
        cpu_s: int = CPU_S,
        deadline_s: float = DEADLINE_S,
        most_waiting: int | None = None,
    ) -> None:
        """Start no child yet; `most_waiting` bounds the jobs that one owner has waiting."""
        self._turns = _Turns(places, most_waiting)
        self._cpu_s = cpu_s
        self._deadline_s = deadline_s
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._ending: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def read(self, code: str, *, owner: str) -> Workflow:
        """Return what a module defines; raise InvalidWorkflow if it does not parse."""
        if known := _REPORTS.get(code):
            return known.workflow
        found = await self.call("shared.workflow.check:read", owner=owner, code=code)
        return Workflow.from_json(found)

    async def check(self, code: str, *, owner: str) -> Report:
        """Return what a module defines and its diagnostics.

        Raises:
            InvalidWorkflow: it does not parse within the bounds.
        """
        if known := _REPORTS.get(code):
            return known
        async with self._turns.of(owner):
            if known := _REPORTS.get(code):  # made while this waited
                return known
            size, found = await self._do("shared.workflow.check:check", {"code": code})
        report = Report(
            Workflow.from_json(found["workflow"]),
            tuple(Diagnostic(**item) for item in found["diagnostics"]),
        )
        if not found["complete"]:
            _log.info("code was checked without its types", owner=owner)
        _REPORTS.keep(code, report, size, lasts=found["complete"])
        return report

    async def inspect(self, code: str, *, owner: str) -> Report:
        """Check a module that is stored already: one that does not parse says so and is empty."""
        try:
            return await self.check(code, owner=owner)
        except InvalidWorkflow as error:
            found = error.extra.get("errors") or [{"line": 1, "detail": error.detail}]
            return Report(
                Workflow(),
                tuple(Diagnostic(item["line"], "invalid-syntax", item["detail"]) for item in found),
            )

    async def check_edit(
        self, before: str, after: str, *, base: str, node_id: str | None, owner: str
    ) -> Report:
        """Check an edit: refuse it for the problems that it adds, accept those that were there.

        With a `node_id` the scope is checked against `base`, the code at the start of the run.

        Raises:
            InvalidWorkflow: the module does not parse, has a problem more, or the edit leaves
                the scope of the node's session.
        """
        report = await self.check(after, owner=owner)
        if any(item.is_error for item in report.diagnostics):
            await self._refuse_added(before, after, report, owner=owner)
        if node_id is not None:
            await self._check_scope(base, after, node_id, owner=owner)
        return report

    async def call(self, function: str, /, *, owner: str, **arguments: Any) -> Any:
        """Call `package.module:function` in a child; arguments and result are JSON.

        Raises:
            InvalidWorkflow: the function did, or it takes too much memory or time.
        """
        async with self._turns.of(owner):
            return (await self._do(function, arguments))[1]

    async def aclose(self) -> None:
        """End the child processes; what they do at this moment is given up."""
        self._closed = True
        while self._idle:
            self._end(self._idle.pop(), at_once=False)
        for child in self._busy:
            child.close(at_once=True)
        while self._ending:
            await asyncio.wait(self._ending)

    async def _refuse_added(self, before: str, after: str, report: Report, *, owner: str) -> None:
        try:
            old = (await self.check(before, owner=owner)).diagnostics
        except InvalidWorkflow:
            return  # of code that did not parse nobody knows which problems were there
        if added := _added(before, old, after, report.diagnostics):
            raise invalid([Error(item.line, item.message) for item in added])

    async def _check_scope(self, base: str, after: str, node_id: str, *, owner: str) -> None:
        violation = await self.call(
            "shared.workflow.scope:scope_violation",
            owner=owner,
            before=base,
            after=after,
            node_id=node_id,
        )
        if violation:
            raise InvalidWorkflow(f"This session is only for the agent `{node_id}`: {violation}.")

    async def _do(self, function: str, arguments: dict[str, Any]) -> tuple[int, Any]:
        """Do a job in a child, twice if the first was ended; return the size and the answer."""
        job = json.dumps({"function": function, "arguments": arguments}).encode() + b"\n"
        try:
            line = await self._answer(job)
        except _Ended:
            try:
                line = await self._answer(job)
            except _Ended:
                raise _too_costly() from None
        answer = json.loads(line)
        match answer:
            case {"result": result}:
                return len(line), result
            case {"invalid": found}:
                raise InvalidWorkflow(**found)
            case _:
                raise RuntimeError(f"A job of a child process failed.\n{answer.get('failed')}")

    async def _answer(self, job: bytes) -> bytes:
        if self._closed:
            raise RuntimeError("The checker is closed.")
        child = self._take()
        self._busy.add(child)
        line = b""
        try:
            await child.open()
            async with asyncio.timeout(self._deadline_s):
                line = await child.ask(job)
        except TimeoutError:
            raise _too_costly() from None
        finally:
            self._busy.discard(child)
            if line.startswith(_STAYS) and not self._closed:
                self._idle.append(child)
            else:
                self._end(child, at_once=not line)
        return line

    def _take(self) -> "_Child":
        while self._idle:
            child = self._idle.pop()
            if child.is_alive():
                return child
            self._end(child, at_once=True)
        return _Child(self._cpu_s)

    def _end(self, child: "_Child", *, at_once: bool) -> None:
        child.close(at_once=at_once)
        ending = asyncio.get_running_loop().run_in_executor(None, child.bury)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class _Ended(Exception):
    """A signal that its job did not cause ended a child."""


def _too_costly() -> InvalidWorkflow:
    return invalid([Error(1, TOO_COSTLY)])


class _Child:
    """A child process with limits, which does one job at a time."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter | None = None

    def __init__(self, cpu_s: int) -> None:
        self._folder = _make_folder()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 -- our own program
                [
                    sys.executable,
                    "-I",
                    "-X",
                    "utf8",
                    "-c",
                    _PROGRAM,
                    str(_ROOT),
                    self._folder,
                    str(cpu_s),
                ],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                cwd=self._folder or "/",
                env={"TMPDIR": self._folder or os.devnull, "HOME": self._folder or os.devnull},
                process_group=0,  # it ends with what it starts; Ctrl-C is for the parent alone
            )

    def is_alive(self) -> bool:
        """Tell whether it runs: memory may be scarce, and an idle child the one to go."""
        return self._process.poll() is None

    async def open(self) -> None:
        """Wait until it is ready, the first time."""
        if self._writer is not None:
            return
        self._reader, self._writer = await asyncio.open_unix_connection(
            sock=self._socket, limit=LONGEST_RESULT + 1000
        )
        async with asyncio.timeout(_START_LIMIT_S):
            if not await self._reader.readline():
                raise RuntimeError("A child process for checking code does not start.")

    async def ask(self, job: bytes) -> bytes:
        """Send a job and return its result.

        Raises:
            InvalidWorkflow: the job has ended the child.
            _Ended: a signal from elsewhere has.
        """
        assert self._writer is not None
        with suppress(ConnectionError):
            self._writer.write(job)
            await self._writer.drain()
            if (line := await self._reader.readline()).endswith(b"\n"):
                return line
        status = await asyncio.to_thread(self._process.wait)
        if status in (0, -signal.SIGKILL, -signal.SIGTERM):
            raise _Ended
        raise _too_costly()

    def close(self, *, at_once: bool) -> None:
        """Let it end, or end it with all that it has started."""
        if at_once:
            self._kill()
        (self._writer or self._socket).close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def bury(self) -> None:
        """Wait for its end, in a thread, and remove what it has left."""
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _make_folder() -> str:
    try:
        return tempfile.mkdtemp(prefix="vibecoder-check-")
    except OSError:  # the type checker will not work; all the rest will
        return ""


class _Turns:
    """Places for jobs. Owners take them in turn, an owner's jobs in their order.

    However many jobs an owner has waiting, another's waits only for those that run already.
    """

    def __init__(self, places: int, most_waiting: int | None) -> None:
        self._free = places
        self._most_waiting = most_waiting
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, owner: str) -> AsyncIterator[None]:
        """Hold a place.

        Raises:
            RateLimited: so many jobs of this owner wait that this one is refused.
        """
        await self._enter(owner)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, owner: str) -> None:
        if self._free:
            self._free -= 1
            return
        waiting = self._waiting.setdefault(owner, deque())
        if len(waiting) == self._most_waiting:
            raise RateLimited(
                f"{len(waiting)} modules of yours wait to be checked. Try again later.",
                retry_after=_RETRY_AFTER_S,
            )
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(owner, turn)
            else:  # it came at the same moment
                self._leave()
            raise

    def _leave(self) -> None:
        if not self._waiting:
            self._free += 1
            return
        owner, waiting = self._waiting.popitem(last=False)
        turn = waiting.popleft()
        if waiting:
            self._waiting[owner] = waiting  # behind all others
        turn.set_result(None)

    def _forget(self, owner: str, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting[owner]
        waiting.remove(turn)
        if not waiting:
            del self._waiting[owner]


class _Reports:
    """The newest reports by the code that they are about, bounded in number and bytes.

    A check takes 0.2 s, an answer from here microseconds. A project is read more often than it
    changes, and an edit is compared with the code before. There is one for the process, for all
    owners: a report says nothing that the code does not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # an embedded worker has an event loop of its own
        self._kept: OrderedDict[bytes, tuple[Report, int, float]] = OrderedDict()
        self._size = 0

    def get(self, code: str) -> Report | None:
        """Return the report, if it is here."""
        with self._lock:
            key = _digest(code)
            report, _, until = self._kept.get(key, (None, 0, 0.0))
            if time.monotonic() > until:
                return None
            self._kept.move_to_end(key)
            return report

    def keep(self, code: str, report: Report, size: int, *, lasts: bool) -> None:
        """Keep a report of so many bytes: for a minute, unless it `lasts`."""
        until = math.inf if lasts else time.monotonic() + _BRIEF_S
        with self._lock:
            key = _digest(code)
            self._size += size - self._kept.pop(key, (None, 0, 0.0))[1]
            self._kept[key] = (report, size, until)
            while len(self._kept) > _MOST_REPORTS or self._size > _REPORT_BYTES:
                self._size -= self._kept.popitem(last=False)[1][1]


_REPORTS = _Reports()


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).digest()


def _added(
    before: str, old: Iterable[Diagnostic], after: str, new: Iterable[Diagnostic]
) -> list[Diagnostic]:
    """Return the errors that an edit adds.

    An error was there if the old code has one of that rule with the same message, or else on a line
    of the same text: messages name types, which an edit elsewhere may change.
    """
    old_errors, new_errors = ([item for item in each if item.is_error] for each in (old, new))
    if any(item.rule == MORE for item in old_errors):
        return []  # of what is not listed nobody knows whether it is new
    old_lines, new_lines = _LINE_END.split(before), _LINE_END.split(after)
    old_left, new_left = _unmatched(old_errors, new_errors, _message, _message)
    _, added = _unmatched(
        old_left,
        new_left,
        lambda item: old_lines[item.line - 1 : item.line],
        lambda item: new_lines[item.line - 1 : item.line],
    )
    return added


def _message(item: Diagnostic) -> str:
    return _LINE_NUMBER.sub("line", item.message)


def _unmatched(
    old: list[Diagnostic],
    new: list[Diagnostic],
    old_key: Callable[[Diagnostic], object],
    new_key: Callable[[Diagnostic], object],
) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """Take away pairs of the same rule and key; return the rest of both."""
    left: dict[str, list[Diagnostic]] = {}
    for item in old:
        left.setdefault(f"{item.rule} {old_key(item)}", []).append(item)
    added = []
    for item in new:
        same = left.get(f"{item.rule} {new_key(item)}")
        if same:
            same.pop()
        else:
            added.append(item)
    return [item for items in left.values() for item in items], added
