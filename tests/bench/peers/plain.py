"""Relay pairs without encryption, and no relay at all. The first of a pair plays the server, the second the client."""

from __future__ import annotations

from tests.bench.peers.base import Launch, Peer, Running
from tests.bench.ports import HOST, free_port

_HAPROXY = """\
global
    nbthread 1
    maxconn 4096
    tune.bufsize 65536
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
"""
_HAPROXY_WAY = """\
listen way{listen}
    bind {host}:{listen}
    server next {host}:{connect}
"""


class Direct(Peer):
    """No tunnel: the visitor connects to the target, over the long path where one is emulated."""

    name = "direct"
    label = "plain TCP"

    def start(self, launch: Launch) -> Running:
        ports = launch.running.ports
        ports.update({target: launch.way(target) for target in ports})
        return launch.running


class HAProxy(Peer):
    """visitor -> HAProxy -> HAProxy -> target, one thread and 64 KiB buffers each."""

    name = "haproxy"
    label = "HAProxy x 2"
    programs = ("haproxy",)

    def start(self, launch: Launch) -> Running:
        links = [(visitor, free_port(), target) for visitor, target in launch.tunnels]
        inner = [(link, target) for _, link, target in links]
        launch.client("haproxy", "-db", "-f", launch.write("inner.cfg", _haproxy_config(inner)))
        launch.wait([link for _, link, _ in links])
        outer = [(visitor, launch.way(link)) for visitor, link, _ in links]
        config = launch.write("outer.cfg", _haproxy_config(outer))
        launch.server("haproxy", "-db", "-f", config, listens=outer[-1][0])
        return launch.ready()


def _haproxy_config(ways: list[tuple[int, int]]) -> str:
    return _HAPROXY + "".join(_HAPROXY_WAY.format(host=HOST, listen=a, connect=b) for a, b in ways)


class Socat(Peer):
    """visitor -> socat -> socat -> target, a process for each connection, 256 KiB buffers."""

    name = "socat"
    label = "socat x 2"
    programs = ("socat",)

    def start(self, launch: Launch) -> Running:
        for visitor, target in launch.tunnels:
            link = free_port()
            launch.client(*_socat(link, target))
            launch.wait([link])
            launch.server(*_socat(visitor, launch.way(link)), listens=visitor)
        return launch.ready()


def _socat(listen: int, connect: int) -> list[str]:
    listener = f"TCP-LISTEN:{listen},bind={HOST},fork,reuseaddr,backlog=1024"
    return ["socat", "-b", "262144", listener, f"TCP:{HOST}:{connect}"]
