"""A thousand clients at once."""

import contextlib
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Program, Server, Target, echo, until
from tests.support.strangers import at_rest

Keep = Callable[[Any], Any]

CLIENTS = 1_000
DESCRIPTORS = 4 * CLIENTS  # the server has two for each client: its connection and its tunnel's listener
SAMPLE = 20  # every 20th tunnel is used


@contextlib.contextmanager
def descriptor_limit(wanted: int) -> Iterator[None]:
    """The programs that are started in this block inherit `wanted` as their soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= wanted:
        pytest.skip(f"more than {wanted} descriptors are needed, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def tunnel_ports(server: Server) -> list[int]:
    return [int(remote["lport"]) for session in server.sessions() for remote in session["remotes"]]


def carry(ports: list[int]) -> None:
    """A visitor in each of these tunnels at the same time, each with a word of its own."""
    with contextlib.ExitStack() as stack:
        visitors = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for port in ports]
        for number, visitor in enumerate(visitors):
            visitor.sendall(f"word {number:>8}".encode())
        for number, visitor in enumerate(visitors):
            assert visitor.recv(13, socket.MSG_WAITALL) == f"word {number:>8}".encode()


def test_a_thousand_clients_come_and_go(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    with descriptor_limit(DESCRIPTORS):
        server = keep(Server(tmp_path))
        start = at_rest(server)
        crowd = keep(Program("tests.support.crowd", str(server.port), str(CLIENTS), str(target.port), state=tmp_path))
    crowd.wait_for(r"\bup\b", deadline=60)
    assert server.api("/api/v1/status")[1]["sessions_count"] == CLIENTS
    ports = tunnel_ports(server)
    assert len(set(ports)) == len(server.sessions()) == CLIENTS
    assert server.descriptors() >= start + 2 * CLIENTS
    carry(ports[::SAMPLE])
    assert target.accepted == CLIENTS / SAMPLE
    crowd.process.kill()
    until(lambda: not server.sessions(), "no session is left")
    assert server.api("/api/v1/status")[1]["sessions_count"] == 0
    until(lambda: server.descriptors() == start, "descriptors are back")
    socket.create_server(("127.0.0.1", ports[0])).close()
    assert "Traceback" not in server.log + crowd.log


def test_server_takes_all_the_descriptors_that_it_may(keep: Keep, tmp_path: Path) -> None:
    """The usual soft limit, which is low for the sake of select(), would end at fewer than 512 clients."""
    with descriptor_limit(1024):
        server = keep(Server(tmp_path))
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[0] > 1024
