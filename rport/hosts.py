"""Hosts and ports, as users and peers write them and as they are shown. Pure."""

import ipaddress
import re

HOST_MAX = 253  # characters of a domain name, RFC 1035 section 2.3.4
PORT_MAX = 65535

_NUMBER = re.compile(r"-?[0-9]+")
_NO_HOST = set("/\\@?#[]\"'<>|,;")  # none is in a host name; all are in mistyped URLs and lists


def clean_host(host: str) -> str:
    """A host without brackets; IPv6 in its one canonical spelling, an IPv4 address within it as such. ValueError."""
    if not 0 < len(host) <= HOST_MAX:
        raise ValueError(f"a host of {len(host)} characters: 1 to {HOST_MAX} are allowed")
    if not host.isprintable() or " " in host or not _NO_HOST.isdisjoint(host) or _NUMBER.fullmatch(host):
        raise ValueError(f"{host!r} is no host")
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f"{host!r} is no IPv6 address") from None
    return str(address.ipv4_mapped or address)


def read_host(ipv6: str | None, name: str) -> str:
    """As clean_host(), of what stood in brackets, or else without; a name beyond ASCII by its IDNA form. ValueError."""
    if ipv6 is not None:
        if ":" not in ipv6:
            raise ValueError(f"{ipv6!r} is no IPv6 address")
        return clean_host(ipv6)
    try:
        return clean_host(name if name.isascii() else name.encode("idna").decode())
    except UnicodeError:
        raise ValueError(f"{name!r} is no host") from None


def is_port(text: str, lowest: int = 1) -> bool:
    """Plain digits that make a number from `lowest` to PORT_MAX."""
    # The length before int(), which refuses thousands of digits with a text of its own.
    return text.isascii() and text.isdecimal() and len(text) <= 5 and lowest <= int(text) <= PORT_MAX


def read_port(text: str) -> int:
    """Raises ValueError."""
    if not is_port(text):
        raise ValueError(f"the port must be a number from 1 to {PORT_MAX}")
    return int(text)


def host_port(host: str, port: int) -> str:
    """As it is written: an IPv6 address goes into brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The one address that a host to listen on means, however it is spelled. Raises ValueError for a name.

    All that asks where a tunnel listens asks here, so that no two parts of the server ever read one text differently.
    """
    address = ipaddress.ip_address("127.0.0.1" if host.lower() == "localhost" else host)
    return address if address.version == 4 else address.ipv4_mapped or address


def overlap(one: str, other: str) -> bool:
    """Whether two listening addresses meet: a wildcard address meets every address of its family."""
    try:
        a, b = listen_address(one), listen_address(other)
    except ValueError:
        return one == other
    return a == b or (a.version == b.version and (a.is_unspecified or b.is_unspecified))
