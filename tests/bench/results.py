"""Samples of all rounds, and their medians."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field

from tests.bench.works import Sample

Series = dict[str, list[float]]  # a metric's values of all rounds


@dataclass
class Results:
    """Numbers by work, peer and metric; failures by work and peer; what else the reader should know."""

    samples: dict[str, dict[str, Series]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    notes: list[str] = field(default_factory=list)

    def add(self, work: str, peer: str, sample: Sample) -> None:
        series = self.samples.setdefault(work, {}).setdefault(peer, {})
        for key, value in sample.items():
            series.setdefault(key, []).append(value)

    def values(self, work: str, peer: str, metric: str) -> list[float]:
        return self.samples.get(work, {}).get(peer, {}).get(metric, [])

    def median(self, work: str, peer: str, metric: str) -> float | None:
        values = self.values(work, peer, metric)
        return statistics.median(values) if values else None

    def ratio(self, work: str, peer: str, metric: str, base: str) -> float | None:
        """The median over another peer's; the machine's drift from hour to hour cancels out."""
        own, other = self.median(work, peer, metric), self.median(work, base, metric)
        return own / other if own is not None and other else None

    def as_json(self) -> dict[str, object]:
        works = {
            work: {peer: {key: _summary(values) for key, values in series.items()} for peer, series in peers.items()}
            for work, peers in self.samples.items()
        }
        return {"works": works, "failures": dict(self.failures), "notes": self.notes}


def _summary(values: list[float]) -> dict[str, object]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "samples": values}
