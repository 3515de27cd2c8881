"""From a server's address to an encrypted session's socket: TCP, perhaps through a proxy, WebSocket upgrade, Noise."""

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rport import keys
from rport.channel import Channel, read_message
from rport.client.reach import CONNECT_TIMEOUT, reach, silence
from rport.client.resolve import Resolver
from rport.client.settings import PROXY_VARIABLES, Settings
from rport.client.upgrade import UpgradeResponse, new_key, upgrade_request
from rport.errors import ConnectError, LinkLost, ProtocolError
from rport.handshake import MESSAGE_MAX, HandshakeResult, Initiator
from rport.websocket import MessageReader, encode_message

if TYPE_CHECKING:
    import ssl

    from rport.client.proxy import Proxy


@dataclass(frozen=True)
class Dialled:
    """A connection, the session's keys, and what had come behind the handshake."""

    channel: Channel
    keys: HandshakeResult
    early: bytes


def proxy_for(settings: Settings) -> "Proxy | None":
    """The proxy on the way to the server, by --proxy or by the environment. Raises UsageError."""
    if settings.proxy is None and not any(map(os.environ.get, PROXY_VARIABLES)):
        return None
    from rport.client.proxy import choose  # here: most clients have none

    return choose(settings.proxy, os.environ, settings.address.host, settings.address.port)


async def dial(
    settings: Settings, proxy: "Proxy | None", ciphers: list[str], resolver: Resolver, trust: Callable[[bytes], None]
) -> Dialled:
    """Connect and shake hands within CONNECT_TIMEOUT. Raises ConnectError, UsageError for the user's files.

    `trust` is asked about the server's public key before the client shows its own, and raises what it likes.
    """
    # Before anybody is asked, who may be away for hours, and each time, since the files may have been exchanged.
    identity = keys.load(settings.identity).private if settings.identity is not None else None
    context = _tls_context(settings)
    deadline = asyncio.get_running_loop().time() + CONNECT_TIMEOUT
    sock = await _connect(settings, proxy, resolver, deadline)
    where = settings.address.netloc + (f" (through the proxy {proxy})" if proxy else "")
    try:
        async with asyncio.timeout_at(deadline):
            channel = await _secure(sock, settings, context)
            return await _handshake(channel, settings, Initiator(ciphers, static=identity), trust)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise silence(where, "rportd") from None
        if isinstance(error, (ConnectError, LinkLost, ProtocolError)):
            raise ConnectError(f"{where}: {error}") from None
        raise


async def _connect(settings: Settings, proxy: "Proxy | None", resolver: Resolver, deadline: float) -> socket.socket:
    """A plain connected socket that leads to the server."""
    address = settings.address
    if proxy is None:
        return await reach(address.host, address.port, address.netloc, "rportd", resolver, deadline)
    from rport.client.through import reach_through

    return await reach_through(proxy, address.host, address.port, resolver, deadline, settings.tls_ca)


def _tls_context(settings: Settings) -> "ssl.SSLContext | None":
    """None: no TLS."""
    if not settings.address.tls:
        return None
    from rport.client.secure import context_of  # here: TLS costs those memory who have it

    return context_of(settings)


async def _secure(sock: socket.socket, settings: Settings, context: "ssl.SSLContext | None") -> Channel:
    if context is None:
        return Channel(sock)
    from rport.client.secure import secure

    try:
        return await secure(sock, settings, context)
    except OSError as error:
        raise ConnectError(f"the connection broke in the TLS handshake, {error.strerror}") from None


async def _handshake(
    channel: Channel, settings: Settings, initiator: Initiator, trust: Callable[[bytes], None]
) -> Dialled:
    address, key = settings.address, new_key()
    response = UpgradeResponse(key, tls=address.tls)
    request = upgrade_request(settings.hostname or address.authority, address.path, key, settings.header)
    try:
        await channel.sendall(request)
        while not response.done:
            response.feed(await channel.recv(4096))
        await channel.sendall(encode_message(initiator.message1(), masked=True))
        reader = MessageReader(MESSAGE_MAX, masked=False)
        reader.feed(response.rest)
        result = initiator.read_message2(await read_message(channel, reader))
        assert result.remote_static is not None, "both patterns send the server's key"
        trust(result.remote_static)
        if initiator.message3:
            await channel.sendall(encode_message(initiator.message3, masked=True))
    except OSError as error:
        advice = "" if response.done else f": {response.absence}"
        raise ConnectError(f"the connection broke, {error.strerror}{advice}") from None
    return Dialled(channel, result, reader.rest)
