"""A connection while the two ends still shake hands: sends and receives octets for asyncio, until a Link takes it over.

Plain here. What stands between the socket and the octets, TLS, is a subclass.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from rport._pump import Link, Pump
from rport._seal import Seal
from rport.errors import LinkLost
from rport.websocket import MessageReader

if TYPE_CHECKING:
    from rport._pump import Owner
    from rport.tls import Tls  # few have it

WIRE = 65536  # octets of ciphertext at a time


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

    def send_now(self, data: bytes) -> bool:
        """Whether the kernel has taken all of it at once: else the connection is of no more use."""
        try:
            return self.sock.send(data) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Idempotent, and without effect once a Link has taken it over."""
        self.sock.close()

    def make_link(self, sealer: Seal, opener: Seal, client: bool, pump: Pump, owner: "Owner") -> Link:
        """Hands the connection over to a new Link; whatever was received belongs to its start()."""
        return Link(sealer, opener, client, pump, self.sock.detach(), owner)


class TlsChannel(Channel):
    """`tls` is between the socket and the octets. `check` is shown the first ciphertext, and may raise."""

    def __init__(self, sock: socket.socket, tls: "Tls", check: Callable[[bytes], None] | None = None) -> None:
        super().__init__(sock)
        self.tls = tls
        self._check = check

    async def shake_hands(self) -> None:
        """Raises LinkLost and OSError. The caller bounds the time."""
        while not await self._step():
            if not await self._refill():
                raise LinkLost("the connection was closed during the TLS handshake")

    async def _step(self) -> bool:
        try:
            done = self.tls.shake_hands()
        except LinkLost:
            with contextlib.suppress(OSError):
                await self._flush()  # tells the peer why
            raise
        await self._flush()
        return done

    async def recv(self, size: int) -> bytes:
        """Raises LinkLost, too."""
        while not (data := self.tls.read(size)) and not self.tls.ended:
            if not await self._refill():
                return b""
        return data

    async def sendall(self, data: bytes) -> None:
        """Raises LinkLost, too."""
        self.tls.write(data)
        await self._flush()

    def send_now(self, data: bytes) -> bool:
        self.tls.write(data)
        return super().send_now(self.tls.drain())

    async def _refill(self) -> bool:
        wire = await super().recv(WIRE)
        if self._check is not None and wire:
            self._check(wire)
            self._check = None
        self.tls.feed(wire)
        return bool(wire)

    async def _flush(self) -> None:
        wire = self.tls.drain()
        try:
            await super().sendall(wire)
        except OSError:
            with contextlib.suppress(OSError):
                if await self._refill():
                    self.tls.read()  # it may have said why before it went
            raise

    def make_link(self, sealer: Seal, opener: Seal, client: bool, pump: Pump, owner: "Owner") -> Link:
        from rport._tls import TlsLink  # here: few have TLS

        tls = self.tls
        return TlsLink(sealer, opener, client, pump, self.sock.detach(), owner, tls.object, tls.incoming, tls.outgoing)


async def read_message(channel: Channel, reader: MessageReader) -> bytes:
    """The next handshake message. Raises LinkLost at the end of the stream; the caller bounds the time."""
    while (message := reader.next()) is None:
        try:
            data = await channel.recv(4096)
        except OSError as error:
            raise LinkLost(f"the connection broke: {error.strerror}") from error
        if not data:
            raise LinkLost("the connection was closed during the handshake")
        reader.feed(data)
    return message
