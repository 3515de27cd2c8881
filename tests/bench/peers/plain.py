"""Relay pairs, and no relay at all. The first of a pair plays the server, the second the client."""

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
    bind {host}:{listen} {inward}
    server next {host}:{connect} {outward}
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
        inward, outward = self.encryption(launch)
        launch.client("haproxy", "-db", "-f", launch.write("inner.cfg", _haproxy_config(inner, inward=inward)))
        launch.wait([link for _, link, _ in links])
        outer = [(visitor, launch.way(link)) for visitor, link, _ in links]
        config = launch.write("outer.cfg", _haproxy_config(outer, outward=outward))
        launch.server("haproxy", "-db", "-f", config, listens=outer[-1][0])
        return launch.ready()

    def encryption(self, launch: Launch) -> tuple[str, str]:
        """What `bind` and `server` at the two ends of the link have for it."""
        return "", ""


class HAProxyTls(HAProxy):
    """visitor -> HAProxy -> TLS -> HAProxy -> target: the second ends TLS, the first verifies its certificate."""

    name = "haproxy-tls"
    label = "HAProxy x 2, TLS between"
    programs = ("haproxy", "openssl")
    over = "tls"

    def encryption(self, launch: Launch) -> tuple[str, str]:
        cert, key = launch.certificate()
        both = launch.write("both.pem", cert.read_text() + key.read_text())
        return f"ssl crt {both}", f"ssl verify required ca-file {cert} verifyhost localhost"


def _haproxy_config(ways: list[tuple[int, int]], inward: str = "", outward: str = "") -> str:
    each = [_HAPROXY_WAY.format(host=HOST, listen=a, connect=b, inward=inward, outward=outward) for a, b in ways]
    return _HAPROXY + "".join(each)


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
