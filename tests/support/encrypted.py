"""A blocking socket over TLS of which a test sees the ciphertext, too."""

import ctypes
import socket
import threading
from typing import Any

import pytest

from rport.tls import Tls


class EncryptedSocket:
    """`tls` is between `raw` and whoever uses this; its handshake may be done or not."""

    def __init__(self, raw: socket.socket, tls: Tls) -> None:
        self.raw, self.tls = raw, tls
        self._alone = threading.Lock()  # one thread may send while another receives, but not within the TLS object

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    def __enter__(self) -> "EncryptedSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()

    def shake_hands(self) -> None:
        """Raises EOFError, and TlsFailed."""
        while not self.tls.shake_hands():
            self.raw.sendall(self.tls.drain())
            octets = self.raw.recv(1 << 16)
            if not octets:
                raise EOFError
            self.tls.feed(octets)
        self.raw.sendall(self.tls.drain())

    def encrypted(self, data: bytes) -> bytes:
        """Not sent."""
        with self._alone:
            self.tls.write(data)
            return self.tls.drain()

    def sendall(self, data: bytes) -> None:
        self.raw.sendall(self.encrypted(data))

    def recv(self, size: int, flags: int = 0) -> bytes:
        """BlockingIOError with MSG_DONTWAIT and less than a TLS record."""
        data = b""
        while len(data) < size and not self.tls.ended:
            with self._alone:
                part = self.tls.read(size - len(data))
            data += part
            if part and not flags & socket.MSG_WAITALL:
                break
            if not part and not self.tls.ended:
                octets = self.raw.recv(1 << 20, flags & socket.MSG_DONTWAIT)
                if not octets:
                    break
                with self._alone:
                    self.tls.feed(octets)
        return data


def key_updates(tls: Tls, count: int, *, asking: bool = False) -> bytes:
    """As many changes of keys (RFC 8446, section 4.6.3), not sent; `asking` the peer for a change of its own each.

    Python does not offer it, so its object's `SSL *` goes to the library that Python itself has loaded.
    """
    try:
        libssl = ctypes.CDLL("libssl.so.3")
    except OSError:
        pytest.skip("there is no libssl.so.3")
    connection = ctypes.c_void_p.from_address(id(tls.object._sslobj) + 3 * ctypes.sizeof(ctypes.c_void_p))  # type: ignore[attr-defined]
    for _ in range(count):
        assert libssl.SSL_key_update(connection, int(asking)) == 1
        assert libssl.SSL_do_handshake(connection) == 1
    return tls.drain()
