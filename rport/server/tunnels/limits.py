"""What a tunnel may be limited to while it is open."""

from collections.abc import Sequence
from typing import NamedTuple

from rport._pump import Listener
from rport.server.networks import Network


class Limits(NamedTuple):
    """0 = none. `sources`: where visitors may come from, none = anywhere; rates in octets a second, of all
    connections together, `to_target` and `to_visitor`."""

    sources: tuple[Network, ...] = ()
    connections: int = 0
    to_target: int = 0
    to_visitor: int = 0

    def apply(self, listener: Listener) -> None:
        """Open connections feel it at once; those from elsewhere are cut."""
        listener.set_connection_limit(self.connections)
        listener.set_rates(self.to_target, self.to_visitor)
        listener.set_sources(_packed(self.sources))


UNLIMITED = Limits()


def _packed(networks: Sequence[Network]) -> list[tuple[bytes, int]]:
    return [(network.network_address.packed, network.prefixlen) for network in networks]
