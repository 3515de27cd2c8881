"""From a server address to an encrypted session's socket: TCP, WebSocket upgrade, Noise handshake."""

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from rport.errors import ConnectError, LinkLost, ProtocolError, UsageError
from rport.handshake import MESSAGE_MAX, HandshakeResult, Initiator
from rport.link import read_message
from rport.websocket import MessageReader, UpgradeResponse, encode_message, new_key, upgrade_request

CONNECT_TIMEOUT = 10.0  # seconds from the first SYN to the end of the handshake, names included


@dataclass(frozen=True)
class Address:
    """Where the server is, as the user wrote it."""

    host: str
    port: int
    path: str

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"ws://{self.netloc}"


def parse_address(text: str) -> Address:
    """`[SCHEME://]HOST[:PORT][/PATH]`. Raises UsageError naming what is wrong."""
    url = urlsplit(text if "://" in text else f"http://{text}")
    if url.scheme in ("https", "wss"):
        raise UsageError(f"server {text!r}: TLS is not there yet; the tunnel is encrypted without it, use http://")
    if url.scheme not in ("http", "ws"):
        raise UsageError(f"server {text!r}: the scheme must be http or ws")
    try:
        port = 80 if url.port is None else url.port
    except ValueError:
        port = 0
    if not url.hostname or not port:
        raise UsageError(f"server {text!r}: give HOST[:PORT] with a port from 1 to 65535, such as example.com:8080")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise UsageError(f"server {text!r}: the path must be plain ASCII")
    return Address(url.hostname, port, path)


@dataclass(frozen=True)
class Dialled:
    """A connected socket, the session's keys, and what had come behind the handshake."""

    sock: socket.socket
    keys: HandshakeResult
    early: bytes


async def dial(address: Address, ciphers: list[str]) -> Dialled:
    """Connect and shake hands within CONNECT_TIMEOUT. Raises ConnectError, HandshakeError."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            sock = await _connect(address)
            try:
                return await _handshake(sock, address, ciphers)
            except BaseException:
                sock.close()
                raise
    except TimeoutError:
        raise ConnectError(f"{address.netloc} did not answer within {CONNECT_TIMEOUT:g} s") from None
    except (LinkLost, ProtocolError) as error:
        raise ConnectError(f"{address.netloc}: {error}") from None


async def _connect(address: Address) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        text = error.strerror if isinstance(error, OSError) else "not a host name"
        raise ConnectError(f"the name {address.host!r} does not resolve: {text}") from None
    reason = "no address"
    for family, kind, proto, _, where in found:
        sock = socket.socket(family, kind, proto)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, (str(where[0]).encode(), *where[1:]))  # a text would load the IDNA tables
        except OSError as error:
            sock.close()
            reason = os.strerror(error.errno) if error.errno else str(error)
            continue
        except BaseException:
            sock.close()
            raise
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    raise ConnectError(f"cannot connect to {address.netloc}: {reason}")


async def _handshake(sock: socket.socket, address: Address, ciphers: list[str]) -> Dialled:
    loop = asyncio.get_running_loop()
    key = new_key()
    initiator = Initiator(ciphers)
    try:
        await loop.sock_sendall(sock, upgrade_request(address.netloc, address.path, key, ()))
        response = UpgradeResponse(key)
        while not response.done:
            data = await loop.sock_recv(sock, 4096)
            try:
                response.feed(data)
            except ConnectError as error:
                raise ConnectError(f"{address.netloc}: {error}") from None
        await loop.sock_sendall(sock, encode_message(initiator.message1(), masked=True))
        reader = MessageReader(MESSAGE_MAX, masked=False)
        reader.feed(response.rest)
        keys = initiator.read_message2(await read_message(sock, reader))
    except OSError as error:
        raise ConnectError(f"{address.netloc}: the connection broke: {error.strerror}") from None
    return Dialled(sock, keys, reader.rest)
