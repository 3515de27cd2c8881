"""One stream over a long, narrow line between the tunnel's client and server.

The line is a relay that delays and limits (native/longpath.c), because the kernel's emulation needs rights that a
benchmark should not ask for. TCP ends at the relay, so its slow start costs the plain connection nothing; a start-up
of the tunnel's own windows would count against it alone. So the first seconds are left out for all.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.peers import DIRECT, Peer
from tests.bench.peers.base import cpu_of
from tests.bench.setting import Scale, Setting
from tests.bench.targets import PATH_MBIT, ROUND_TRIP_MS
from tests.bench.tools import Iperf
from tests.bench.works.base import Metric, Sample, Work

DOWN = Metric("down_mb_per_second", "to the visitor MB/s", 1)
UP = Metric("up_mb_per_second", "from the visitor MB/s", 1)
CPU = Metric("cpu_seconds", "CPU s", 2, ratio=False)


class LongPath(Work):
    """Each direction in turn; plain TCP over the same line is the base of the comparison."""

    name = "long-path"
    title = f"One stream, {ROUND_TRIP_MS} ms round trip, {PATH_MBIT} Mbit/s"
    metrics = (DOWN, UP, CPU)

    def rounds(self, scale: Scale) -> int:
        return scale.heavy_rounds

    def peers(self, chosen: Sequence[Peer]) -> list[Peer]:
        return [*[peer for peer in super().peers(chosen) if peer is not DIRECT], DIRECT]

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        target, scale = setting.targets.iperf, setting.scale
        rates = {}
        with setting.fresh(peer, [target], setting.long_paths.to) as running, cpu_of(running) as cpu:
            for metric, down in ((DOWN, True), (UP, False)):
                test = Iperf(
                    target, running.ports[target], scale.long_path, streams=1, down=down, skip=scale.long_path_skip
                )
                rates[metric.key] = test.run().gb_per_second * 1000
            return {**rates, CPU.key: cpu()}
