"""Free ports on loopback, and waiting for a listener without connecting to it."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

HOST = "127.0.0.1"
# Below the kernel's default range for outgoing connections: a load generator must not take a port meant for a listener.
_RANGE = range(10_000, 32_000)
_LISTEN = "0A"
_POLL = 0.005  # seconds; adds at most this to a start-up that is being measured
_handed_out: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on and that this run has not handed out before."""
    for _ in range(1000):
        port = random.choice(_RANGE)
        if port not in _handed_out and _can_bind(port):
            _handed_out.add(port)
            return port
    raise RuntimeError("no free port found")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def listening() -> set[int]:
    """The ports with a TCP listener, from the kernel's table: a one-shot server must not be probed by connecting."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def wait_listening(ports: Iterable[int], check: Callable[[], None], timeout: float = 15.0) -> None:
    """Waits until every port has a listener. `check` may raise to end the waiting early.

    Raises TimeoutError after `timeout` seconds.
    """
    wanted = set(ports)
    deadline = time.monotonic() + timeout
    while missing := wanted - listening():
        check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on {sorted(missing)} after {timeout:g} s")
        time.sleep(_POLL)
