"""Resident memory, and what many clients cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from tests.bench import procfs
from tests.bench.peers import DIRECT, Peer, Running
from tests.bench.peers.rport import Rport
from tests.bench.ports import free_port
from tests.bench.setting import Scale, Setting
from tests.bench.swarmctl import SwarmControl
from tests.bench.tools import Iperf, wait_echo
from tests.bench.works.base import Metric, Sample, Work, only_rport

SERVER_IDLE = Metric("server_idle_mib", "server idle MiB", 1, ratio=False)
CLIENT_IDLE = Metric("client_idle_mib", "idle MiB", 1, ratio=False)
CLIENT_START = Metric("client_start_cpu_ms", "CPU ms from start to first byte", 0, ratio=False)
SERVER_PEAK = Metric("server_peak_above_idle_mib", "server peak above idle MiB", 1, ratio=False)
CLIENT_PEAK = Metric("client_peak_above_idle_mib", "client peak above idle MiB", 1, ratio=False)
PER_CLIENT = Metric("server_kib_per_client", "server KiB/client", 1, ratio=False)
CONNECT_SECONDS = Metric("connect_seconds", "all connected s", 2, ratio=False)
RETURN_SECONDS = Metric("return_seconds", "all back s", 2, ratio=False)
STREAMS = 20
_SAMPLE_EVERY = 0.1  # seconds; relays that fork take their peak with them when they end
_SETTLE = 0.5  # seconds for a started program to come to rest


class Client(Work):
    """What a machine behind the firewall pays: the processor until a first byte came through a tunnel, then memory."""

    name = "client"
    title = "One client with one tunnel: its start, then idle"
    metrics = (CLIENT_START, CLIENT_IDLE)

    def rounds(self, scale: Scale) -> int:
        return scale.heavy_rounds

    def peers(self, chosen: Sequence[Peer]) -> list[Peer]:
        return [peer for peer in super().peers(chosen) if peer is not DIRECT]

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        target = setting.targets.echo
        with setting.fresh(peer, [target]) as running:
            wait_echo(setting.pingpong, running.ports[target], running.check)
            start = procfs.cpu_seconds(running.client_pids)
            time.sleep(_SETTLE)
            return {CLIENT_START.key: start * 1000, CLIENT_IDLE.key: procfs.resident_mib(running.client_pids)}


class Memory(Work):
    """Idle, then the peak while bulk streams run each way; both of all processes of a side."""

    name = "memory"
    title = f"Resident memory: idle with one tunnel, and the peak with {STREAMS} bulk streams each way in turn"
    metrics = (SERVER_IDLE, SERVER_PEAK, CLIENT_PEAK)

    def rounds(self, scale: Scale) -> int:
        return scale.heavy_rounds

    def peers(self, chosen: Sequence[Peer]) -> list[Peer]:
        return [peer for peer in super().peers(chosen) if peer is not DIRECT]

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        target = setting.targets.iperf
        with setting.fresh(peer, [target]) as running:
            time.sleep(_SETTLE)
            idle = _resident(running)
            with _Peaks(running) as peaks:
                for down in (True, False):
                    Iperf(target, running.ports[target], setting.scale.bulk, streams=STREAMS, down=down).run()
            return {
                SERVER_IDLE.key: idle[0],
                SERVER_PEAK.key: peaks.server - idle[0],
                CLIENT_PEAK.key: peaks.client - idle[1],
            }


def _resident(running: Running) -> tuple[float, float]:
    return procfs.resident_mib(running.server_pids), procfs.resident_mib(running.client_pids)


class _Peaks:
    """Watches both sides from a thread for the highest sum of their processes' peaks."""

    def __init__(self, running: Running) -> None:
        self._pids = (running.server_pids, running.client_pids)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.server = self.client = 0.0

    def _watch(self) -> None:
        while True:
            ended = self._done.wait(_SAMPLE_EVERY)
            self.server = max(self.server, procfs.peak_mib(self._pids[0]))
            self.client = max(self.client, procfs.peak_mib(self._pids[1]))
            if ended:
                return

    def __enter__(self) -> _Peaks:
        for pids in self._pids:
            procfs.reset_peak(pids)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


class Swarm(Work):
    """What an idle client with one tunnel costs the server beyond the first hundred."""

    name = "swarm"
    title = "Idle clients with one tunnel each"
    metrics = (PER_CLIENT, CONNECT_SECONDS)

    def rounds(self, scale: Scale) -> int:
        return 1

    def peers(self, chosen: Sequence[Peer]) -> list[Peer]:
        return only_rport(chosen)

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        scale, port = setting.scale, free_port()
        with ExitStack() as own:
            launch = setting.launch(own)
            Rport().start_server(launch, port)
            before = self._add(own, launch.running, port, scale.swarm_base)
            started = time.monotonic()
            after = self._add(own, launch.running, port, scale.swarm_more)
            connected = time.monotonic() - started - _SETTLE
        return {PER_CLIENT.key: (after - before) * 1024 / scale.swarm_more, CONNECT_SECONDS.key: connected}

    @staticmethod
    def _add(own: ExitStack, running: Running, port: int, count: int) -> float:
        swarm = SwarmControl(port, count)
        own.callback(swarm.stop)
        swarm.wait_up()
        time.sleep(_SETTLE)
        running.check()
        return procfs.resident_mib(running.server_pids)


class Reconnect(Work):
    """The server is killed and started again; the time from its being up to all clients being back."""

    name = "reconnect"
    title = "Clients that reconnect at once after a restart of the server"
    metrics = (CONNECT_SECONDS, RETURN_SECONDS)

    def rounds(self, scale: Scale) -> int:
        return 1

    def peers(self, chosen: Sequence[Peer]) -> list[Peer]:
        return only_rport(chosen)

    def measure(self, setting: Setting, peer: Peer) -> Sample:
        port = free_port()
        with ExitStack() as own:
            launch = setting.launch(own)
            Rport().start_server(launch, port)
            started = time.monotonic()
            swarm = SwarmControl(port, setting.scale.swarm_return)
            own.callback(swarm.stop)
            swarm.wait_up()
            connected = time.monotonic() - started
            launch.running.server.pop().kill()
            swarm.wait_down()
            Rport().start_server(launch, port)
            started = time.monotonic()
            swarm.wait_up()
            return {CONNECT_SECONDS.key: connected, RETURN_SECONDS.key: time.monotonic() - started}
