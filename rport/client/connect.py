"""A TCP connection to whichever of a name's addresses answers first (Happy Eyeballs, RFC 8305)."""

import asyncio
import errno
import itertools
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from rport.client.resolve import AddrInfo

ATTEMPT_DELAY = 0.25  # seconds from one attempt to the next, section 5 of the RFC

# What a machine says that does not have that family: about the server, the other family's error says more.
_NO_ROUTE = {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


async def connect(addresses: Sequence[AddrInfo], delay: float = ATTEMPT_DELAY) -> socket.socket:
    """The first that connects; the others are closed. Raises OSError when all have failed.

    The next attempt begins `delay` seconds after the last one, or when one fails. The caller bounds the time.
    """
    loop = asyncio.get_running_loop()
    waiting = deque(interleave(addresses))
    trying: dict[asyncio.Task[OSError | None], socket.socket] = {}
    failure: OSError | None = None
    try:
        while waiting or trying:
            if waiting:
                family, kind, proto, _, where = waiting.popleft()
                try:
                    sock = socket.socket(family, kind, proto)
                except OSError as error:
                    failure = _more_telling(failure, error)
                    continue
                sock.setblocking(False)
                trying[loop.create_task(_try(sock, where))] = sock
            done, _ = await asyncio.wait(trying, timeout=delay if waiting else None, return_when="FIRST_COMPLETED")
            for task in done:
                refusal, sock = task.result(), trying.pop(task)
                if refusal is None:
                    return sock
                sock.close()
                failure = _more_telling(failure, refusal)
        raise failure or OSError(errno.EADDRNOTAVAIL, "it has no address")
    finally:
        for task, sock in trying.items():
            _abandon(task, sock)


def interleave(addresses: Sequence[AddrInfo]) -> list[AddrInfo]:
    """In the same order, but the families by turns, so that one which leads nowhere costs one delay (section 4)."""
    first = [item for item in addresses if item[0] == addresses[0][0]]
    others = [item for item in addresses if item[0] != addresses[0][0]]
    return [item for pair in itertools.zip_longest(first, others) for item in pair if item is not None]


def _more_telling(one: OSError | None, other: OSError) -> OSError:
    return other if one is None or one.errno in _NO_ROUTE else one


async def _try(sock: socket.socket, where: tuple[Any, ...]) -> OSError | None:
    """Not with sock_connect(): it has uvloop look the address up as if it were a name, in four threads that stay."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    try:
        sock.connect(where)
    except BlockingIOError:
        loop.add_writer(sock, done.set)
        try:
            await done.wait()
        finally:
            loop.remove_writer(sock)
    except OSError as error:
        return error
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(code, os.strerror(code)) if code else None


def _abandon(task: asyncio.Task[OSError | None], sock: socket.socket) -> None:
    """The loop must let go of the descriptor before it is closed and its number is somebody else's."""
    task.add_done_callback(lambda _: sock.close())
    task.cancel()
