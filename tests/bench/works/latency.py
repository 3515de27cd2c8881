"""A ping-pong of 64 bytes, alone and beside bulk in the same tunnel."""

from __future__ import annotations

from tests.bench.peers import Peer, Running
from tests.bench.setting import Scale, Setting
from tests.bench.tools import Iperf, Latency, run_ping
from tests.bench.works.base import Metric, Sample, Work

P50 = Metric("p50_us", "p50 us", 0)
P99 = Metric("p99_us", "p99 us", 0)
BULK_ALONE = Metric("bulk_alone_gb_per_second", "bulk alone GB/s", 3, ratio=False)
BULK_BESIDE = Metric("bulk_beside_gb_per_second", "bulk beside GB/s", 3, ratio=False)
BULK_KEPT = Metric("bulk_kept", "bulk kept", 2, ratio=False)
BULK_STREAMS = 2
_RAMP = 0.3  # seconds of bulk before the first ping, and after the last


def _ping(setting: Setting, running: Running, seconds: float) -> Latency:
    return run_ping(setting.pingpong, running.ports[setting.targets.echo], seconds)


class Idle(Work):
    """Nothing else in the tunnel."""

    name = "latency"
    title = "Ping-pong of 64 bytes, otherwise idle"
    metrics = (P50, P99)

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        latency = _ping(setting, setting.shared(peer), setting.scale.ping)
        return {P50.key: latency.p50, P99.key: latency.p99}


class Loaded(Work):
    """The bulk's rate is taken alone, then with the ping-pong beside it."""

    name = "latency-loaded"
    title = f"Ping-pong of 64 bytes beside {BULK_STREAMS} bulk streams to the visitor"
    metrics = (P50, P99, BULK_ALONE, BULK_BESIDE, BULK_KEPT)

    def rounds(self, scale: Scale) -> int:
        return scale.heavy_rounds

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        running = setting.shared(peer)
        target = setting.targets.iperf
        seconds = setting.scale.loaded
        bulk = Iperf(target, running.ports[target], seconds, streams=BULK_STREAMS, down=True)
        alone = bulk.run().gb_per_second
        with bulk.running() as result:
            _ping(setting, running, _RAMP)
            latency = _ping(setting, running, seconds - 2 * _RAMP)
            beside = result().gb_per_second
        return {
            P50.key: latency.p50,
            P99.key: latency.p99,
            BULK_ALONE.key: alone,
            BULK_BESIDE.key: beside,
            BULK_KEPT.key: beside / alone,
        }
