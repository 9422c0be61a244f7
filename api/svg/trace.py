"""A message's trace as an SVG picture: time runs to the right, each step is a bar in its row."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.svg.trace_rows import Bar, Row, rows
from api.svg.workflow import escape
from shared.store.traces import TracedMessage

_LABELS, _CHART, _NOTES, _MARGIN = 232, 560, 248, 20
_WIDTH = _MARGIN + _LABELS + _CHART + _NOTES
_LEFT = _MARGIN + _LABELS
_TOP, _LINE, _BAR = 92, 26, 14
_NARROWEST = 2.0
_CHARACTER, _NARROW_CHARACTER = 6.8, 6.2
_LONG_WAIT = 2
_MINUTE, _HOUR = 60, 3600
_STEPS_S = (*(base * 10.0**power for power in range(-5, 1) for base in (1, 2, 5)), 10, 15, 30)
_STEPS_MIN = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1440)


@dataclass(frozen=True)
class _Axis:
    """The scale of time; ticks count from `zero`, `cut`: the scale begins within a long wait."""

    start: float
    end: float
    zero: float

    @property
    def cut(self) -> bool:
        return self.zero > self.start

    def x(self, time: float) -> float:
        share = (time - self.start) / (self.end - self.start)
        return _LEFT + _CHART * min(max(share, 0), 1)

    def ticks(self) -> Iterator[tuple[float, float]]:
        """Give times with what they are called, in s since `zero`: four to eight of them."""
        steps = (*_STEPS_S, *(_MINUTE * step for step in _STEPS_MIN))
        length = self.end - self.zero
        step = next((step for step in steps if length / step <= 7), length / 5)  # noqa: PLR2004
        for number in range(math.floor(length / step) + 1):
            yield self.zero + number * step, number * step


def draw(traced: TracedMessage) -> str:
    """Draw a message's trace."""
    shown = rows(traced)
    axis = _axis(traced, shown)
    height = _TOP + _LINE * len(shown) + _MARGIN
    headline, summary = _headline(traced), _summary(traced, shown)
    ticks = [_tick(axis.x(at), since, height) for at, since in axis.ticks()]
    parts = [_row(row, number, axis) for number, row in enumerate(shown)]
    return _FRAME.format(
        width=_WIDTH,
        height=height,
        title=escape(headline),
        summary=escape(summary),
        style=_STYLE,
        left=_MARGIN,
        body="\n".join([*ticks, *parts]),
    )


def _axis(traced: TracedMessage, shown: Sequence[Row]) -> _Axis:
    begin = traced.message.created_at
    bars = [bar for row in shown for bar in row.bars]
    end = max([begin, *(bar.end for bar in bars)])
    worked = traced.attempts[0].started_at if traced.attempts else begin
    rest = end - worked
    if traced.attempts and rest > 0 and worked - begin > _LONG_WAIT * rest:
        return _Axis(worked - rest / 5, end, worked)  # else the wait would be the whole picture
    return _Axis(begin, max(end, begin + 1e-4), begin)


def _headline(traced: TracedMessage) -> str:
    message = traced.message
    took = duration((message.ended_at or traced.now) - message.created_at)
    status = str(message.status).replace("_", " ")
    if message.error and message.error["code"] != message.status:
        status += f" ({message.error['code']})"
    return f"{status.capitalize()} {'after' if message.ended_at else 'for'} {took}"


def _summary(traced: TracedMessage, shown: Sequence[Row]) -> str:
    counts = [
        (len(traced.attempts), "attempt"),
        (sum(row.kind == "model" for row in shown), "model call"),
        (sum(row.kind == "tool" for row in shown), "tool call"),
    ]
    said = [f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts]
    usage = traced.message.usage or {}
    if usage.get("total_tokens"):
        said.append(f"{usage['total_tokens']:,} tokens")
    return " · ".join([traced.message.trace_id, *said])


def _tick(x: float, since: float, height: int) -> str:
    return (
        f'<line class="tick" x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{height - _MARGIN}"/>'
        f'<text class="time" x="{x:.1f}" y="{_TOP - 14}" text-anchor="middle">'
        f"{duration(since)}</text>"
    )


def _row(row: Row, number: int, axis: _Axis) -> str:
    y = _TOP + number * _LINE
    indent = _MARGIN + 14 * row.depth
    word = "" if row.kind in {"wait", "attempt", "more"} else row.kind
    room = int((_LEFT - indent - 10) / _CHARACTER) - len(word)
    name = f'<tspan class="word">{word}</tspan> ' if word else ""
    took = duration(sum(bar.end - bar.start for bar in row.bars)) if row.bars else ""
    note = " · ".join(part for part in (took, row.note) if part)
    start = max((axis.x(bar.end) for bar in row.bars), default=0) + 8
    text_y = y + 17
    name += escape(_short(row.name, room))
    note = escape(_short(note, int((_WIDTH - start) / _NARROW_CHARACTER)))
    parts = [
        f'<g class="{row.kind} {row.state}">',
        f"<title>{escape(_tip(row))}</title>",
        f'<rect class="line" x="0" y="{y}" width="{_WIDTH}" height="{_LINE}"/>',
        f'<text class="name" x="{indent}" y="{text_y}">{name}</text>',
        *(_bar(bar, y + (_LINE - _BAR) // 2, axis) for bar in row.bars),
        f'<text class="note" x="{start:.1f}" y="{text_y}">{note}</text>',
    ]
    return "".join(parts) + "</g>"


def _tip(row: Row) -> str:
    return "\n".join(part for part in (row.name, row.note, row.detail) if part)


def _bar(bar: Bar, y: int, axis: _Axis) -> str:
    x = axis.x(bar.start)
    width = max(axis.x(bar.end) - x, _NARROWEST)
    drawn = (
        f'<rect class="bar{" open" if bar.open else ""}" x="{x:.1f}" y="{y}" '
        f'width="{width:.1f}" height="{_BAR}"/>'
    )
    if axis.cut and bar.start < axis.start:  # torn off: it began long before
        edge = " ".join(f"{_LEFT + 6 * (n % 2)} {y + n * _BAR / 4:.1f}" for n in range(5))
        drawn += f'<path class="torn" d="M{_LEFT - 1} {y}L{edge} {_LEFT - 1} {y + _BAR}z"/>'
    return drawn


def duration(seconds: float) -> str:
    """Say how long something took, to three digits or so."""
    if seconds <= 0:
        return "0"
    if seconds < 0.001:  # noqa: PLR2004
        return f"{_digits(seconds * 1e6)} µs"
    if seconds < 1:
        return f"{_digits(seconds * 1000)} ms"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{seconds:.3g} s"
    minutes, left = divmod(whole, _MINUTE)
    if whole < _HOUR:
        return f"{minutes} min {left:02} s" if left else f"{minutes} min"
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"


def _digits(number: float) -> str:
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"  # noqa: PLR2004


def _short(text: str, room: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= room else f"{text[: max(room - 1, 1)]}…"


_FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
width="{width}" height="{height}" role="img" aria-labelledby="title summary">
<title id="title">{title}</title>
<desc id="summary">{summary}</desc>
<style>{style}</style>
<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" \
patternTransform="rotate(45)"><rect class="gap" width="6" height="6"/>\
<rect class="stripe" width="3" height="6"/></pattern></defs>
<rect class="ground" width="{width}" height="{height}" rx="8"/>
<text class="headline" x="{left}" y="32">{title}</text>
<text class="summary" x="{left}" y="52">{summary}</text>
{body}
</svg>
"""

_STYLE = """
text{font:12px system-ui,sans-serif;fill:#1f2328}
.ground{fill:#fff}.line{fill:none}.headline{font-size:16px;font-weight:600}
.summary,.time,.word,.note{fill:#59636e}.time,.note{font-size:11px}.tick{stroke:#d1d9e0}
.attempt .name{font-weight:600}.more .name{fill:#59636e;font-style:italic}
.bar{rx:3;fill:#818b98}.attempt .bar{fill:#57606a}.agent .bar{fill:#8250df}
.model .bar{fill:#0969da}.tool .bar{fill:#1a7f37}.wait .bar{fill:#c8d1da}
.failed .bar{fill:#cf222e}.failed .note{fill:#cf222e}.lost .bar{fill:url(#hatch)}
.lost .note{fill:#bc4c00}.stripe{fill:#bc4c00}.gap{fill:#ffe9dc}.torn{fill:#fff}
.open{stroke-width:1.5;stroke-dasharray:4 3;stroke:#59636e;fill-opacity:.55}
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.ground,.torn{fill:#0d1117}
.summary,.time,.word,.note,.more .name{fill:#9198a1}.tick{stroke:#2f3742}
.attempt .bar{fill:#9198a1}.agent .bar{fill:#ab7df8}.model .bar{fill:#4493f8}
.tool .bar{fill:#3fb950}.wait .bar{fill:#3d444d}.failed .bar{fill:#f85149}
.lost .bar{fill:url(#hatch)}
.failed .note{fill:#f85149}.lost .note{fill:#f0883e}.stripe{fill:#f0883e}.gap{fill:#3d2a1c}
.open{stroke:#9198a1}}
"""
