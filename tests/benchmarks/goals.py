"""What a row of the table is: a measure and the goals that it has to meet."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.results import Results

FLOOR, FLOOR_2 = "in-request, 1", "in-request, 2"
EMBEDDED, OURS = "embedded", "ours, 2 workers"
GROWN, MANY_RUNS = "ours, a million messages", "ours, 300 runs"
PACED = "ours, 2000 slots"
"""Ours in other circumstances: told of in the column of ours."""

Value = Callable[[Results, str], float | None]


@dataclass(frozen=True)
class Goal:
    """What a value must be: at most or at least so much, in the column of one contender."""

    issue: int
    contender: str
    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{self.contender}: {sign} {self.limit:g} (issue {self.issue})"

    def met(self, value: float) -> bool:
        """Compare a measured value."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Row:
    """A measure, how it is computed for a contender, and what is asked of it."""

    label: str
    value: Value
    goals: tuple[Goal, ...] = ()
    digits: int = 1


def median(measure: str) -> Value:
    """Take the median of a measure."""
    return lambda results, name: results.median(name, measure)


def percentile(measure: str, percent: int) -> Value:
    """Take a percentile of a measure."""
    return lambda results, name: results.quantile(name, measure, percent)


def worst(measure: str) -> Value:
    """Take the largest value of a measure."""
    return lambda results, name: results.worst(name, measure)


def ratio(value: Value, floor: str, floors: Value | None = None) -> Value:
    """Compare a value with the floor's, or with another value of the floor."""

    def compare(results: Results, name: str) -> float | None:
        own, other = value(results, name), (floors or value)(results, floor)
        return own / other if own is not None and other else None

    return compare


def total(measure: str) -> Value:
    """Take the sum of a measure."""
    return lambda results, name: results.total(name, measure)


def of(contender: str, value: Value) -> Value:
    """Take a value of another contender: ours in other circumstances, told in the same column."""
    return lambda results, name: value(results, contender) if name == OURS else None


def growth(before: Value, after: Value) -> Value:
    """Compare two values of one contender."""

    def compare(results: Results, name: str) -> float | None:
        own, grown = before(results, name), after(results, name)
        return grown / own if own and grown is not None else None

    return compare
