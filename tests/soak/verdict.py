"""What a soak showed: its figures, and each invariant that did not hold."""

import os
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.tables import UNFINISHED, AttemptOutcome, MessageStatus
from tests.faults.invariants import Record, violations
from tests.faults.recoveries import recoveries
from tests.soak.caller import Asked
from tests.soak.harm import Harm, felt
from tests.soak.logs import Logs, unexplained
from tests.soak.memory import Memory


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    minutes: float
    workers: int
    rate: float

    @property
    def early_s(self) -> float:
        """Return when memory is looked at first."""
        return min(300, self.minutes * 20)


@dataclass(frozen=True)
class Soaked:
    """All that was seen of a soak."""

    options: Options
    began: float
    asked: Sequence[Asked]
    harms: Sequence[Harm]
    memory: Memory
    logs: Logs
    images: dict[str, int]
    record: Record

    @property
    def sent_until(self) -> float:
        """Return when the last message was sent for the first time."""
        return max(one.began for one in self.asked)


def wrong(soaked: Soaked) -> list[str]:
    """List what does not hold; an empty list is the proof."""
    record, asked = soaked.record, soaked.asked
    found = violations(record, [one.sent for one in asked])
    found += [f"{one.sent.key} had no end" for one in asked if one.ended is None]
    found += [f"{one.sent.key}: {sentence}" for one in asked for sentence in one.wrong]
    known = {UUID(one.message_id) for one in asked if one.message_id}
    found += [f"nobody asked for {one}" for one in record.messages.keys() - known]
    found += _wrong_histories(record)
    found += [f"a secret was logged: {line}" for line in soaked.logs.secrets()]
    return found


def _wrong_histories(record: Record) -> Iterator[str]:
    """Compare how many items the model says it saw with those that stood before its last one."""
    for session in record.sessions.values():
        items = record.items_of(session.id, session.generation)
        last = {item.message_id: number for number, item in enumerate(items)}
        for message_id, number in last.items():
            message = record.messages[message_id]
            if message.reply != f"echo {number}: {message.content}":
                yield f"message {message_id}, with {number} items before: {message.reply!r}"


def figures(soaked: Soaked, found: Sequence[str]) -> dict[str, Any]:
    """Return all figures, as JSON takes them; times in seconds."""
    record, asked = soaked.record, soaked.asked
    status = Counter(message.status for message in record.messages.values())
    quiet = [one for one in asked if not felt(soaked.harms, one.began, _end(one))]
    harmed = [one for one in asked if felt(soaked.harms, one.began, _end(one))]
    return {
        "minutes": soaked.options.minutes,
        "workers": soaked.options.workers,
        "rate": soaked.options.rate,
        "cores": os.cpu_count(),
        "messages": {
            "asked": len(asked),
            "accepted": len(record.messages),
            "per_s": round(len(asked) / (soaked.sent_until - soaked.began), 1),
            "completed": status[MessageStatus.COMPLETED],
            "failed": status[MessageStatus.FAILED],
            "lost": sum(status[one] for one in UNFINISHED),
            "doubled": _doubled(soaked),
            "violations": len(found),
            "changed_code": sum(m.revision is not None for m in record.messages.values()),
            "sessions": len(record.sessions),
            "projects": len(record.projects),
            "last_answer_after_s": round(max(map(_end, asked)) - soaked.sent_until, 1),
        },
        "latency_quiet": _latency(quiet),
        "latency_harmed": _latency(harmed),
        "sent_again": _sent_again(asked),
        "watched": {
            "streams": sum(one.watched for one in asked),
            "resumed": sum(one.resumed for one in asked),
        },
        "harm": _harm(soaked),
        "recovery": _recovery(soaked),
        "memory_mb": soaked.memory.kinds(soaked.options.early_s),
        "images_mb": soaked.images,
        "logs": _logs(soaked),
        "timeline": [
            {"at_s": round(h.began - soaked.began), "what": h.what, "seconds": round(h.seconds, 1)}
            for h in soaked.harms
        ],
    }


def _end(asked: Asked) -> float:
    return asked.began + asked.seconds


def _doubled(soaked: Soaked) -> int:
    more = sum(len(one.sent.message_ids) > 1 for one in soaked.asked)
    stored = {(m.session_id, m.content) for m in soaked.record.messages.values()}
    return more + len(soaked.record.messages) - len(stored)


def _latency(asked: Sequence[Asked]) -> dict[str, float]:
    seconds = sorted(one.seconds for one in asked)
    if len(seconds) < 2:
        return {"messages": len(seconds)}
    parts = statistics.quantiles(seconds, n=100)
    named = {"p50": parts[49], "p95": parts[94], "p99": parts[98], "max": seconds[-1]}
    return {"messages": len(seconds)} | {name: round(value, 2) for name, value in named.items()}


def _sent_again(asked: Sequence[Asked]) -> dict[str, Any]:
    return {
        "messages": sum(bool(one.again) for one in asked),
        "times": sum(len(one.again) for one in asked),
        "why": dict(Counter(why for one in asked for _, why in one.again).most_common()),
    }


def _harm(soaked: Soaked) -> dict[str, dict[str, Any]]:
    told = {}
    for what in dict.fromkeys(harm.what for harm in soaked.harms):
        same = [harm for harm in soaked.harms if harm.what == what]
        again = [why for one in soaked.asked for at, why in one.again if felt(same, at, at)]
        told[what] = {
            "times": len(same),
            "well_again_median_s": round(statistics.median(harm.seconds for harm in same), 1),
            "well_again_max_s": round(max(harm.seconds for harm in same), 1),
            "sent_again": dict(Counter(again).most_common()),
        }
    return told


def _recovery(soaked: Soaked) -> dict[str, Any]:
    """Say how long killed workers' messages waited for another worker, by the database."""
    killed = {}
    for harm in soaked.harms:
        lives = [w for w in soaked.record.workers.values() if w.host == harm.host]
        earlier = [worker for worker in lives if worker.started_at <= harm.began]
        if earlier:
            killed[max(earlier, key=lambda worker: worker.started_at).id] = harm.began
    seconds = [taken - at for at, taken in recoveries(soaked.record, killed)]
    attempts = Counter(attempt.outcome for attempt in soaked.record.attempts)
    return {
        "attempts_lost": attempts[AttemptOutcome.LOST],
        "measured": len(seconds),
        "p50": round(statistics.median(seconds or [0]), 2),
        "max": round(max(seconds, default=0), 2),
    }


def _logs(soaked: Soaked) -> dict[str, Any]:
    bad = soaked.logs.bad(soaked.began)
    strange = unexplained(bad, soaked.harms)
    return {
        "lines": len(soaked.logs),
        "whole": soaked.logs.whole,
        "warnings": len(bad),
        "unexplained": len(strange),
        "what": dict(Counter(f"{line.service}: {line.gist}" for line in bad).most_common(12)),
        "examples": [f"{line.service}: {line.text[:300]}" for line in strange[:10]],
    }
