"""Addresses of peers, and the networks that they are in. Pure.

However an address is spelled, it is looked at as what it is: IPv4 that came in over IPv6 (RFC 4291, section 2.5.5.2) is
IPv4, and a zone has no meaning on another machine.
"""

import ipaddress
from collections.abc import Iterable

from rport.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Peer = tuple[str, int]  # an address without brackets, and a port, 0 where nobody told


def parse_network(text: str) -> Network:
    """An address or a network of addresses. Raises UsageError."""
    try:
        return network_of(text)
    except ValueError:
        raise UsageError(f"{text[:80]!r} is no address or network: write it like 10.0.0.0/8{_near(text)}") from None


def network_of(text: str) -> Network:
    """As parse_network(), but raises ValueError with Python's own text."""
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _near(text: str) -> str:
    try:
        return f"; did you mean {ipaddress.ip_network(text, strict=False)}?"
    except ValueError:
        return ""


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether one of them has it. What is no address, as the peer of a Unix socket, is in none."""
    try:
        parsed = ipaddress.ip_address(plain(address))
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def plain(address: str) -> str:
    """The one spelling of an address. Raises ValueError."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
