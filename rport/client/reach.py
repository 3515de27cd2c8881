"""A TCP connection to a host, or one line about what is in the way."""

import asyncio
import contextlib
import errno
import os
import socket

from rport.client.connect import connect
from rport.client.resolve import AddrInfo, Resolver
from rport.errors import ConnectError

CONNECT_TIMEOUT = 10.0  # seconds from the first SYN to the end of the handshake, names and proxies included


async def reach(host: str, port: int, what: str, program: str, resolver: Resolver, deadline: float) -> socket.socket:
    """Connect. Raises ConnectError naming `what`, where `program` should be running, also at `deadline` (loop time)."""
    found = await _resolve(host, port, what, resolver, deadline)
    try:
        async with asyncio.timeout_at(deadline):
            sock = await connect(found)
    except TimeoutError:
        raise silence(what, program) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)  # uvloop's own text is a longer one
        advice = f"; is {program} running there?" if error.errno == errno.ECONNREFUSED else ""
        raise ConnectError(f"cannot connect to {what}: {reason}{advice}") from None
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def silence(what: str, program: str) -> ConnectError:
    """What to raise at the deadline."""
    advice = f"is it {program}'s port, and does no firewall keep it shut?"
    return ConnectError(f"{what} did not answer within {CONNECT_TIMEOUT:g} s: {advice}")


async def _resolve(host: str, port: int, what: str, resolver: Resolver, deadline: float) -> list[AddrInfo]:
    name = f"{what}: the name {host!r}"
    try:
        async with asyncio.timeout_at(deadline):
            return await resolver.resolve(host, port)
    except TimeoutError:
        raise ConnectError(f"{name} was not resolved within {CONNECT_TIMEOUT:g} s: is the name server up?") from None
    except OSError as error:
        raise ConnectError(f"{name} does not resolve: {error.strerror}") from None
