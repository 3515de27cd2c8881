"""From a server address to an encrypted session's socket: TCP, WebSocket upgrade, Noise handshake."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from rport.channel import Channel
from rport.client.address import Address
from rport.client.connect import connect
from rport.client.resolve import AddrInfo, Resolver
from rport.errors import ConnectError, LinkLost, ProtocolError
from rport.handshake import MESSAGE_MAX, HandshakeResult, Initiator
from rport.link import read_message
from rport.websocket import NO_RPORTD, MessageReader, UpgradeResponse, encode_message, new_key, upgrade_request

CONNECT_TIMEOUT = 10.0  # seconds from the first SYN to the end of the handshake, names included


@dataclass(frozen=True)
class Dialled:
    """A connection, the session's keys, and what had come behind the handshake."""

    channel: Channel
    keys: HandshakeResult
    early: bytes


async def dial(address: Address, ciphers: list[str], resolver: Resolver) -> Dialled:
    """Connect and shake hands within CONNECT_TIMEOUT. Raises ConnectError."""
    deadline = asyncio.get_running_loop().time() + CONNECT_TIMEOUT
    found = await _resolve(address, resolver, deadline)
    try:
        async with asyncio.timeout_at(deadline):
            channel = Channel(await _connect(address, found))
            try:
                return await _handshake(channel, address, ciphers)
            except BaseException:
                channel.close()
                raise
    except TimeoutError:
        raise ConnectError(
            f"{address.netloc} did not answer within {CONNECT_TIMEOUT:g} s: is it rportd's port, and does no firewall "
            "keep it shut?"
        ) from None
    except (LinkLost, ProtocolError) as error:
        raise ConnectError(f"{address.netloc}: {error}") from None


async def _resolve(address: Address, resolver: Resolver, deadline: float) -> list[AddrInfo]:
    name = f"the name {address.host!r}"
    try:
        async with asyncio.timeout_at(deadline):
            return await resolver.resolve(address.host, address.port)
    except TimeoutError:
        raise ConnectError(f"{name} was not resolved within {CONNECT_TIMEOUT:g} s: is the name server up?") from None
    except OSError as error:
        raise ConnectError(f"{name} does not resolve: {error.strerror}") from None


async def _connect(address: Address, found: Sequence[AddrInfo]) -> socket.socket:
    try:
        sock = await connect(found)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)  # uvloop's own text is a longer one
        advice = "; is rportd running there?" if error.errno == errno.ECONNREFUSED else ""
        raise ConnectError(f"cannot connect to {address.netloc}: {reason}{advice}") from None
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


async def _handshake(channel: Channel, address: Address, ciphers: list[str]) -> Dialled:
    key = new_key()
    initiator = Initiator(ciphers)
    response = UpgradeResponse(key)
    try:
        await channel.sendall(upgrade_request(address.netloc, address.path, key, ()))
        while not response.done:
            response.feed(await channel.recv(4096))
        await channel.sendall(encode_message(initiator.message1(), masked=True))
        reader = MessageReader(MESSAGE_MAX, masked=False)
        reader.feed(response.rest)
        keys = initiator.read_message2(await read_message(channel, reader))
    except ConnectError as error:
        raise ConnectError(f"{address.netloc}: {error}") from None
    except OSError as error:
        advice = "" if response.done else f": {NO_RPORTD}"
        raise ConnectError(f"{address.netloc}: the connection broke, {error.strerror}{advice}") from None
    return Dialled(channel, keys, reader.rest)
