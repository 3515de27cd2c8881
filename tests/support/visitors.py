"""Connections through tunnels, and whether they still carry."""

import contextlib
import socket

from tests.support.programs import DEADLINE


def visit(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A visitor of a tunnel's port."""
    return socket.create_connection((host, port), timeout=DEADLINE)


def carries(sock: socket.socket, data: bytes = b"hello") -> bool:
    """Whether an echo behind the tunnel gives these octets back; all of them, or the connection has ended."""
    try:
        sock.sendall(data)
        got = b""
        while len(got) < len(data):
            part = sock.recv(len(data) - len(got))
            if not part:
                return False
            got += part
    except ConnectionError:
        return False
    return got == data


def is_reset(sock: socket.socket) -> bool:
    """Waits for the end of a connection; whether it was a reset, no clean end."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


def refused(port: int, host: str = "127.0.0.1") -> bool:
    """Nobody listens there."""
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, port), timeout=DEADLINE):
        return False
    return True
