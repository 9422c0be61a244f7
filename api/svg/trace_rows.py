"""Rows of a message's waterfall: one for each wait, attempt, agent and call."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.store.traces import TracedMessage
from shared.tables import UNFINISHED, Attempt, AttemptOutcome

_SHOWN = {"agent": "agent", "generation": "model", "response": "model", "function": "tool"}
_MOST_ROWS = 200
_LONGEST_DETAIL = 500


@dataclass(frozen=True)
class Bar:
    """A stretch of time; `open`: it has not ended, or its end is unknown."""

    start: float
    end: float
    open: bool = False


@dataclass(frozen=True)
class Row:
    """A line of the picture; `kind` is its class there, `state` may be `failed` or `lost`."""

    kind: str
    name: str
    depth: int
    bars: Sequence[Bar]
    state: str = ""
    note: str = ""
    detail: str = ""


def rows(traced: TracedMessage) -> list[Row]:
    """List the rows, as they began; too many are cut, and the last one says how many."""
    found = [row for attempt in traced.attempts for row in _attempt(attempt, traced.now)]
    waits = list(_waits(traced))
    all_rows = ([Row("wait", "queued", 0, waits)] if waits else []) + found
    if len(all_rows) <= _MOST_ROWS:
        return all_rows
    left = Row("more", f"and {len(all_rows) - _MOST_ROWS} more", 0, ())
    return [*all_rows[:_MOST_ROWS], left]


def _waits(traced: TracedMessage) -> Iterator[Bar]:
    """Find when it waited for a worker: until the first attempt, and after each but the last."""
    message = traced.message
    since: float | None = message.created_at
    for attempt in traced.attempts:
        if since is not None and attempt.started_at > since:
            yield Bar(since, attempt.started_at)
        since = attempt.ended_at
    waiting = not traced.attempts or traced.attempts[-1].outcome == AttemptOutcome.RELEASED
    if waiting and since is not None:
        unfinished = message.status in UNFINISHED
        yield Bar(since, traced.now if unfinished else message.ended_at or since, open=unfinished)


def _attempt(attempt: Attempt, now: float) -> Iterator[Row]:
    end = attempt.ended_at or now
    lost = attempt.outcome == AttemptOutcome.LOST
    failed = attempt.outcome == AttemptOutcome.FAILED
    yield Row(
        "attempt",
        f"attempt {attempt.number}",
        0,
        [Bar(attempt.started_at, end, open=attempt.ended_at is None)],
        state="lost" if lost else "failed" if failed else "",
        note=str((attempt.error or {}).get("code") or attempt.outcome or "running"),
        detail=str((attempt.error or {}).get("detail", "")),
    )
    spans = attempt.spans or []
    depths: dict[str | None, int] = {None: 1}
    for span in spans:
        shown = span["kind"] in _SHOWN
        depth = depths.get(span["parent_id"], 1)
        depths[span["span_id"]] = depth + shown
        if shown:
            yield _span(span, depth, end=end, lost=lost)
    if left_out := sum(span.get("left_out", 0) for span in spans):
        yield Row("more", f"and {left_out} more steps", 1, ())


def _span(span: dict[str, Any], depth: int, *, end: float, lost: bool) -> Row:
    ended: float | None = span["ended_at"]
    error = span.get("error")
    return Row(
        _SHOWN[span["kind"]],
        span["name"],
        depth,
        [Bar(span["started_at"], end if ended is None else ended, open=ended is None)],
        state="failed" if error else "lost" if ended is None and lost else "",
        note=error or _tokens(span.get("usage")),
        detail="\n".join(
            f"{name}: {span[name][:_LONGEST_DETAIL]}"
            for name in ("input", "output")
            if name in span
        ),
    )


def _tokens(usage: dict[str, Any] | None) -> str:
    read, written = ((usage or {}).get(f"{kind}_tokens", 0) for kind in ("input", "output"))
    # of a call whose server does not count, the SDK says zero in the spans around it
    return f"{read:,} → {written:,} tokens" if read or written else ""
