"""The tunnels that are measured, each a pair: a server that visitors connect to and a client beside the targets."""

from __future__ import annotations

from tests.bench.peers.base import Launch, Peer, Running
from tests.bench.peers.others import Chisel, Frp, Rathole, Wstunnel
from tests.bench.peers.plain import Direct, HAProxy, Socat
from tests.bench.peers.rport import Rport
from tests.bench.peers.ssh import SshReverse

__all__ = ["BASELINE", "DIRECT", "PEERS", "Launch", "Peer", "Running"]

BASELINE = "haproxy"
DIRECT = Direct()
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (Rport(), HAProxy(), Socat(), SshReverse(), Chisel(), Frp(), Rathole(), Wstunnel(), DIRECT)
}
