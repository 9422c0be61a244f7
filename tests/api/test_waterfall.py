"""The picture of a trace: readable whether it took microseconds or hours, and however it ended."""

import re
import xml.etree.ElementTree as ET
from typing import Any
from uuid import uuid4

import pytest

from api.svg.trace import draw, duration
from shared.store.traces import TracedMessage
from shared.tables import Attempt, Message

SVG = "{http://www.w3.org/2000/svg}"
START = 1_790_000_000.0


def a_message(**values: Any) -> Message:
    known = {"id": uuid4(), "created_at": START, "status": "completed", "trace_id": "trace_1"}
    return Message(**known | values)


def an_attempt(
    start: float, end: float | None, outcome: str | None, *spans: dict[str, Any], number: int = 1
) -> Attempt:
    return Attempt(
        number=number,
        started_at=START + start,
        ended_at=None if end is None else START + end,
        outcome=outcome,
        spans=list(spans),
    )


def a_span(kind: str, start: float, end: float | None, **more: Any) -> dict[str, Any]:
    return {
        "span_id": f"span_{uuid4().hex[:24]}",
        "parent_id": None,
        "kind": kind,
        "name": "x",
        "started_at": START + start,
        "ended_at": None if end is None else START + end,
    } | more


def drawn(message: Message, *attempts: Attempt, now: float = 100) -> ET.Element:
    return ET.fromstring(draw(TracedMessage(message, attempts, START + now)))


def rows(svg: ET.Element, kind: str) -> list[ET.Element]:
    return [group for group in svg.iter(f"{SVG}g") if kind in (group.get("class") or "").split()]


def bars(svg: ET.Element, kind: str) -> list[dict[str, float]]:
    found = [rect for row in rows(svg, kind) for rect in row.iter(f"{SVG}rect")]
    return [
        {name: float(rect.get(name, "0")) for name in ("x", "width")}
        for rect in found
        if "bar" in (rect.get("class") or "").split()
    ]


def words(row: ET.Element) -> str:
    return " ".join("".join(text.itertext()) for text in row.iter(f"{SVG}text"))


def ticks(svg: ET.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text") if text.get("class") == "time"]


@pytest.mark.parametrize("length", [0.0003, 0.02, 3, 47, 200, 5400, 100_000])
def test_an_axis_has_a_handful_of_ticks_however_long_it_is(length: float) -> None:
    message = a_message(ended_at=START + length)
    svg = drawn(message, an_attempt(length / 9, length, "completed"))
    assert 3 <= len(ticks(svg)) <= 9
    assert len(set(ticks(svg))) == len(ticks(svg))
    assert ticks(svg)[0] == "0"


def test_what_took_no_time_can_be_seen() -> None:
    call = a_span("function", 500, 500.0001)
    svg = drawn(a_message(ended_at=START + 1000), an_attempt(1, 1000, "completed", call))
    assert bars(svg, "tool")[0]["width"] >= 2


def test_a_lost_attempt_is_hatched_with_what_it_had_begun() -> None:
    open_call = a_span("generation", 1, None)
    lost = an_attempt(0.5, 6, "lost", open_call)
    then = an_attempt(6, 8, "completed", a_span("generation", 6.1, 7.9), number=2)
    svg = drawn(a_message(ended_at=START + 8), lost, then)
    assert [words(row).split()[0] for row in rows(svg, "lost")] == ["attempt", "model"]
    assert len(rows(svg, "attempt")) == 2
    first, second = bars(svg, "attempt")
    assert first["x"] + first["width"] == pytest.approx(second["x"], abs=0.2)


def test_an_error_is_marked_and_said() -> None:
    call = a_span("generation", 1, 2, error="429 RateLimitError")
    svg = drawn(a_message(ended_at=START + 3), an_attempt(1, 3, "completed", call))
    [row] = rows(svg, "failed")
    assert "429 RateLimitError" in words(row)


def test_a_long_wait_does_not_squeeze_the_run() -> None:
    message = a_message(ended_at=START + 601)
    svg = drawn(message, an_attempt(600, 601, "completed"))
    [run], [wait] = bars(svg, "attempt"), bars(svg, "wait")
    assert run["width"] > 3 * wait["width"]
    assert "10 min" in words(rows(svg, "wait")[0])
    assert [path for path in svg.iter(f"{SVG}path") if path.get("class") == "torn"]


def test_what_is_queued_again_waits_again() -> None:
    released = an_attempt(1, 2, "released")
    svg = drawn(a_message(ended_at=START + 9), released, an_attempt(5, 9, "completed", number=2))
    assert len(bars(svg, "wait")) == 2


def test_what_still_runs_goes_on_until_now() -> None:
    running = an_attempt(1, None, None, a_span("agent", 1, None))
    svg = drawn(a_message(status="in_progress"), running, now=42)
    assert "In progress for 42 s" in ET.tostring(svg, encoding="unicode")
    assert bars(svg, "agent")[0]["width"] == bars(svg, "attempt")[0]["width"]


def test_depth_is_that_of_the_steps_that_are_shown() -> None:
    agent = a_span("agent", 1, 3)
    turn = a_span("turn", 1, 3, parent_id=agent["span_id"])
    call = a_span("generation", 1, 2, parent_id=turn["span_id"])
    svg = drawn(a_message(ended_at=START + 3), an_attempt(1, 3, "completed", agent, turn, call))
    [outer], [inner] = (
        rows(svg, kind)[0].findall(f"{SVG}text[@class='name']") for kind in ("agent", "model")
    )
    assert float(inner.get("x", "0")) - float(outer.get("x", "0")) == 14


def test_a_picture_has_an_end_and_says_what_it_leaves_out() -> None:
    spans = [a_span("function", n, n + 1) for n in range(400)]
    spans[0]["left_out"] = 7
    svg = drawn(a_message(ended_at=START + 400), an_attempt(0.1, 400, "completed", *spans))
    assert len(list(svg.iter(f"{SVG}g"))) == 201
    assert "and 203 more" in words(rows(svg, "more")[-1])


def test_text_from_elsewhere_is_escaped() -> None:
    call = a_span("function", 1, 2, name="<script>&", input="</title>\x00", output="]]>")
    text = draw(
        TracedMessage(
            a_message(ended_at=START + 3), [an_attempt(1, 3, "completed", call)], START + 9
        )
    )
    assert "<script>" not in text
    ET.fromstring(text)


def test_a_picture_is_light_or_dark_and_says_what_it_is() -> None:
    svg = drawn(a_message(ended_at=START + 3), an_attempt(1, 3, "completed"))
    style = svg.find(f"{SVG}style")
    assert style is not None
    assert "prefers-color-scheme:dark" in (style.text or "")
    assert svg.get("role") == "img"
    named = (svg.get("aria-labelledby") or "").split()
    assert {element.get("id") for element in svg if element.get("id") in named} == set(named)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0"),
        (0.0000901, "90.1 µs"),
        (0.0213, "21.3 ms"),
        (3.28, "3.28 s"),
        (0.9999, "1000 ms"),
        (59.4, "59.4 s"),
        (59.9, "1 min"),
        (60, "1 min"),
        (203, "3 min 23 s"),
        (3599.9, "1 h"),
        (5400, "1 h 30 min"),
    ],
)
def test_a_duration_is_short_and_readable(seconds: float, said: str) -> None:
    assert duration(seconds) == said
    assert re.fullmatch(r"0|[\d.]+ (µs|ms|s|h)|\d+ min( \d\d s)?|\d+ h \d\d min", said)
