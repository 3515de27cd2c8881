"""Listening sockets: whatever is in the way is a PortUnavailable that says so."""

import errno
import resource
import socket
from typing import Any

import pytest

from rport.server import ports
from rport.server.errors import PortUnavailable


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_port_is_listened_on(host: str) -> None:
    with ports.listen(host, 0) as sock:
        socket.create_connection(sock.getsockname()[:2], timeout=10).close()


def test_a_port_in_use_is_named() -> None:
    with ports.listen("127.0.0.1", 0) as sock, pytest.raises(PortUnavailable, match="in use by another program"):
        ports.listen("127.0.0.1", sock.getsockname()[1])


@pytest.mark.parametrize("host", ["example.com", "192.0.2.1", "fe80::1%nowhere", "fe80::1%" + "\xe9" * 80])
def test_what_is_no_address_of_the_server_is_refused(host: str) -> None:
    with pytest.raises(PortUnavailable, match="cannot listen on"):
        ports.listen(host, 0)


def test_the_wildcard_address_of_ipv6_is_two_things() -> None:
    """A tunnel's leaves IPv4's to another; the server's own port takes both."""
    with ports.listen("::", 0) as sock, ports.listen("0.0.0.0", sock.getsockname()[1]):
        pass
    with ports.listen("::", 0, dual=True) as sock:
        port = sock.getsockname()[1]
        for host in ("::1", "127.0.0.1"):
            socket.create_connection((host, port), timeout=10).close()
        with pytest.raises(PortUnavailable, match="in use"):
            ports.listen("0.0.0.0", port)


def test_a_server_without_ipv6_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: Any) -> Any:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", without)
    with pytest.raises(PortUnavailable, match="no IPv6"):
        ports.listen("::1", 0)


def test_a_server_without_descriptors_says_so() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(PortUnavailable, match="Too many open files"):
            ports.listen("127.0.0.1", 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
