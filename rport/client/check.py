"""Does a target answer? Dialled by the rules by which a visitor's stream would be, and let go at once.

Loaded when a server asks for the first time.
"""

import asyncio
import errno
import os
import socket
import time

from rport.client.connect import connect
from rport.client.policy import is_local, refusal
from rport.client.resolve import AddrInfo, Resolver
from rport.client.settings import Settings
from rport.remote import Remote
from rport.session import (
    CODE_BUSY,
    CODE_FAILED,
    CODE_FORBIDDEN,
    CODE_NAME,
    CODE_REFUSED,
    CODE_TIMEOUT,
    CODE_UNREACHABLE,
)

TIME = 1.8  # seconds in all: with the way there and back the server has its answer within 2 on all but the worst links
QUEUE_PAUSE, QUEUE_TRIES = 0.05, 30  # seconds between two tries at a full queue, which may have room in a moment

_CODES = {
    errno.ECONNREFUSED: CODE_REFUSED,
    errno.ETIMEDOUT: CODE_TIMEOUT,
    errno.EHOSTUNREACH: CODE_UNREACHABLE,
    errno.ENETUNREACH: CODE_UNREACHABLE,
    errno.ENOENT: CODE_UNREACHABLE,
    errno.EAGAIN: CODE_BUSY,
    errno.EMFILE: CODE_BUSY,
    errno.ENFILE: CODE_BUSY,
}
_SOCKET_REASONS = {  # as a visitor's stream is refused
    errno.ENOENT: "there is no such socket",
    errno.ECONNREFUSED: "nobody listens on the socket",
    errno.EACCES: "this client has no right to write to the socket, or to enter its directory",
    errno.EPROTOTYPE: "it is no stream socket",
    errno.EAGAIN: "its queue of connections is full",
}


class Unreachable(Exception):
    """With a code of PROTOCOL.md, section 7, and the reason in words."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


async def check(settings: Settings, resolver: Resolver, remote: Remote) -> dict[str, object]:
    """What the server is told: `ms`, or `code` and `error`. Within TIME."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(TIME):
            await _reach(settings, resolver, remote)
    except Unreachable as error:
        return {"code": error.code, "error": str(error)}
    except TimeoutError:
        return {"code": CODE_TIMEOUT, "error": f"no answer within {TIME:g} s"}
    return {"ms": (time.monotonic() - begun) * 1000}


async def _reach(settings: Settings, resolver: Resolver, remote: Remote) -> None:
    reason = refusal(settings.allow, remote.dialled, remote.rport)
    if reason is not None:
        raise Unreachable(CODE_FORBIDDEN, reason)
    try:
        if remote.path:
            await _knock(remote.path)
        else:
            (await connect(await _addresses(resolver, remote))).close()
    except OSError as error:
        number = error.errno or 0
        words = _SOCKET_REASONS.get(number) if remote.path else None
        raise Unreachable(_CODES.get(number, CODE_FAILED), words or os.strerror(number)) from None


async def _knock(path: str) -> None:
    """At a Unix socket, which answers at once; while its queue is full, again and again. Raises OSError."""
    for pause in (*[QUEUE_PAUSE] * QUEUE_TRIES, 0.0):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            try:
                return sock.connect(path)
            except BlockingIOError:
                if not pause:
                    raise
        await asyncio.sleep(pause)


async def _addresses(resolver: Resolver, remote: Remote) -> list[AddrInfo]:
    host = remote.dialled
    try:
        found = await resolver.resolve(host, remote.rport)
    except OSError as error:
        raise Unreachable(CODE_NAME, f"{host} does not resolve: {error.strerror}") from None
    if is_local(host):  # as for visitors: what needed no rule must not lead elsewhere
        found = [item for item in found if is_local(str(item[4][0]))]
    if not found:
        raise Unreachable(CODE_FORBIDDEN, f"{host} is not on this client's loopback")
    return found
