"""A scrape as Prometheus reads it: each sample by its name and labels."""

from dataclasses import dataclass, field

import httpx2
from prometheus_client.parser import text_string_to_metric_families


@dataclass
class Scrape:
    """What one process said of itself at one moment."""

    values: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Return the names of all samples."""
        return {name for name, _ in self.values}

    def get(self, sample: str, **labels: str) -> float:
        """Return a sample; a counter that nothing was counted on yet is 0."""
        return self.values.get((sample, frozenset(labels.items())), 0.0)


def scrape(client: httpx2.Client) -> Scrape:
    """Scrape the process behind a client."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = Scrape()
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            found.values[sample.name, frozenset(sample.labels.items())] = sample.value
    return found
