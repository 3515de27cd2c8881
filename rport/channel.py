"""A connection while the two ends still shake hands: sends and receives octets for asyncio, until a Link takes it over.

Plain here. What stands between the socket and the octets, TLS, is a subclass.
"""

import asyncio
import socket
from typing import TYPE_CHECKING

from rport._pump import Link, Pump
from rport._seal import Seal

if TYPE_CHECKING:
    from rport._pump import Owner


class Channel:
    """Owns `sock`, a connected one, which it makes non-blocking."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    async def recv(self, size: int) -> bytes:
        """What has come, at most `size` octets; empty at the end. Raises OSError. The caller bounds the time."""
        return await asyncio.get_running_loop().sock_recv(self.sock, size)

    async def sendall(self, data: bytes) -> None:
        """Raises OSError. The caller bounds the time."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def close(self) -> None:
        """Idempotent, and without effect once a Link has taken it over."""
        self.sock.close()

    def make_link(self, sealer: Seal, opener: Seal, client: bool, pump: Pump, owner: "Owner") -> Link:
        """Hands the connection over to a new Link; whatever was received belongs to its start()."""
        return Link(sealer, opener, client, pump, self.sock.detach(), owner)
