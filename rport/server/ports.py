"""Listening sockets for tunnels, and errors that say who or what is in the way."""

import errno
import socket
from typing import Any

from rport.hosts import host_port, listen_address
from rport.server.errors import PortInUse, PortUnavailable

BACKLOG = 1024  # visitors that wait for accept; the kernel caps it at somaxconn


def listen(host: str, port: int, *, dual: bool = False) -> socket.socket:
    """A listening socket; nobody accepts yet. `dual`: on [::] it takes IPv4 as well, as one would expect of a server;
    for tunnels [::] and 0.0.0.0 are two addresses, each with its own holder.

    Raises PortUnavailable with the reason in words.
    """
    where = host_port(host, port)
    try:
        address = listen_address(host)
        str(address).encode("ascii")  # the zone may be anything, which bind() fails on in its own way
    except ValueError:
        raise PortUnavailable(f"cannot listen on {where}: give an address of the server, not a name") from None
    if address.version == 6 and address.scope_id is not None and not address.is_link_local:
        raise PortUnavailable(f"cannot listen on {where}: only a link-local address (fe80::...) has a zone")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise PortUnavailable(f"cannot listen on {where}: {_reason(error, port)}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        sock.bind(_sockaddr(str(address), port))
        sock.listen(BACKLOG)  # two sockets may be bound to one port with SO_REUSEADDR; only one may listen
    except OSError as error:
        sock.close()
        kind = PortInUse if error.errno == errno.EADDRINUSE else PortUnavailable
        raise kind(f"cannot listen on {where}: {_reason(error, port)}") from None
    return sock


def _sockaddr(address: str, port: int) -> tuple[Any, ...]:
    """With the number of its zone, which bind() does not look up. Raises OSError."""
    try:
        return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4]
    except socket.gaierror:
        raise OSError(errno.EADDRNOTAVAIL, "no such zone") from None


def _reason(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use by another program on the server"
    if error.errno == errno.EACCES:
        return f"port {port} needs rights that the server does not run with"
    if error.errno == errno.EADDRNOTAVAIL:
        return "the server has no such address"
    if error.errno == errno.EAFNOSUPPORT:
        return "the server has no IPv6"
    return error.strerror or "unknown error"
