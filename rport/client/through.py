"""A connection through a proxy, which for all that comes after is a plain connected socket."""

import asyncio
import socket

from rport.client.dialogue import PERHAPS_TLS, Dialogue, talk_to
from rport.client.proxy import Proxy
from rport.client.reach import reach, silence
from rport.client.resolve import Resolver
from rport.errors import ConnectError

CHUNK = 4096  # octets of a proxy's answer that are taken at a time


async def reach_through(
    proxy: Proxy, host: str, port: int, resolver: Resolver, deadline: float, authorities: str | None
) -> socket.socket:
    """Have `proxy` connect to the server by `deadline` (loop time).

    `authorities`: a PEM file of those that may vouch for an https:// proxy, besides the system's. Raises ConnectError,
    and UsageError for that file.
    """
    what, program = f"the proxy {proxy}", "a SOCKS5 proxy" if proxy.scheme == "socks5" else "an HTTP proxy"
    sock = await reach(proxy.host, proxy.port, what, program, resolver, deadline)
    try:
        async with asyncio.timeout_at(deadline):
            if proxy.scheme == "https":
                from rport.client.proxy_tls import encrypt  # here: few have such a proxy

                sock = await encrypt(sock, proxy.host, authorities)
            await _hold(talk_to(proxy, host, port), sock)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):  # an OSError, too
            raise silence(what, program) from None
        if isinstance(error, ConnectError):
            raise ConnectError(f"{what}: {error}") from None
        if isinstance(error, OSError):
            advice = PERHAPS_TLS if proxy.scheme == "http" else ""
            raise ConnectError(f"{what}: the connection broke, {error.strerror or error}{advice}") from None
        raise
    return sock


async def _hold(dialogue: Dialogue, sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    answer = next(dialogue)
    while True:
        if answer:
            await loop.sock_sendall(sock, answer)
        came = await loop.sock_recv(sock, CHUNK)
        try:
            answer = dialogue.send(came)
        except StopIteration:
            return
