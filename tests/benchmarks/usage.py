"""What processes use, read from /proc: CPU and memory, their children included (Linux only)."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


def require_proc() -> None:
    """End with a sentence where there is no /proc."""
    if not (_PROC / "self/stat").exists():
        sys.exit("The benchmark reads CPU and memory from /proc, which only Linux has.")


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds that processes and all their descendants have used so far."""
    stats = _stats()
    ticks = sum(sum(map(int, stats[pid][11:15])) for pid in _families(pids, stats) if pid in stats)
    return ticks / _TICKS


def own_cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds that processes themselves have used so far."""
    stats = _stats()
    return sum(sum(map(int, stats[pid][11:13])) for pid in pids) / _TICKS


def rss_mb(pids: Iterable[int]) -> float:
    """Return the resident megabytes of processes and all their descendants."""
    stats = _stats()
    return sum(int(stats[pid][21]) for pid in _families(pids, stats) if pid in stats) * _PAGE_MB


def _stats() -> dict[int, list[str]]:
    """Read every process's stat fields, from the state (field 3 of proc(5)) on."""
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[int(entry.name)] = text.rpartition(")")[2].split()
    return found


def _families(pids: Iterable[int], stats: dict[int, list[str]]) -> set[int]:
    family = set(pids)
    size = 0
    while len(family) > size:
        size = len(family)
        family |= {pid for pid, fields in stats.items() if int(fields[1]) in family}
    return family
