"""A listening socket with the port that goes with it: the one that was asked for, or one that the server picks."""

import socket
import time
from collections.abc import Callable
from dataclasses import replace

from rport.remote import Remote
from rport.server import ports
from rport.server.errors import NotAllowed, PortInUse, PortUnavailable
from rport.server.tunnels.pool import Hold, Pool

SEARCH_TIME = 0.02  # seconds in which the server's range is looked through: nobody else is served meanwhile
UNFINISHED = "none of the ports of the server's --port-range that were looked at now is free and allowed"
TRIES = 64  # ports that turn out to be another program's, or somebody's reservation, before it is given up

Check = Callable[[str, int], None]  # raises NotAllowed for where one may not listen


def claim(pool: Pool, remote: Remote, client: str, tunnel: str, check: Check) -> tuple[socket.socket, Hold]:
    """Bound and queueing; nobody accepts. Raises NotAllowed, TunnelExists, PortTaken, PortUnavailable."""
    pool.check_room(client)
    if remote.lport:
        check(remote.lhost, remote.lport)  # before anything is said of who has the port
        hold = pool.take(remote, client, tunnel)
        try:
            return bind(hold, check), hold
        except BaseException:
            pool.release(hold)
            raise
    sock = _pick_in_range(pool, remote.lhost, check) if pool.range else _pick_any(pool, remote.lhost, check)
    return sock, pool.take(replace(remote, lport=sock.getsockname()[1]), client, tunnel)


def bind(hold: Hold, check: Check) -> socket.socket:
    """For a port that one holds already. Raises NotAllowed, PortUnavailable."""
    check(hold.remote.lhost, hold.remote.lport)
    return _checked(ports.listen(hold.remote.lhost, hold.remote.lport), check)


def _checked(sock: socket.socket, check: Check) -> socket.socket:
    """What was really bound is looked at, whatever it was called."""
    try:
        check(*sock.getsockname()[:2])
    except NotAllowed:
        sock.close()
        raise
    return sock


def _pick_in_range(pool: Pool, lhost: str, check: Check) -> socket.socket:
    """The next that is free and allowed."""
    assert pool.range is not None
    refusal: Exception | None = None
    tries, ends = 0, time.monotonic() + SEARCH_TIME
    for port in pool.candidates():
        if time.monotonic() > ends:  # the next search goes on behind this one
            raise PortUnavailable(f"{UNFINISHED}; ask again, and the server looks at the others")
        if not pool.free(lhost, port):
            continue
        try:
            check(lhost, port)
            return _checked(ports.listen(lhost, port), check)
        except NotAllowed as error:
            refusal = error
        except PortInUse as error:
            refusal, tries = error, tries + 1
            if tries >= TRIES:
                break
    if isinstance(refusal, NotAllowed):
        raise NotAllowed(f"{refusal}; nor is any other free port of the server's --port-range")
    where = f"{pool.range[0]}-{pool.range[-1]}"
    raise PortUnavailable(f"no port of the server's --port-range {where} is free: close a tunnel, or ask for a port")


def _pick_any(pool: Pool, lhost: str, check: Check) -> socket.socket:
    """One that the kernel picks, unless it is somebody's who is away."""
    unwanted: list[socket.socket] = []  # kept until the end, or the kernel would give them again
    try:
        for _ in range(TRIES):
            sock = ports.listen(lhost, 0)
            if pool.free(lhost, sock.getsockname()[1]):
                try:
                    return _checked(sock, check)
                except NotAllowed as error:
                    raise NotAllowed(f"{error}; the server picked that port: ask for one that is") from None
            unwanted.append(sock)
    finally:
        for sock in unwanted:
            sock.close()
    raise PortUnavailable("the server finds no port that is nobody's: ask for one")
