"""TLS to a proxy, hidden behind a socket: what is written there is encrypted here, and the other way round.

The detour through a second socket costs a copy and a turn of the loop each way, which only those pay who have such a
proxy; nothing else has to know. The two ways wait for each other's readers, so at most CHUNK octets are held for each,
besides what the kernel takes.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence

from rport.errors import ConnectError, UsageError

CHUNK = 1 << 17  # octets that are taken at a time: eight TLS records
CLOSING = 5.0  # seconds that a proxy gets to take the last octets and to end

_relays: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly


async def encrypt(sock: socket.socket, host: str, authorities: str | None) -> socket.socket:
    """Shake hands as a client and verify that the other end is `host`. `sock` is still the caller's when that fails.

    Raises ConnectError, OSError, and UsageError for a file of `authorities` that cannot be used.
    """
    tls = _Tls(sock, context_for(authorities), host)
    try:
        await tls.handshake()
    except ssl.SSLError as error:
        raise ConnectError(_name_failure(error)) from None
    near, far = socket.socketpair()
    for one in (near, far):
        one.setblocking(False)
    task = asyncio.get_running_loop().create_task(_relay(far, tls))
    _relays.add(task)
    task.add_done_callback(_relays.discard)
    return near


def context_for(authorities: str | None) -> ssl.SSLContext:
    """Trusts the system's roots, or those of SSL_CERT_FILE and SSL_CERT_DIR, and `authorities`. Raises UsageError."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # writing never has to wait for reading
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except OSError as error:  # of which SSLError is one
            reason = "no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise UsageError(f"--tls-ca {authorities}: {reason}") from None
    return context


def _name_failure(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not accepted, {error.verify_message.rstrip('.')}; "
            "if it has an authority of its own, name that with --tls-ca or SSL_CERT_FILE"
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE"):
        return "it does not speak TLS: write http:// for it"
    if isinstance(error, ssl.SSLEOFError):
        return "it closed the connection within the TLS handshake"
    return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"


class _Tls:
    """A TLS client on a connected socket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self.sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._sending = asyncio.Lock()  # what one way has begun to send is whole before the other's

    async def handshake(self) -> None:
        """Raises SSLError and OSError."""
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    await self._flush()  # an alert says why
                raise
            else:
                return await self._flush()

    async def read(self) -> bytes:
        """At most CHUNK octets; empty at the end."""
        while True:
            try:
                return self._object.read(CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()  # the answer to a change of keys
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def write(self, data: bytes) -> None:
        self._object.write(data)
        await self._flush()

    async def end(self) -> None:
        """Nothing more is written, nor read; the other end gets what was, and ends."""
        with contextlib.suppress(ssl.SSLError):  # it wants to read the answer
            self._object.unwrap()
        await self._flush()
        self.sock.shutdown(socket.SHUT_WR)
        while await asyncio.get_running_loop().sock_recv(self.sock, CHUNK):
            pass  # closing before it is read would reset what was sent

    async def _flush(self) -> None:
        async with self._sending:
            if data := self._outgoing.read():
                await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def _fill(self) -> None:
        if data := await asyncio.get_running_loop().sock_recv(self.sock, CHUNK):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


async def _relay(sock: socket.socket, tls: _Tls) -> None:
    """Until either end is reached: a session never ends in one direction alone."""
    ways = [asyncio.ensure_future(way) for way in (_outward(sock, tls), _inward(sock, tls))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        await _stop(ways)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSING):
                await tls.end()
    finally:
        await _stop(ways)
        sock.close()
        tls.sock.close()


async def _stop(ways: Sequence[asyncio.Future[None]]) -> None:
    """The loop must let go of the descriptors before they are closed."""
    for way in ways:
        way.cancel()
    await asyncio.gather(*ways, return_exceptions=True)


async def _outward(sock: socket.socket, tls: _Tls) -> None:
    while data := await asyncio.get_running_loop().sock_recv(sock, CHUNK):
        await tls.write(data)


async def _inward(sock: socket.socket, tls: _Tls) -> None:
    while data := await tls.read():
        await asyncio.get_running_loop().sock_sendall(sock, data)
