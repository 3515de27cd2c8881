"""The tunnels that are measured, each a pair: a server that visitors connect to and a client beside the targets."""

from __future__ import annotations

from tests.bench.peers.base import Launch, Peer, Running
from tests.bench.peers.others import Chisel, Frp, Rathole, Wstunnel
from tests.bench.peers.plain import Direct, HAProxy, HAProxyTls, Socat
from tests.bench.peers.rport import Rport, RportNginx, RportTls
from tests.bench.peers.ssh import SshReverse

__all__ = ["BASELINE", "BASELINE_TLS", "DIRECT", "PEERS", "Launch", "Peer", "Running"]

BASELINE = "haproxy"
BASELINE_TLS = "haproxy-tls"
DIRECT = Direct()
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        *(Rport(), HAProxy(), Socat(), SshReverse(), Chisel(), Frp(), Rathole(), Wstunnel(), DIRECT),
        *(RportTls(), HAProxyTls(), RportNginx()),
    )
}
