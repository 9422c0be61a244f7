"""The figures of a run: every sample by contender and measure."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Note = Callable[[str, Sequence[float]], None]


@dataclass
class Results:
    """Samples by contender and measure, and what was answered wrongly."""

    samples: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    faults: list[str] = field(default_factory=list)

    def of(self, contender: str, *, prefix: str = "") -> Note:
        """Return what notes samples of one contender, under names that begin so."""
        kept = self.samples[contender]

        def note(measure: str, values: Sequence[float]) -> None:
            kept[prefix + measure].extend(values)

        return note

    def median(self, contender: str, measure: str) -> float | None:
        """Return the median of a measure; None where it was not measured."""
        return self.quantile(contender, measure, 50)

    def quantile(self, contender: str, measure: str, percent: int) -> float | None:
        """Return a percentile of a measure; None where it was not measured."""
        values = self.samples.get(contender, {}).get(measure)
        if not values:
            return None
        if len(values) == 1:
            return values[0]
        if percent == 50:
            return statistics.median(values)
        return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]

    def worst(self, contender: str, measure: str) -> float | None:
        """Return the largest value of a measure."""
        values = self.samples.get(contender, {}).get(measure)
        return max(values) if values else None

    def total(self, contender: str, measure: str) -> float | None:
        """Return the sum of a measure."""
        values = self.samples.get(contender, {}).get(measure)
        return sum(values) if values else None
