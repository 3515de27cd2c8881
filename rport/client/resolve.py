"""Names to addresses, in threads that nobody has to wait for.

getaddrinfo() cannot be cancelled, and asyncio waits at the end of the program for the threads in which it runs it: half
a minute where the name server is dead. These are daemon threads, which end with the program.
"""

import asyncio
import contextlib
import socket
import threading
from typing import Any

THREADS_MAX = 16  # at a time; a dead name server holds each for up to half a minute

# As getaddrinfo() gives it: family, kind, protocol, canonical name, socket address.
AddrInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


class Resolver:
    """Belongs to one event loop."""

    def __init__(self, threads: int = THREADS_MAX) -> None:
        self._free = asyncio.Semaphore(threads)

    async def resolve(self, host: str, port: int) -> list[AddrInfo]:
        """The TCP addresses of a name, best first. Raises OSError. The caller bounds the time, by cancelling."""
        try:
            name = host.encode("ascii" if host.isascii() else "idna")  # a text would load the IDNA tables
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        with contextlib.suppress(socket.gaierror):
            return _look_up(name, port, socket.AI_NUMERICHOST)  # an address needs no thread
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[AddrInfo]] = loop.create_future()
        thread = threading.Thread(target=self._work, args=(loop, found, name, port), name="resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._free.release()
            raise OSError(0, str(error)) from None
        return await found

    def _work(
        self, loop: asyncio.AbstractEventLoop, found: asyncio.Future[list[AddrInfo]], name: bytes, port: int
    ) -> None:
        """In the thread."""
        result: list[AddrInfo] | Exception
        try:
            result = _look_up(name, port)
        except Exception as error:
            result = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(self._finish, found, result)

    def _finish(self, found: asyncio.Future[list[AddrInfo]], result: list[AddrInfo] | Exception) -> None:
        self._free.release()  # not before: an abandoned thread counts as long as it lives
        if found.done():
            return
        if isinstance(result, Exception):
            found.set_exception(result)
        else:
            found.set_result(result)


def _look_up(name: bytes, port: int, flags: int = 0) -> list[AddrInfo]:
    return list(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags))
