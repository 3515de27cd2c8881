"""What a work is to the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tests.bench.peers import BASELINE, Peer
from tests.bench.setting import Scale, Setting

Sample = dict[str, float]  # one round's numbers of one peer, by the metrics' keys


@dataclass(frozen=True)
class Metric:
    """A column: key in the JSON, title with the unit, decimals, whether to show the ratio to the baseline."""

    key: str
    title: str
    digits: int
    ratio: bool = True


RATE = Metric("gb_per_second", "GB/s", 3)
CPU_PER_GB = Metric("cpu_seconds_per_gb", "CPU s/GB", 3)


class Work:
    """Something that a tunnel is asked to do."""

    name: str
    title: str
    metrics: ClassVar[tuple[Metric, ...]]
    baseline: ClassVar[str] = BASELINE  # the peer that ratios are to

    def rounds(self, scale: Scale) -> int:
        return scale.rounds

    def peers(self, chosen: Sequence[Peer]) -> list[Peer]:
        """Whom it concerns, in the order of measuring."""
        return [peer for peer in chosen if not peer.over]

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        """One round. Raises ProgramFailed or OSError when the peer cannot do it."""
        raise NotImplementedError


def only_rport(chosen: Sequence[Peer]) -> list[Peer]:
    """For works that drive rport's own client code."""
    return [peer for peer in chosen if peer.name == "rport"]
