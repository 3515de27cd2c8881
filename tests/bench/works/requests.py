"""Small HTTP requests, 64 at a time."""

from __future__ import annotations

from tests.bench.peers import Peer
from tests.bench.peers.base import cpu_of
from tests.bench.setting import Setting
from tests.bench.targets import PAGE_BYTES
from tests.bench.tools import run_wrk
from tests.bench.works.base import Metric, Sample, Work

CONNECTIONS = 64
PER_SECOND = Metric("requests_per_second", "requests/s", 0)
CPU_PER_REQUEST = Metric("cpu_us_per_request", "CPU us/request", 1)


class Requests(Work):
    """On connections that stay open."""

    name = "requests"
    title = f"Kept-alive requests of {PAGE_BYTES} bytes, {CONNECTIONS} connections"
    metrics = (PER_SECOND, CPU_PER_REQUEST)
    _close = False

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        running = setting.shared(peer)
        target = setting.targets.closed_http if self._close else setting.targets.kept_http
        with cpu_of(running) as cpu:
            done = run_wrk(running.ports[target], setting.scale.requests, connections=CONNECTIONS, close=self._close)
            used = cpu()
        return {PER_SECOND.key: done.per_second, CPU_PER_REQUEST.key: used * 1e6 / done.count}


class Connections(Requests):
    """With a new connection for each."""

    name = "connections"
    title = f"A new connection for each request of {PAGE_BYTES} bytes, {CONNECTIONS} at a time"
    _close = True
