"""A soak's figures as one table, and as files that are kept."""

import json
from dataclasses import asdict
from typing import Any

from tests.services import ROOT
from tests.soak.memory import Held

_EVIDENCE = ROOT / "validated_test_evidence" / "soak"
_TITLES = {
    "messages": "messages",
    "latency_quiet": "seconds to the answer, in quiet times",
    "latency_harmed": "seconds to the answer, while a fault was felt",
    "sent_again": "sent again by clients",
    "watched": "watched (server-sent events)",
    "recovery": "from a worker's death to its messages' next attempt, seconds",
    "images_mb": "images, MB",
    "logs": "log lines",
}


def table(figures: dict[str, Any]) -> str:
    """Lay out the figures for people."""
    rows = ["| figure | value |", "|---|---|"]
    rows += [f"| {title} | {_told(figures[name])} |" for name, title in _TITLES.items()]
    rows += [f"| {what} | {_told(harm)} |" for what, harm in figures["harm"].items()]
    rows += [f"| memory of {k}, MB | {_memory(held)} |" for k, held in figures["memory_mb"].items()]
    return "\n".join(rows)


def _told(values: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def _memory(held: Held) -> str:
    said = f"early {held.early:g}, at the end {held.end:g}, most {held.most:g}"
    if held.growth:
        grown = held.growth
        said += f"; one process in {grown.minutes:g} min: {grown.first_mb:g} to {grown.last_mb:g}"
    return said


def write(figures: dict[str, Any], command: str) -> None:
    """Keep the figures as evidence."""
    _EVIDENCE.mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=2, default=asdict)
    (_EVIDENCE / "soak.json").write_text(f"{text}\n")
    times = [f"| {h['at_s']} | {h['what']} | {h['seconds']} |" for h in figures["timeline"]]
    done = "\n".join(["| at, s | what was done | well again after, s |", "|---|---|---|", *times])
    intro = f"# The compose deployment under load\n\n`{command}`, on {figures['cores']} cores.\n"
    (_EVIDENCE / "soak.md").write_text(f"{intro}\n{table(figures)}\n\n{done}\n")
