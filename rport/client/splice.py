"""TLS to a proxy, hidden behind a socket: what is written there is encrypted here, and the other way round.

The detour through a second socket costs a copy and a turn of the loop each way, which only those pay who have such a
proxy; nothing else has to know. At most BUFFER octets wait each way here, and what the kernel takes.
"""

import asyncio
import contextlib
import socket
import ssl

from rport.errors import ConnectError, UsageError

BUFFER = 1 << 18  # octets: a whole record, give or take
CLOSING = 5.0  # seconds that a proxy gets to take the last octets

_relays: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly


async def encrypt(sock: socket.socket, host: str, authorities: str | None) -> socket.socket:
    """Shake hands as a client and verify that the other end is `host`. Takes `sock`, whatever happens.

    Raises ConnectError, OSError, and UsageError for a file of `authorities` that cannot be used.
    """
    try:
        context = _context(authorities)
        reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host, limit=BUFFER // 2)
    except BaseException as error:
        sock.close()
        if isinstance(error, ssl.SSLError):
            raise ConnectError(_name_failure(error)) from None
        if isinstance(error, ConnectionError):  # the loops have no errno, nor a text that helps
            raise ConnectError("it closed the connection within the TLS handshake: is it an https:// proxy?") from None
        raise
    near, far = socket.socketpair()
    for one in (near, far):
        one.setblocking(False)
    task = asyncio.get_running_loop().create_task(_relay(far, reader, writer))
    _relays.add(task)
    task.add_done_callback(_relays.discard)
    return near


def _context(authorities: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()  # the system's roots, or those of SSL_CERT_FILE and SSL_CERT_DIR
    context.minimum_version = ssl.TLSVersion.TLSv1_2
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
    return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"


async def _relay(sock: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either end is reached. TLS has no half that ends by itself here: what ends one way ends both."""
    writer.transport.set_write_buffer_limits(BUFFER)
    ways = [asyncio.ensure_future(way) for way in (_outward(sock, writer), _inward(sock, reader))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        try:
            await _close(writer)
        finally:
            sock.close()


async def _outward(sock: socket.socket, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, BUFFER // 2):
        writer.write(data)
        await writer.drain()


async def _inward(sock: socket.socket, reader: asyncio.StreamReader) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(BUFFER // 2):
        await loop.sock_sendall(sock, data)


async def _close(writer: asyncio.StreamWriter) -> None:
    """What was written is sent before, but a peer that takes nothing any more is not waited for longer than CLOSING."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSING):
            await writer.wait_closed()
    writer.transport.abort()
