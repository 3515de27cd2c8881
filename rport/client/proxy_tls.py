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

from rport.channel import TlsChannel
from rport.errors import ConnectError, LinkLost
from rport.tls import Tls, client_context, load_authorities, words

CHUNK = 1 << 17  # octets that are taken at a time: eight TLS records
CLOSING = 5.0  # seconds that a proxy gets to take the last octets and to end

_relays: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly


async def encrypt(sock: socket.socket, host: str, authorities: str | None) -> socket.socket:
    """Shake hands as a client and verify that the other end is `host`. `sock` is still the caller's when that fails.

    It is trusted by the system's roots, or those of SSL_CERT_FILE and SSL_CERT_DIR, and by `authorities`. Raises
    ConnectError, OSError, and UsageError for a file of `authorities` that cannot be used.
    """
    context = client_context(None, None, None, insecure=False)
    if authorities is not None:
        load_authorities(context, authorities, "--tls-ca")
    channel = TlsChannel(sock, Tls(context, _explain, server=False, name=host), _check_first)
    try:
        await channel.shake_hands()
    except LinkLost as error:
        raise ConnectError(str(error)) from None
    near, far = socket.socketpair()
    for one in (near, far):
        one.setblocking(False)
    task = asyncio.get_running_loop().create_task(_relay(far, channel))
    _relays.add(task)
    task.add_done_callback(_relays.discard)
    return near


def _check_first(wire: bytes) -> None:
    if wire[0] not in (0x15, 0x16):  # an alert, a handshake
        raise ConnectError("it does not speak TLS: write http:// for it")


def _explain(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not accepted, {error.verify_message.rstrip('.')}; "
            "if it has an authority of its own, name that with --tls-ca or SSL_CERT_FILE"
        )
    return f"TLS failed: {words(error.reason or str(error))}"


async def _relay(sock: socket.socket, channel: TlsChannel) -> None:
    """Until either end is reached: a session never ends in one direction alone."""
    ways = [asyncio.ensure_future(way) for way in (_outward(sock, channel), _inward(sock, channel))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        await _stop(ways)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSING):
                await _end(channel)
    finally:
        await _stop(ways)
        sock.close()
        channel.close()


async def _end(channel: TlsChannel) -> None:
    """The proxy gets what was written, and the word that no more comes."""
    channel.tls.end()
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(channel.sock, channel.tls.drain())
    channel.sock.shutdown(socket.SHUT_WR)
    while await loop.sock_recv(channel.sock, CHUNK):
        pass  # closing before that is read would reset what was sent


async def _stop(ways: Sequence[asyncio.Future[None]]) -> None:
    """The loop must let go of the descriptors before they are closed."""
    for way in ways:
        way.cancel()
    await asyncio.gather(*ways, return_exceptions=True)


async def _outward(sock: socket.socket, channel: TlsChannel) -> None:
    while data := await asyncio.get_running_loop().sock_recv(sock, CHUNK):
        await channel.sendall(data)


async def _inward(sock: socket.socket, channel: TlsChannel) -> None:
    while data := await channel.recv(CHUNK):
        await asyncio.get_running_loop().sock_sendall(sock, data)
