"""The one table: a row a measure, a column a contender, and the goals with whether they are met."""

from collections.abc import Sequence

from tests.benchmarks.goals import Row
from tests.benchmarks.measures import rows
from tests.benchmarks.results import Results


def verdicts(results: Results, row: Row) -> list[str]:
    """Say of each goal of a row whether it is met."""
    said = []
    for goal in row.goals:
        value = row.value(results, goal.contender)
        if value is not None:
            said.append(f"{goal} {'met' if goal.met(value) else 'MISSED'}")
    return said


def table(results: Results, names: Sequence[str]) -> str:
    """Lay out the measured rows; a row with several goals goes on below."""
    lines = [["", *names, "goals"]]
    for row in rows():
        values = [row.value(results, name) for name in names]
        if any(value is not None for value in values):
            cells = ["-" if v is None else f"{v:,.{row.digits}f}" for v in values]
            said = verdicts(results, row) or [""]
            lines.append([row.label, *cells, said[0]])
            lines += [["", *("" for _ in names), more] for more in said[1:]]
    widths = [max(len(line[n]) for line in lines) for n in range(len(names) + 1)]
    return "\n".join(_laid_out(line, widths) for line in lines)


def _laid_out(line: list[str], widths: list[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:], strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *cells, line[-1]]).rstrip()
