"""The child processes that read and check code: their limits, their ends, whose turn it is."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from shared.errors import InvalidWorkflow, RateLimited
from shared.workflow.checker import CodeChecker
from shared.workflow.child import MEMORY
from shared.workflow.model import Report
from tests.services import ROOT, clean_environment
from tests.shared.bombs import BOMBS

JOBS = "tests.shared.jobs:"
TOO_COSTLY = "takes too much memory or time"
AGENT = "from agents import Agent\na = Agent(name='a')\n"


@pytest.fixture
async def checker() -> AsyncIterator[CodeChecker]:
    checker = CodeChecker(places=1, cpu_s=2)
    yield checker
    await checker.aclose()


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110 -- what happens, happens in other processes
        await asyncio.sleep(0.01)


def runs(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_there(path: str) -> bool:
    return Path(path).exists()


async def test_a_child_stays_for_the_next_job(checker: CodeChecker) -> None:
    first, second = [await checker.call(f"{JOBS}pid", owner=owner) for owner in "ab"]
    assert first == second != os.getpid()


async def test_values_pass_as_they_are(checker: CodeChecker) -> None:
    value = {"text": "\ud800\0\n\u2028é🙂", "many": [1, None, 0.5]}
    assert await checker.call(f"{JOBS}echo", owner="a", value=value) == value


async def test_a_job_that_costs_too_much_is_refused_and_the_next_one_is_done() -> None:
    checker = CodeChecker(places=1, cpu_s=1)
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("spin", {}),
        ("allocate", {"size": MEMORY}),
        ("crash", {}),
        ("killed_always", {}),
        ("flood", {"size": 9_000_000}),
    ]
    for job, arguments in jobs:
        with pytest.raises(InvalidWorkflow, match=TOO_COSTLY):
            await checker.call(f"{JOBS}{job}", owner="a", **arguments)
        assert await checker.call(f"{JOBS}echo", owner="a", value=job) == job
    await checker.aclose()


async def test_a_job_that_takes_too_long_by_the_clock_is_refused(tmp_path: Path) -> None:
    checker = CodeChecker(deadline_s=1)
    with pytest.raises(InvalidWorkflow, match=TOO_COSTLY):
        await checker.call(
            f"{JOBS}wait", owner="a", path=str(tmp_path / "pid"), until=str(tmp_path / "never")
        )
    await checker.aclose()
    assert not runs(int((tmp_path / "pid").read_text()))


async def test_limits_of_cpu_time_are_those_of_a_job() -> None:
    checker = CodeChecker(places=1, cpu_s=1)
    pids = [await checker.call(f"{JOBS}burn", owner="a", seconds=0.5) for _ in range(5)]
    assert len(set(pids)) == 1  # of one to two seconds each
    await checker.aclose()


async def test_much_memory_is_given_back_with_its_child(checker: CodeChecker) -> None:
    first = await checker.call(f"{JOBS}pid", owner="a")
    assert await checker.call(f"{JOBS}allocate", owner="a", size=10_000_000) == 10_000_000
    assert await checker.call(f"{JOBS}pid", owner="a") == first
    await checker.call("tests.shared.jobs:hold", owner="a", size=150_000_000)
    assert await checker.call(f"{JOBS}pid", owner="a") != first


async def test_an_error_of_a_job_is_raised_with_its_traceback(checker: CodeChecker) -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'a reason'"):
        await checker.call(f"{JOBS}fail", owner="a")
    with pytest.raises(InvalidWorkflow) as caught:
        await checker.call(f"{JOBS}refuse", owner="a")
    assert (caught.value.detail, caught.value.extra) == (
        "no",
        {"errors": [{"line": 3, "detail": "no"}]},
    )


async def test_a_child_that_somebody_else_ends_is_replaced_and_its_job_done_again(
    checker: CodeChecker, tmp_path: Path
) -> None:
    idle = await checker.call(f"{JOBS}pid", owner="a")
    os.kill(idle, signal.SIGKILL)
    await until(lambda: not runs(idle))
    path = tmp_path / "killed"
    done = await checker.call(f"{JOBS}killed_once", owner="a", path=str(path))
    assert len({idle, int(path.read_text()), done}) == 3


async def test_a_child_knows_nothing_of_its_parent(
    checker: CodeChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    known = await checker.call(f"{JOBS}surroundings", owner="a")
    assert set(known["environment"]) <= {"HOME", "TMPDIR", "LC_CTYPE"}
    assert known["descriptors"] == ["0", "1", "2", "3"]  # the last is that of the listing
    assert known["limits"] == [MEMORY, 4 * MEMORY, 0, 8_000_000, 64]
    assert known["group"]
    assert known["mode"] == 0o700


async def test_closing_ends_the_children_and_leaves_nothing() -> None:
    before = descriptors()
    checker = CodeChecker()
    known = await checker.call(f"{JOBS}surroundings", owner="a")
    pid = await checker.call(f"{JOBS}pid", owner="a")
    await checker.aclose()
    assert not runs(pid)
    assert not is_there(known["folder"])
    assert descriptors() == before
    with pytest.raises(RuntimeError, match="closed"):
        await checker.call(f"{JOBS}pid", owner="a")


def test_it_works_on_both_kinds_of_event_loop() -> None:
    async def use() -> Report:
        checker = CodeChecker()
        assert await checker.call(f"{JOBS}flood", owner="a", size=3_000_000)
        report = await checker.check(AGENT, owner="a")
        await checker.aclose()
        return report

    assert asyncio.run(use()) == uvloop.run(use())


def test_children_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import asyncio
from shared.workflow.checker import CodeChecker
async def main():
    checker = CodeChecker()
    calls = [
        checker.call("{JOBS}mark", owner="a", path="{tmp_path}/idle"),
        checker.call("{JOBS}wait", owner="b", path="{tmp_path}/busy", until="{tmp_path}/end"),
    ]
    await asyncio.gather(*calls)
asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=clean_environment())

    async def check() -> None:
        paths = (tmp_path / "idle", tmp_path / "busy")
        await until(lambda: all(path.exists() and path.read_text() for path in paths))
        pids = [int(path.read_text()) for path in paths]
        assert all(runs(pid) for pid in pids)
        parent.kill()
        await until(lambda: not runs(pids[0]))
        (tmp_path / "end").touch()  # a job that runs ends first
        await until(lambda: not runs(pids[1]))

    try:
        asyncio.run(asyncio.wait_for(check(), 30))
    finally:
        parent.kill()
        parent.wait()


class Queue:
    """A checker with one place, taken until `open`, and jobs that wait for it."""

    def __init__(self, checker: CodeChecker, folder: Path) -> None:
        self.checker = checker
        self.ended: list[str] = []
        self._folder = folder
        self.tasks: list[asyncio.Task[None]] = []

    async def take(self) -> None:
        path, end = self._folder / "pid", self._folder / "end"
        self.send("taken", "wait", path=str(path), until=str(end))
        await until(lambda: path.exists() and path.read_text() != "")

    def send(self, owner: str, job: str = "pid", **arguments: Any) -> None:
        async def do() -> None:
            await self.checker.call(f"{JOBS}{job}", owner=owner, **arguments)
            self.ended.append(owner)

        self.tasks.append(asyncio.create_task(do()))

    async def open(self) -> list[str]:
        (self._folder / "end").touch()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.ended


@pytest.fixture
async def queue(checker: CodeChecker, tmp_path: Path) -> Queue:
    queue = Queue(checker, tmp_path)
    await queue.take()
    return queue


async def test_owners_take_turns_however_much_one_has_waiting(queue: Queue) -> None:
    for owner in ("many",) * 25 + ("few", "few", "one"):
        queue.send(owner)
    await asyncio.sleep(0)
    ended = await queue.open()
    assert ended[:6] == ["taken", "many", "few", "one", "many", "few"]
    assert ended[6:] == ["many"] * 23


async def test_a_job_that_is_given_up_leaves_its_place_to_the_next(queue: Queue) -> None:
    queue.send("a")
    queue.send("b")
    await asyncio.sleep(0)
    queue.tasks[1].cancel()
    assert await queue.open() == ["taken", "b"]


async def test_a_job_that_is_given_up_while_it_runs_ends_with_its_child(
    checker: CodeChecker, tmp_path: Path
) -> None:
    queue = Queue(checker, tmp_path)
    await queue.take()
    queue.send("b")
    queue.tasks[0].cancel()
    await asyncio.gather(*queue.tasks, return_exceptions=True)
    assert queue.ended == ["b"]
    await checker.aclose()
    assert not runs(int((tmp_path / "pid").read_text()))


async def test_an_owner_has_only_so_many_jobs_waiting(tmp_path: Path) -> None:
    queue = Queue(CodeChecker(places=1, most_waiting=2), tmp_path)
    await queue.take()
    for owner in "aaab":
        queue.send(owner)
    await asyncio.sleep(0)
    assert await queue.open() == ["taken", "a", "b", "a"]
    [refused] = [error for task in queue.tasks if (error := task.exception())]
    assert isinstance(refused, RateLimited)
    assert refused.extra == {"retry_after": 5}
    await queue.checker.aclose()


async def test_equal_modules_that_wait_together_are_checked_once(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []
    do = CodeChecker._do

    async def counted(self: CodeChecker, function: str, arguments: dict[str, Any]) -> Any:
        jobs.append(function)
        return await do(self, function, arguments)

    monkeypatch.setattr(CodeChecker, "_do", counted)
    code = AGENT + "# checked once\n"
    reports = [asyncio.create_task(queue.checker.check(code, owner=owner)) for owner in "abc"]
    await asyncio.sleep(0)
    await queue.open()
    first, *others = await asyncio.gather(*reports)
    assert all(other is first for other in others)
    assert jobs == ["shared.workflow.check:check"]
    assert (await queue.checker.read(code, owner="d")).nodes == first.workflow.nodes


async def _ticks(work: Awaitable[Any]) -> tuple[Any, float, int]:
    """Return what came of some work, how long it took and how often the loop came by."""
    loop, count = asyncio.get_running_loop(), 0
    began = loop.time()
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.wait([task], timeout=0.01)
        count += 1
    return await asyncio.gather(task, return_exceptions=True), loop.time() - began, count


KINDS_OF_BOMBS = [
    "brackets",  # the parser's stack
    "power",  # the compiler's
    "constant folding",
    "finally in finally",  # code that doubles
    "names of alternatives in another order",
    "accents",  # of a name
    "text",
    "a text that agents share",  # what we read of it
    "lists of lists",
    "generics",  # the types
    "surrogates",
]


@pytest.mark.services
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(KINDS_OF_BOMBS, id="one of each kind"),
        pytest.param(list(BOMBS), id="all", marks=pytest.mark.nightly),
    ],
)
async def test_hostile_code_ends_as_a_report_or_a_refusal_and_the_loop_goes_on(
    names: list[str],
) -> None:
    checker = CodeChecker(cpu_s=2)
    mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of earlier tests
    jobs = [checker.check(BOMBS[name], owner=name) for name in names]
    [results], took, ticks = await _ticks(asyncio.gather(*jobs, return_exceptions=True))
    await checker.aclose()
    ends = dict(zip(names, results, strict=True))
    assert {
        name: end for name, end in ends.items() if not isinstance(end, Report | InvalidWorkflow)
    } == {}
    assert ticks > took * 10  # of a hundred a second
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - mine < 100_000
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert largest <= max(others, (MEMORY + 50_000_000) // 1024)
    for name in ("accents", "names of alternatives in another order"):
        assert isinstance(ends[name], InvalidWorkflow), name
    for name in ("text", "a text that agents share", "generics"):
        assert isinstance(ends[name], Report), name


BEFORE = AGENT + "print(undefined)\nAgent(name='b', temperature=0)\n"


EDITS: list[tuple[str, str, list[str]]] = [
    (BEFORE, BEFORE + "b = 1\n", []),
    (BEFORE, "\n\n\n" + BEFORE, []),
    (BEFORE, BEFORE.replace("temperature=0", "temperature=1"), []),
    (BEFORE, BEFORE + "print(undefined)\n", ["line 5: `undefined` is not defined"]),
    (BEFORE, BEFORE + "print(other)\n", ["line 5: `other` is not defined"]),
    (BEFORE, BEFORE.replace("undefined", "other"), ["line 3: `other` is not defined"]),
    (AGENT + "x = a\n", "from agents import Agent\nx = a\n", ["line 2: `a` is not defined"]),
    (
        AGENT + "b = Agent(name='b', handoffs=a, tools=[1])\n",
        AGENT + "c = 1\nb = Agent(name='b', handoffs=c, tools=[1])\n",
        ["line 4: `handoffs` must be a list, not `Literal[1]`"],
    ),
    (
        AGENT + "print(late)\nx = 1\nlate = 1\n",
        AGENT + "print(late)\nx = 1\ny = 2\nlate = 1\n",
        [],
    ),
    ("def f(:\n", AGENT + "print(undefined)\n", []),
    (AGENT, AGENT + "import not_here\nb = Agent(name='a')\n", []),
    (AGENT, AGENT + "def f(:\n", ["line 3: invalid syntax"]),
]


async def test_an_edit_is_refused_for_the_problems_that_it_adds(checker: CodeChecker) -> None:
    for before, after, added in EDITS:
        edit = checker.check_edit(before, after, base=before, node_id=None, owner="a")
        if added:
            with pytest.raises(InvalidWorkflow) as caught:
                await edit
            assert caught.value.detail.split("; ") == added, after
        else:
            assert await edit == await checker.check(after, owner="a")


async def test_an_edit_that_leaves_the_scope_of_its_session_is_refused(
    checker: CodeChecker,
) -> None:
    before = AGENT + "b = Agent(name='b')\n"
    after = before.replace("name='b'", "name='c'")
    await checker.check_edit(before, after, base=before, node_id="b", owner="a")
    with pytest.raises(InvalidWorkflow, match="only for the agent `a`: it changes"):
        await checker.check_edit(before, after, base=before, node_id="a", owner="a")


async def test_stored_code_that_does_not_parse_any_more_says_so(checker: CodeChecker) -> None:
    report = await checker.inspect("x = 1\ndef f(:\n", owner="a")
    assert report.workflow.nodes == ()
    assert [(item.line, item.rule, item.severity) for item in report.diagnostics] == [
        (2, "invalid-syntax", "error")
    ]


async def test_without_a_folder_for_temporary_files_a_child_works_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(**_: Any) -> str:
        raise OSError("no space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    checker = CodeChecker()
    report = await checker.check(AGENT + "# without a folder\n", owner="a")
    await checker.aclose()
    assert [node.node_id for node in report.workflow.nodes] == ["a"]
