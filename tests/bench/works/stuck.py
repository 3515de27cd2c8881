"""A bulk stream beside connections on which neither end reads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from tests.bench.peers import DIRECT, Peer, Running
from tests.bench.ports import HOST
from tests.bench.setting import Scale, Setting
from tests.bench.tools import Iperf
from tests.bench.works.base import Metric, Sample, Work

ALONE = Metric("alone_gb_per_second", "alone GB/s", 3, ratio=False)
BESIDE = Metric("beside_gb_per_second", "beside GB/s", 3, ratio=False)
KEPT = Metric("rate_kept", "rate kept", 2, ratio=False)
STUCK = 4  # connections, stuck both ways
_FULL = 0.3  # seconds in which a connection takes nothing more
_CHUNK = bytes(65536)


class Stuck(Work):
    """The rate of one stream alone, then with the stuck ones in the same tunnel's client and server."""

    name = "stuck"
    title = f"One stream, target to visitor, beside {STUCK} connections on which nobody reads"
    metrics = (ALONE, BESIDE, KEPT)

    def rounds(self, scale: Scale) -> int:
        return scale.heavy_rounds

    def peers(self, chosen: Sequence[Peer]) -> list[Peer]:
        return [peer for peer in super().peers(chosen) if peer is not DIRECT]

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        target = setting.targets.iperf
        with _deaf_target() as deaf, setting.fresh(peer, [target, deaf]) as running:
            bulk = Iperf(target, running.ports[target], setting.scale.bulk, streams=1, down=True)
            alone = bulk.run().gb_per_second
            with _stuck_visitors(running, deaf):
                beside = bulk.run().gb_per_second
        return {ALONE.key: alone, BESIDE.key: beside, KEPT.key: beside / alone}


@contextmanager
def _deaf_target() -> Iterator[int]:
    """Sends without end to everybody, and reads nothing; its port."""
    with socket.create_server((HOST, 0)) as listener, ExitStack() as open_:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    open_.callback(sock.close)
                    threading.Thread(target=_fill, args=(sock,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def _stuck_visitors(running: Running, deaf: int) -> Iterator[None]:
    """As many as STUCK, each filled as far as it goes."""
    with ExitStack() as open_:
        for _ in range(STUCK):
            sock = open_.enter_context(socket.create_connection((HOST, running.ports[deaf]), timeout=_FULL))
            _fill(sock)
        yield


def _fill(sock: socket.socket) -> None:
    """Send until nothing is taken any more."""
    sock.settimeout(_FULL)
    with suppress(OSError):
        while True:
            sock.sendall(_CHUNK)
