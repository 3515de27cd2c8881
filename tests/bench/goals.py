"""What rport must reach, as a ratio to others in the same run or in absolute terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.bench.peers import BASELINE
from tests.bench.results import Results
from tests.bench.works.base import CPU_PER_GB, RATE, Metric
from tests.bench.works.latency import BULK_KEPT, P50, P99
from tests.bench.works.long_path import DOWN, UP
from tests.bench.works.memory import (
    CLIENT_IDLE,
    CLIENT_PEAK,
    CLIENT_START,
    PER_CLIENT,
    RETURN_SECONDS,
    SERVER_PEAK,
)
from tests.bench.works.requests import CPU_PER_REQUEST, PER_SECOND
from tests.bench.works.stuck import KEPT


@dataclass(frozen=True)
class Goal:
    """A work's metric that must be at most or at least `limit`, times `base`'s value where one is named."""

    work: str
    metric: Metric
    sense: Literal["<=", ">="]
    limit: float
    base: str | None = BASELINE

    def actual(self, results: Results) -> float | None:
        if self.base is None:
            return results.median(self.work, "rport", self.metric.key)
        return results.ratio(self.work, "rport", self.metric.key, self.base)

    def reached(self, actual: float) -> bool:
        return actual <= self.limit if self.sense == "<=" else actual >= self.limit

    @property
    def target(self) -> str:
        return f"{self.sense} {self.limit:g}" + (f" x {self.base}" if self.base else "")


GOALS = (
    *(
        goal
        for work in ("bulk-down", "bulk-up")
        for goal in (
            Goal(work, CPU_PER_GB, "<=", 1.0),
            Goal(work, CPU_PER_GB, "<=", 0.7, "ssh"),
            Goal(work, RATE, ">=", 0.95),
        )
    ),
    Goal("streams-100", CPU_PER_GB, "<=", 0.9),
    Goal("streams-100", RATE, ">=", 1.0),
    Goal("requests", PER_SECOND, ">=", 1.3),
    Goal("requests", CPU_PER_REQUEST, "<=", 0.75),
    Goal("connections", PER_SECOND, ">=", 1.1),
    Goal("connections", CPU_PER_REQUEST, "<=", 0.9),
    Goal("latency", P50, "<=", 1.1),
    Goal("latency-loaded", P50, "<=", 500, None),
    Goal("latency-loaded", P99, "<=", 2500, None),
    Goal("latency-loaded", BULK_KEPT, ">=", 0.85, None),
    Goal("stuck", KEPT, ">=", 0.9, None),
    Goal("long-path", DOWN, ">=", 0.95, "direct"),
    Goal("long-path", UP, ">=", 0.95, "direct"),
    Goal("client", CLIENT_IDLE, "<=", 26, None),
    Goal("client", CLIENT_START, "<=", 150, None),
    Goal("memory", SERVER_PEAK, "<=", 40, None),
    Goal("memory", CLIENT_PEAK, "<=", 40, None),
    Goal("swarm", PER_CLIENT, "<=", 16, None),
    Goal("reconnect", RETURN_SECONDS, "<=", 10, None),
)
