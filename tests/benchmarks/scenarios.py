"""What is measured of one contender: each method is one turn, the caller alternates them."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass

from tests.benchmarks.client import Answer, Connection, talk, talk_at_once
from tests.benchmarks.contenders import Contender
from tests.benchmarks.prompts import LONG_PROMPT, PROMPT, STREAMED_PROMPT, TOOL_PROMPT, slow_prompt
from tests.benchmarks.results import Note, Results
from tests.benchmarks.usage import cpu_s, own_cpu_s, rss_mb

TURNS = 20
"""Messages of a conversation: on average one has ten turns of history, less a half."""
FIRST_TURNS = 10
_MODEL_S = 1.0
_SAMPLE_S = 0.1
TOOL, LONG, STREAMED = "tool ", "long ", "streamed "
_PROMPTS = {"": PROMPT, TOOL: TOOL_PROMPT, LONG: LONG_PROMPT, STREAMED: STREAMED_PROMPT}


@dataclass
class Bench:
    """Measures contenders into `results`; `helpers` are the load generator and the stub.

    `prefix` begins the names of what is measured: the same turn in other circumstances.
    """

    results: Results
    helpers: Sequence[int]
    prefix: str = ""

    async def one_client(self, contender: Contender, *, sessions: int) -> None:
        """One client, a model of 0 ms, conversations of twenty messages."""
        for conversation in await contender.begin(sessions):
            answers = await talk_at_once(
                contender.port, [conversation], prompt=PROMPT, messages=TURNS
            )
            self._keep(contender, answers)
            note = self._note(contender)
            note("latency", [answer.latency * 1e3 for answer in answers])
            for key in ("accepted_to_claimed", "finished_to_reply"):
                note(key, _milliseconds(answers, key))

    async def many_clients(
        self, contender: Contender, *, clients: int, messages: int, kind: str = ""
    ) -> None:
        """Let many clients talk without a pause: throughput, and CPU by process group."""
        conversations = await contender.begin(clients)
        before = {group: cpu_s(contender.pids(group)) for group in contender.groups}
        helpers, began = own_cpu_s(self.helpers), time.perf_counter()
        answers = await talk_at_once(
            contender.port,
            conversations,
            prompt=_PROMPTS[kind],
            messages=messages,
            streamed=kind == STREAMED,
        )
        took = time.perf_counter() - began
        self._keep(contender, answers)
        note, per_message = self._note(contender), 1e3 / len(answers)
        note(f"{kind}throughput", [len(answers) / took])
        note(f"{kind}latency of many", [answer.latency * 1e3 for answer in answers])
        spent = {
            group: (cpu_s(contender.pids(group)) - used) * per_message
            for group, used in before.items()
        }
        for group, used in spent.items():
            note(f"{kind}cpu {group}", [used])
        note(f"{kind}cpu", [sum(spent.values())])
        note("cpu helpers", [(own_cpu_s(self.helpers) - helpers) * per_message])

    async def crowd(self, contender: Contender, *, clients: int) -> None:
        """Let clients arrive at once, each with one message for a model of one second."""
        conversations = await contender.begin(clients)
        began = time.perf_counter()
        answers, grown = await _watching_memory(
            contender,
            talk_at_once(contender.port, conversations, prompt=slow_prompt(_MODEL_S), messages=1),
        )
        took = time.perf_counter() - began
        self._keep(contender, answers)
        note, latencies = self._note(contender), [answer.latency for answer in answers]
        note(f"crowd {clients} longest", [max(latencies)])
        note(f"crowd {clients} added", [statistics.median(latencies) - _MODEL_S])
        note(f"crowd {clients} rate", [len(answers) / took])
        note(f"crowd {clients} pause", [_longest_pause(answers)])
        note(f"crowd {clients} failed", [sum(a.fault is not None for a in answers)])
        note(f"crowd {clients} memory", [grown["API"] * 1e3 / clients])

    async def busy(self, contender: Contender, *, clients: int, messages: int) -> None:
        """Let clients talk without a pause to a model of one second."""
        conversations = await contender.begin(clients)
        began = time.perf_counter()
        answers = await talk_at_once(
            contender.port, conversations, prompt=slow_prompt(_MODEL_S), messages=messages
        )
        took = time.perf_counter() - began
        self._keep(contender, answers)
        note, latencies = self._note(contender), [answer.latency for answer in answers]
        note("busy rate", [len(answers) / took])
        note("busy added", [latency - _MODEL_S for latency in latencies])
        note("busy failed", [sum(a.fault is not None for a in answers)])

    async def paced(self, contender: Contender, *, clients: int, rate: float, pace: str) -> None:
        """Keep so many clients waiting, of whom so many are to be answered a second, evenly.

        Each sends two messages to a model that takes as long as all of them take to arrive. The
        replies to the first count, but for the first quarter: meanwhile everybody waits.
        """
        conversations = await contender.begin(clients)
        prompt, answers = slow_prompt(clients / rate), list[Answer]()
        before = cpu_s(pid for group in contender.groups for pid in contender.pids(group))
        async with asyncio.TaskGroup() as group:
            for number, conversation in enumerate(conversations):
                talking = talk(
                    contender.port, conversation, prompt=prompt, messages=2, answers=answers
                )
                group.create_task(_after(number / rate, talking))
        used = cpu_s(pid for group in contender.groups for pid in contender.pids(group)) - before
        self._keep(contender, answers)
        note, first = self._note(contender), answers[clients // 4 : clients]
        took = first[-1].arrived_at - first[0].arrived_at if first else 0.0
        note(f"paced {pace} rate", [len(first) / took] if took else [])
        note(f"paced {pace} finished_to_reply", _milliseconds(first, "finished_to_reply"))
        note(f"paced {pace} failed", [sum(a.fault is not None for a in answers)])
        note(f"paced {pace} cpu", [used / len(answers) * 1e3])

    async def runs(self, contender: Contender, *, runs: int, model_s: float) -> None:
        """Let the workers run so many messages at once: what does each add to their memory?"""
        conversations = await contender.begin(runs)
        prompt = slow_prompt(model_s)
        answers, grown = await _watching_memory(
            contender, talk_at_once(contender.port, conversations, prompt=prompt, messages=1)
        )
        self._keep(contender, answers)
        # all answered within twice the model's time: all ran when the first of them ended
        if max(answer.latency for answer in answers) < 2 * model_s:
            self._note(contender)("memory of a run", [grown["workers"] * 1e3 / runs])

    async def long_session(self, contender: Contender, *, items: int, messages: int) -> None:
        """Go on with a conversation of so many items; the first message opens it anew."""
        (conversation,) = await contender.begin(1, remembered=items)
        async with Connection(contender.port) as connection:
            answers = [await conversation.send(connection, PROMPT) for _ in range(messages + 1)]
        self._keep(contender, answers)
        latencies = [answer.latency * 1e3 for answer in answers[1:]]
        self._note(contender)(f"latency at {items} items", latencies)

    async def idle(self, contender: Contender, *, seconds: float) -> None:
        """Look at the processes while nothing happens."""
        note = self._note(contender)
        own = [group for group in contender.groups if group not in ("Redis", "PostgreSQL")]
        used = sum(cpu_s(contender.pids(group)) for group in own)
        await asyncio.sleep(seconds)
        used = sum(cpu_s(contender.pids(group)) for group in own) - used
        note("idle cpu", [used / seconds * 100])
        for group in own:
            count = len(contender.pids(group))
            note(f"memory {group} at rest", [rss_mb(contender.pids(group)) / count])

    def _note(self, contender: Contender) -> Note:
        return self.results.of(contender.name, prefix=self.prefix)

    def _keep(self, contender: Contender, answers: Sequence[Answer]) -> None:
        note = self.results.of(contender.name)
        note("messages", [len(answers)])
        self.results.faults += [
            f"{contender.name}: {answer.status} {answer.fault}"
            for answer in answers
            if answer.fault is not None
        ]
        note("faults", [sum(answer.fault is not None for answer in answers)])


async def _after(seconds: float, talking: Coroutine[None, None, None]) -> None:
    await asyncio.sleep(seconds)
    await talking


async def _watching_memory(
    contender: Contender, talking: Coroutine[None, None, list[Answer]]
) -> tuple[list[Answer], dict[str, float]]:
    """Let clients talk; return by how many megabytes each group's processes grew meanwhile."""
    resting = {group: rss_mb(contender.pids(group)) for group in contender.groups}
    highest, task = dict(resting), asyncio.create_task(talking)
    while not task.done():
        await asyncio.wait([task], timeout=_SAMPLE_S)
        for group, megabytes in highest.items():
            highest[group] = max(megabytes, rss_mb(contender.pids(group)))
    return await task, {group: highest[group] - resting[group] for group in highest}


def _milliseconds(answers: Sequence[Answer], name: str) -> list[float]:
    times = [getattr(answer, name) for answer in answers]
    return [seconds * 1e3 for seconds in times if seconds is not None]


def _longest_pause(answers: Sequence[Answer]) -> float:
    """Return the longest time in which somebody waited and nobody was answered."""
    times = sorted(answer.arrived_at for answer in answers)
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)
