"""As many bytes as pass, over one stream or a hundred."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.peers import BASELINE_TLS, Peer
from tests.bench.peers.base import cpu_of
from tests.bench.setting import Setting
from tests.bench.tools import GB, Iperf
from tests.bench.works.base import CPU_PER_GB, RATE, Sample, Work


class Bulk(Work):
    """iperf3; `down` is from the target to the visitor."""

    metrics = (RATE, CPU_PER_GB)

    def __init__(self, name: str, title: str, *, streams: int, down: bool) -> None:
        self.name = name
        self.title = title
        self._streams = streams
        self._down = down

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        running = setting.shared(peer)
        target = setting.targets.iperf
        test = Iperf(target, running.ports[target], setting.scale.bulk, streams=self._streams, down=self._down)
        with cpu_of(running) as cpu:
            transfer = test.run()
            used = cpu()
        return {RATE.key: transfer.gb_per_second, CPU_PER_GB.key: used / (transfer.bytes / GB)}


class BulkTls(Bulk):
    """The same where the link is TLS."""

    baseline = BASELINE_TLS

    def peers(self, chosen: Sequence[Peer]) -> list[Peer]:
        return [peer for peer in chosen if peer.over == "tls"]


class BulkNginx(Bulk):
    """The same with nginx before the server, beside rport without it."""

    baseline = "rport"

    def peers(self, chosen: Sequence[Peer]) -> list[Peer]:
        return [peer for peer in chosen if peer.over == "nginx" or peer.name == self.baseline]
