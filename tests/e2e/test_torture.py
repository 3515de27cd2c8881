"""Loads, limits and misfortunes that a tunnel has to survive, with real processes and sockets."""

import contextlib
import itertools
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_life import exchange
from tests.e2e.test_tunnel import read_exactly, visit
from tests.support.programs import (
    Client,
    Deaf,
    Machine,
    Program,
    Server,
    Target,
    descriptors,
    echo,
    read_all,
    until,
)
from tests.support.relay import Relay

Keep = Callable[[Any], Any]
MIB = 1 << 20
WINDOW_MAX = 16 * MIB  # PROTOCOL.md, section 9
SESSION_WINDOW_MAX = 64 * MIB
BUFFERS = 8 * MIB  # carrier buffers of 1.3 MiB, two to send and two to receive, and what the allocator keeps
FULL = 64  # streams: their first windows, 16 MiB, are more than the kernel takes for a carrier that nobody reads


EPHEMERAL = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def free_port() -> int:
    """One that is free on every address, and that no outgoing connection of somebody else's will have meanwhile."""
    for port in random.sample(range(1024, EPHEMERAL), 100):
        with contextlib.suppress(OSError), socket.create_server(("0.0.0.0", port)):
            return port
    raise AssertionError("no free port")


def carry(keep: Keep, state: Path, serve: Callable[[socket.socket], None]) -> tuple[Server, Client, int]:
    """A server, a client, and the port of a tunnel to `serve`."""
    target = keep(Target(serve))
    server = keep(Server(state))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=state))
    return server, client, client.tunnel_port()


def ping(sock: socket.socket) -> None:
    """An echoing stream works."""
    sock.sendall(b"ping")
    assert read_exactly(sock, 4) == b"ping"


def works(port: int) -> bool:
    """A new visitor is served; it does not wait long, so that a deadline around it holds."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
            sock.sendall(b"ping")
            return sock.recv(4) == b"ping"
    except OSError:
        return False


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


# --- forms of remotes ------------------------------------------------------------------------------------------------


def named(keep: Keep, host: str, machine: Machine | None = None) -> tuple[int, bytes]:
    """A target on `host` that says who it is; its port, free on this machine, and what it says."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    free = free_port()

    def listen() -> socket.socket:
        return socket.create_server((host, free), family=family)

    listener = machine.run(listen) if machine else listen()
    port = int(listener.getsockname()[1])
    name = f"{host} {port}".encode()
    keep(Target(lambda sock: sock.sendall(name), listener))
    return port, name


def hear(host: str, port: int) -> bytes:
    with socket.create_connection((host, port), timeout=10) as sock:
        return read_all(sock)


def wait_for_tunnels(client: Program, count: int) -> None:
    client.wait_for("INFO Tunnel ", count)


def shown(lhost: str, lport: int, rhost: str, rport: int) -> dict[str, str]:
    """As the API shows a remote."""
    return {"lhost": lhost, "lport": str(lport), "rhost": rhost, "rport": str(rport), "proxy": ""}


def by_port(remotes: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(remotes, key=lambda remote: (remote["lport"], remote["lhost"]))


def test_every_form_that_names_a_local_port(keep: Keep, tmp_path: Path) -> None:
    target, name = named(keep, "127.0.0.1")
    other, other_name = named(keep, "127.0.0.7")
    a, b, c = free_port(), free_port(), free_port()
    server = keep(Server(tmp_path))
    everywhere = (f"{a}:{target}", f"{b}:localhost:{target}")
    somewhere = (
        f"127.0.0.5:{c}:127.0.0.7:{other}",
        f"127.0.0.8:{c}:127.0.0.1:{target}",  # the same port once more, on another address
    )
    client = keep(Client(server, *everywhere, *somewhere, state=tmp_path))
    wait_for_tunnels(client, 4)
    assert hear("127.0.0.1", a) == hear("127.0.0.2", a) == name  # 0.0.0.0 is every address
    assert hear("127.0.0.1", b) == name
    assert hear("127.0.0.5", c) == other_name
    assert hear("127.0.0.8", c) == name
    assert refused(c), "a tunnel on one address listens on others too"
    assert by_port(server.sessions()[0]["remotes"]) == by_port(
        [
            shown("0.0.0.0", a, "0.0.0.0", target),
            shown("0.0.0.0", b, "localhost", target),
            shown("127.0.0.5", c, "127.0.0.7", other),
            shown("127.0.0.8", c, "127.0.0.1", target),
        ]
    )


def another_machine(keep: Keep) -> Machine:
    if shutil.which("nsenter") is None:
        pytest.skip("nsenter is missing")
    try:
        machine: Machine = keep(Machine())
    except OSError as error:
        pytest.skip(f"this user may not make a network namespace: {error}")
    return machine


def test_forms_with_one_port_for_both_sides(keep: Keep, tmp_path: Path) -> None:
    """`PORT` and `HOST:PORT` listen on the very port that they lead to, so the two ends need a loopback each."""
    inside = another_machine(keep)
    server = keep(Server(tmp_path))
    relay = keep(Relay(server.port, listener=inside.run(lambda: socket.create_server(("127.0.0.1", 0)))))
    (one, one_name), (two, two_name) = named(keep, "127.0.0.1", inside), named(keep, "127.0.0.9", inside)
    client = keep(Client(relay.port, str(one), f"127.0.0.9:{two}", state=tmp_path, wrap=inside.wrap))
    wait_for_tunnels(client, 2)
    assert hear("127.0.0.1", one) == hear("127.0.0.2", one) == one_name
    assert hear("127.0.0.1", two) == hear("127.0.0.9", two) == two_name
    expected = [shown("0.0.0.0", one, "0.0.0.0", one), shown("0.0.0.0", two, "127.0.0.9", two)]
    assert by_port(server.sessions()[0]["remotes"]) == by_port(expected)


def test_ipv6_on_either_side(keep: Keep, tmp_path: Path) -> None:
    try:
        six, six_name = named(keep, "::1")
    except OSError:
        pytest.skip("this machine has no ::1")
    four, four_name = named(keep, "127.0.0.1")
    a, b, c = free_port(), free_port(), free_port()
    server = keep(Server(tmp_path))
    # [::] and 0.0.0.0 are two addresses, each with its own tunnel on one port
    remotes = (f"[::]:{a}:[::1]:{six}", f"{a}:{four}", f"[0:0:0:0:0:0:0:1]:{b}:127.0.0.1:{four}", f"{c}:[::1]:{six}")
    client = keep(Client(server, *remotes, state=tmp_path))
    wait_for_tunnels(client, 4)
    assert (hear("::1", a), hear("127.0.0.1", a)) == (six_name, four_name)
    assert hear("::1", b) == four_name
    assert hear("127.0.0.1", c) == six_name
    assert by_port(server.sessions()[0]["remotes"]) == by_port(
        [
            shown("::", a, "::1", six),
            shown("0.0.0.0", a, "0.0.0.0", four),
            shown("::1", b, "127.0.0.1", four),
            shown("0.0.0.0", c, "::1", six),
        ]
    )


def test_options_and_positionals_in_any_order(keep: Keep, tmp_path: Path) -> None:
    target, name = named(keep, "127.0.0.1")
    server = keep(Server(tmp_path))
    where, a, b = f"127.0.0.1:{server.port}", free_port(), free_port()
    right, wrong = ("-fingerprint", server.fingerprint), ("--fingerprint=" + "00:" * 8 + "00",)
    orders: list[tuple[str, ...]] = [
        (*right, "-v", where, f"{a}:{target}", "--keepalive", "20s", f"{b}:{target}", "-max-retry-count=9"),
        (where, f"{a}:{target}", f"{b}:{target}", "-v", "-keepalive=20s", *right),
    ]
    for order in orders:
        client = keep(Program("rport.client", *order, state=tmp_path))
        wait_for_tunnels(client, 2)
        assert hear("127.0.0.1", a) == hear("127.0.0.1", b) == name
        client.signal(signal.SIGTERM)
        assert client.exit_code() == 0
        until(lambda: not server.sessions(), "its ports are free")
    # where an option stands does not decide whether it counts
    for order in [(*wrong, where, f"{a}:{target}"), (where, f"{a}:{target}", *wrong), (where, *wrong, f"{a}:{target}")]:
        assert keep(Program("rport.client", *order, state=tmp_path)).exit_code() == 4


def test_session_ids_are_long_and_differ(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    for _ in range(3):
        keep(Client(server, state=tmp_path))
    ids = [session["id"] for session in server.sessions()]
    assert len(set(ids)) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", text) for text in ids)


def test_as_many_tunnels_as_a_client_may_declare(keep: Keep, tmp_path: Path) -> None:
    target, name = named(keep, "127.0.0.1")
    server = keep(Server(tmp_path))
    client = keep(Client(server, *[f"127.0.0.1:0:{target}"] * 200, state=tmp_path, wait=False))
    client.wait_for("INFO Tunnel ", 200)
    ports = {int(remote["lport"]) for remote in server.sessions()[0]["remotes"]}
    assert len(ports) == 200
    assert {hear("127.0.0.1", port) for port in ports} == {name}


# --- bulk ------------------------------------------------------------------------------------------------------------

BLOCK = MIB + 4099  # no multiple of any buffer's size: a block that is lost or doubled shifts all the rest


def send_blocks(sock: socket.socket, count: int, seed: int) -> None:
    """Numbered blocks of noise, then the end."""
    block = bytearray(random.Random(seed).randbytes(BLOCK))
    for number in range(count):
        struct.pack_into(">Q", block, 0, number)
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)


def check_blocks(sock: socket.socket, count: int, seed: int) -> None:
    """Every octet of what send_blocks sends, in its place, and the end behind it."""
    wanted, got = bytearray(random.Random(seed).randbytes(BLOCK)), bytearray(BLOCK)
    for number in range(count):
        struct.pack_into(">Q", wanted, 0, number)
        view = memoryview(got)
        while view:
            size = sock.recv_into(view)
            assert size, f"the connection ended within block {number}"
            view = view[size:]
        assert got == wanted, f"block {number} is not what was sent"
    assert sock.recv(1) == b""


def test_a_gibibyte_each_way_at_once(keep: Keep, tmp_path: Path) -> None:
    count = -(-(1 << 30) // BLOCK)
    with ThreadPoolExecutor(4) as pool:
        jobs: list[Future[None]] = []
        served = threading.Event()

        def both(sock: socket.socket, sends: int, checks: int) -> list[Future[None]]:
            sock.settimeout(60)
            return [pool.submit(send_blocks, sock, count, sends), pool.submit(check_blocks, sock, count, checks)]

        def serve(sock: socket.socket) -> None:
            jobs.extend(work := both(sock, 1, 2))
            served.set()
            for job in work:
                job.exception()  # the socket is closed when this returns

        server, client, port = carry(keep, tmp_path, serve)
        before = server.resident(), client.resident()
        with visit(port) as sock:
            jobs.extend(both(sock, 2, 1))
            assert served.wait(10)
            for job in jobs:
                job.result()
        for program, resident in zip((server, client), before, strict=True):
            assert (
                program.peak() - resident < WINDOW_MAX + BUFFERS
            )  # one direction of one stream is received at each end


# --- slow and silent peers -------------------------------------------------------------------------------------------


def test_what_a_visitor_sends_before_the_target_accepts_is_kept(keep: Keep, tmp_path: Path) -> None:
    """More and less than an early window, with the visitor's end behind it."""
    deaf = keep(Deaf())
    server = keep(Server(tmp_path))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{deaf.port}", state=tmp_path))
    port = client.tunnel_port()
    noise = random.Random(3)
    sent = [noise.randbytes(size) for size in (1, 4096, 4097, 3_000_000)]
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(sent)) as pool:

        def send(data: bytes, sock: socket.socket) -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        visitors = [stack.enter_context(visit(port)) for _ in sent]
        senders = [pool.submit(send, data, sock) for data, sock in zip(sent, visitors, strict=True)]
        until(lambda: deaf.dialling() == len(sent), "the client dials")
        until(lambda: sum(sender.done() for sender in senders) >= 3, "the small ones have sent all and ended")
        keep(Target(lambda sock: sock.sendall(read_all(sock)), deaf.wake()))
        for data, sock in zip(sent, visitors, strict=True):
            assert read_all(sock) == data


PIECE = 65536
NOISE = random.Random(6).randbytes(PIECE - 8)


def piece(at: int) -> bytes:
    """What a flood sends at this offset."""
    return struct.pack(">Q", at) + NOISE


class Crowd:
    """Visitors and targets that send without end and do not read, until they are told to."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.sent: dict[int, int] = {}
        self.results: list[bool] = []
        self._numbers = itertools.count()

    def serve(self, sock: socket.socket) -> None:
        """The target. What a visitor says first decides its part."""
        word = read_exactly(sock, 5)
        if word == b"flood":
            self.flood(sock)
        elif word == b"drown":
            self.over.wait()
            self.check(sock)
        else:
            echo(sock)

    def flood(self, sock: socket.socket) -> None:
        """Send numbered pieces until it is over, then the end."""
        sock.settimeout(60)
        number = next(self._numbers)
        self.sent[number] = 0
        while not self.over.is_set():
            sock.sendall(piece(self.sent[number]))
            self.sent[number] += PIECE
        sock.shutdown(socket.SHUT_WR)

    def check(self, sock: socket.socket) -> None:
        """Read the pieces to the end."""
        sock.settimeout(20)
        data = read_all(sock)
        self.results.append(bool(data) and all(data[at : at + PIECE] == piece(at) for at in range(0, len(data), PIECE)))

    def stuck(self, count: int) -> None:
        """Wait until `count` floods stand still."""
        quiet, last = 0, dict[int, int]()

        def still() -> bool:
            nonlocal quiet, last
            quiet = quiet + 1 if self.sent == last else 0
            last = dict(self.sent)
            return len(last) == count and quiet >= 30

        until(still, "everybody who sends without being read is held")


@pytest.mark.parametrize("crowd", [1, 20])
def test_peers_that_never_read_hold_up_nobody(crowd: int, keep: Keep, tmp_path: Path) -> None:
    """`crowd` visitors and as many targets. Others carry on beside them, and the blocked ones lose nothing."""
    peers = Crowd()
    target = keep(Target(peers.serve))
    server = keep(Server(tmp_path))
    client = keep(Client(server, *[f"127.0.0.1:0:127.0.0.1:{target.port}"] * 2, state=tmp_path))
    ports = client.tunnel_port(1), client.tunnel_port(2)
    before = server.resident(), client.resident()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2 * crowd) as pool:
        stack.callback(peers.over.set)
        readers = [stack.enter_context(visit(ports[0])) for _ in range(crowd)]
        writers = [stack.enter_context(visit(ports[0])) for _ in range(crowd)]
        for sock in readers:
            sock.sendall(b"flood")
        for sock in writers:
            sock.sendall(b"drown")
        jobs = [pool.submit(peers.flood, sock) for sock in writers]
        peers.stuck(2 * crowd)
        held = dict(peers.sent)
        for port in ports:
            transfer(port, 64)
        # What the kernel let go on meanwhile is nothing beside the 128 MiB of the others: they were blocked throughout.
        assert sum(peers.sent.values()) - sum(held.values()) < 4 * MIB
        # Each end holds one window for each stream that its own side does not read, and one for the transfer.
        bound = min((crowd + 1) * WINDOW_MAX, SESSION_WINDOW_MAX) + BUFFERS
        for program, resident in zip((server, client), before, strict=True):
            assert program.peak() - resident < bound
        peers.over.set()
        for sock in readers:
            pool.submit(peers.check, sock)
        for job in jobs:
            job.result()
        until(lambda: len(peers.results) == 2 * crowd, "the blocked ones have read to the end")
        assert all(peers.results)


def transfer(port: int, count: int) -> None:
    """`count` blocks there and back through the echoing part of a Crowd's target."""
    with visit(port) as sock, ThreadPoolExecutor(1) as pool:
        sock.sendall(b"other")
        sender = pool.submit(send_blocks, sock, count, 5)
        check_blocks(sock, count, 5)
        sender.result()


# --- rights and limits -----------------------------------------------------------------------------------------------

PORT_START = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")  # each network namespace has its own
NO_PORT_RIGHTS = ("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service")


def test_port_without_the_rights_for_it(keep: Keep, tmp_path: Path) -> None:
    """The client is told which port and why, its other tunnel works, and it gets the port once that is possible."""
    inside = another_machine(keep)
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing")
    if inside.run(lambda: int(PORT_START.read_text())) <= 80:
        pytest.skip("port 80 needs no rights here")
    listener = inside.run(lambda: socket.create_server(("127.0.0.1", 0)))
    target = listener.getsockname()[1]
    keep(Target(echo, listener))
    server = keep(Server(tmp_path, wrap=(*inside.wrap, *NO_PORT_RIGHTS)))
    client = keep(Client(server, f"80:{target}", f"0:{target}", state=tmp_path, wrap=inside.wrap))
    reason = r"0\.0\.0\.0:80: port 80 needs rights that the server does not run with"
    client.wait_for(f"ERROR .*{reason}; trying again")
    server.wait_for(reason)
    assert inside.run(lambda: works(client.tunnel_port()))
    assert not inside.run(lambda: works(80))
    try:
        inside.run(lambda: PORT_START.write_text("80"))
    except OSError:
        return  # /proc/sys is read-only here
    assert client.tunnel_port(2) == 80
    assert inside.run(lambda: works(80))
    assert "Disconnected" not in client.log


LIMIT = 128  # of it the programs keep 64 for their control connections


def was_reset(sock: socket.socket) -> bool:
    """Now; nothing is expected to come."""
    if not select.select([sock], [], [], 0)[0]:
        return False
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    return True


def served(sock: socket.socket) -> bool:
    try:
        ping(sock)
    except (OSError, AssertionError):
        return False
    return True


DATABASE = 20  # descriptors that its connections may have, and that are not counted


@pytest.mark.parametrize("limited", ["server", "client"])
def test_more_visitors_than_descriptors(limited: str, keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path, wrap=descriptors(LIMIT) if limited == "server" else ()))
    remote = f"127.0.0.1:0:127.0.0.1:{target.port}"
    client = keep(Client(server, remote, state=tmp_path, wrap=descriptors(LIMIT) if limited == "client" else ()))
    port = client.tunnel_port()
    short = server if limited == "server" else client
    idle = short.descriptors()
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(visit(port)) for _ in range(10)]
        for sock in first:
            ping(sock)
        crowd = []
        for _ in range(LIMIT):
            with contextlib.suppress(ConnectionResetError):  # turned away before connect() had returned
                crowd.append(stack.enter_context(visit(port)))
        until(lambda: len(crowd) < LIMIT or any(was_reset(sock) for sock in crowd), "some are turned away")
        if limited == "client":
            server.wait_for("cannot be reached: Too many open files")
        until(lambda: short.descriptors() >= LIMIT // 2 - 2 - DATABASE, "all others are served")
        for sock in first:
            ping(sock)
        # what is kept back serves the API, and a tunnel that it asks for
        session = server.sessions()[0]["id"]
        tunnels = f"/api/v1/sessions/{session}/tunnels"
        assert server.api(f"{tunnels}?local=127.0.0.1:0&remote={target.port}", "PUT")[0] == 200
        assert short.descriptors() < LIMIT - 32
        for sock in crowd:
            sock.close()
        until(lambda: works(port), "later visitors are served")
        for sock in first:
            ping(sock)
    until(lambda: short.descriptors() <= idle + 1, "descriptors are back")  # one more for the API's tunnel
    assert "Disconnected" not in client.log
    assert "Traceback" not in server.log + client.log
    assert "failed" not in server.log + client.log


# --- coming and going ------------------------------------------------------------------------------------------------


BLOCK_OF_A_WORKER = 50_000  # octets


class Worker:
    """A visitor that sends and reads back until it is told to end; then every octet must have come back."""

    def __init__(self, port: int, over: threading.Event) -> None:
        self.moved = 0
        self._port, self._over = port, over

    def run(self) -> None:
        with visit(self._port) as sock:
            while not self._over.is_set():
                data = os.urandom(BLOCK_OF_A_WORKER)
                sock.sendall(data)
                assert read_exactly(sock, len(data)) == data
                self.moved += len(data)
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b""


def test_orderly_stop_under_load(keep: Keep, tmp_path: Path) -> None:
    server, client, port = carry(keep, tmp_path, echo)
    over = threading.Event()
    workers = [Worker(port, over) for _ in range(30)]
    with ThreadPoolExecutor(len(workers)) as pool, contextlib.ExitStack() as stack:
        stack.callback(over.set)
        jobs = [pool.submit(worker.run) for worker in workers]
        until(lambda: all(worker.moved for worker in workers), "all streams move")
        server.signal(signal.SIGTERM)
        server.wait_for("Stopping")
        until(lambda: refused(port), "new visitors are refused")
        goals = [worker.moved + BLOCK_OF_A_WORKER for worker in workers]  # more, and it was begun since
        until(
            lambda: all(worker.moved > goal for worker, goal in zip(workers, goals, strict=True)),
            "all streams go on while the server stops",
        )
        assert "Disconnected" not in client.log
        over.set()
        for job in jobs:
            job.result()
    assert server.exit_code() == 0
    client.wait_for("INFO Disconnected: the server is going down")
    keep(Server(tmp_path, port=server.port))
    until(lambda: works(port), "the client is back")
    assert client.tunnel_port(2) == port


def test_second_signal_stops_at_once(keep: Keep, tmp_path: Path) -> None:
    server, _, port = carry(keep, tmp_path, echo)
    with visit(port) as sock:
        ping(sock)
        server.signal(signal.SIGTERM)
        server.wait_for("Stopping")
        ping(sock)
        server.signal(signal.SIGTERM)
        assert server.exit_code(deadline=9) == 0  # what is not at once takes the ten seconds of an orderly stop
        assert "Traceback" not in server.log
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    keep(Server(tmp_path, port=server.port))
    until(lambda: works(port), "the client is back")


def test_client_that_comes_while_the_server_stops_waits_for_the_next(keep: Keep, tmp_path: Path) -> None:
    server, _, port = carry(keep, tmp_path, echo)
    with visit(port) as sock:
        ping(sock)
        server.signal(signal.SIGTERM)
        server.wait_for("Stopping")
        late = keep(Client(server, state=tmp_path, wait=False))
        late.wait_for(r"the server is going down; try again(.|\n)*Retrying in")
    assert server.exit_code() == 0
    again = keep(Server(tmp_path, port=server.port))
    until(lambda: len(again.sessions()) == 2, "both clients are there")


def small_buffers() -> None:
    """Let this machine's kernel keep next to nothing of a connection, so that the programs must."""
    for name in ("tcp_rmem", "tcp_wmem"):
        Path(f"/proc/sys/net/ipv4/{name}").write_text("4096 4096 4096")


def test_orderly_stop_waits_for_a_target_that_reads_late(keep: Keep, tmp_path: Path) -> None:
    """Both ends have been said, but the client holds octets that the target has not read: it is carried still."""
    inside = another_machine(keep)
    try:
        inside.run(small_buffers)
    except OSError:
        pytest.skip("/proc/sys is read-only here")
    proceed, results = threading.Event(), list[bytes | OSError]()

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"greeting")
        sock.shutdown(socket.SHUT_WR)
        proceed.wait(20)
        try:
            results.append(read_all(sock))
        except OSError as error:
            results.append(error)

    listener = inside.run(lambda: socket.create_server(("127.0.0.1", 0)))
    keep(Target(serve, listener))
    server = keep(Server(tmp_path))
    relay = keep(Relay(server.port, listener=inside.run(lambda: socket.create_server(("127.0.0.1", 0)))))
    remote = f"127.0.0.1:0:127.0.0.1:{listener.getsockname()[1]}"
    client = keep(Client(relay.port, remote, state=tmp_path, wrap=inside.wrap))
    idle = server.descriptors()
    data = random.Random(4).randbytes(200_000)  # within the first window
    with visit(client.tunnel_port()) as sock:
        assert read_all(sock) == b"greeting"
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        until(lambda: server.descriptors() == idle, "the server has passed all of it on")
    server.signal(signal.SIGTERM)
    server.wait_for("Stopping")
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.exit_code(deadline=1)  # it has nothing to wait for but that stream
    proceed.set()
    until(lambda: results, "the target has read all, or was cut off")
    assert results == [data]
    assert server.exit_code() == 0


def test_client_stops_in_order_under_load(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    for number in (1, 2, 3):
        client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
        stop_under_load(client)
        server.wait_for(rf"session#{number}: Closed \((.*)\)")
    ends = re.findall(r"Closed \((.*)\)", server.log)
    assert ends == ["the client stops"] * 3
    assert " ERROR " not in server.log
    assert "Traceback" not in server.log


def stop_under_load(client: Client) -> None:
    """SIGTERM while both directions are full."""
    over = threading.Event()
    workers = [Worker(client.tunnel_port(), over) for _ in range(8)]
    with ThreadPoolExecutor(len(workers)) as pool, contextlib.ExitStack() as stack:
        stack.callback(over.set)
        jobs = [pool.submit(worker.run) for worker in workers]
        until(lambda: all(worker.moved for worker in workers), "all streams move")
        client.signal(signal.SIGTERM)
        assert client.exit_code() == 0
        for job in jobs:
            assert isinstance(job.exception(), OSError), "its visitors are reset, not ended"


def test_client_stops_in_order_while_its_carrier_is_full(keep: Keep, tmp_path: Path) -> None:
    """A server that is busy for half a second still hears that the client goes."""
    peers = Crowd()
    server, client, port = carry(keep, tmp_path, peers.serve)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(FULL) as pool:
        stack.callback(peers.over.set)
        visitors = [stack.enter_context(visit(port)) for _ in range(FULL)]
        for sock in visitors:
            sock.sendall(b"flood")
            pool.submit(drop_all, sock)
        until(lambda: len(peers.sent) == FULL and min(peers.sent.values()) > MIB, "all streams move")
        server.signal(signal.SIGSTOP)
        peers.stuck(FULL)
        client.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.exit_code(deadline=0.5)
        server.signal(signal.SIGCONT)
        assert client.exit_code() == 0
    assert server.wait_for(r"Closed \((.*)\)")[1] == "the client stops"


def drop_all(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(MIB):
            pass


# --- rportd without its own parts ------------------------------------------------------------------------------------


def light(directory: Path) -> dict[str, str]:
    """An environment with what the light client needs and nothing else, for Python without its site packages."""
    site = Path(sysconfig.get_paths()["platlib"])
    directory.mkdir()
    for pattern in ("msgpack", "nacl", "cffi", "_cffi_backend*", "uvloop"):
        found = list(site.glob(pattern))
        assert found or pattern == "uvloop"
        for path in found:
            (directory / path.name).symlink_to(path)
    return {"PYTHONPATH": str(directory)}


def test_server_without_its_parts_says_what_to_install(keep: Keep, tmp_path: Path) -> None:
    env = light(tmp_path / "site")
    program = keep(Program("rport.server", "-p", "0", state=tmp_path, env=env, flags=["-S"]))
    assert program.exit_code() == 1
    assert program.lines == ["rportd needs its server parts: pip install 'rport[server]'"]


def test_client_runs_without_the_servers_parts(keep: Keep, tmp_path: Path) -> None:
    env = light(tmp_path / "site")
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    remotes = (f"127.0.0.1:0:127.0.0.1:{target.port}", f"127.0.0.1:0:localhost:{target.port}")
    client = keep(Client(server, *remotes, state=tmp_path, env=env, flags=["-S"]))
    for count in (1, 2):
        assert exchange(client.tunnel_port(count)) == b"ping"
    client.signal(signal.SIGTERM)
    assert client.exit_code() == 0
    assert "Traceback" not in client.log


# --- side by side: what waits for a timeout --------------------------------------------------------------------------


def suspended_server_comes_back(keep: Keep, state: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(state))
    client = keep(Client(server, "--keepalive", "1s", f"127.0.0.1:0:127.0.0.1:{target.port}", state=state))
    port = client.tunnel_port()
    with visit(port) as old:
        ping(old)
        server.signal(signal.SIGSTOP)
        client.wait_for("went silent", deadline=30)
        client.wait_for("Connecting to", 2)  # and waits in the queue of a server that sleeps
        server.signal(signal.SIGCONT)
        until(lambda: works(port), "the tunnel works again")
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    assert client.tunnel_port(2) == port
    assert len(server.sessions()) == 1


def suspended_client_comes_back(keep: Keep, state: Path) -> None:
    """The server pings after 25 s and gives up 10 s later, whatever the client's own keepalive is."""
    server, client, port = carry(keep, state, echo)
    with visit(port) as old:
        ping(old)
        client.signal(signal.SIGSTOP)
        server.wait_for("went silent", deadline=60)
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    until(lambda: refused(port), "the port is free")
    client.signal(signal.SIGCONT)
    until(lambda: works(port), "the tunnel works again")
    assert client.tunnel_port(2) == port
    assert len(server.sessions()) == 1


def full_unix_socket(keep: Keep, path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock = keep(socket.socket(socket.AF_UNIX))
            sock.setblocking(False)
            sock.connect(str(path))
    return listener


def silent_target_is_given_up(keep: Keep, state: Path) -> None:
    """One that drops what asks to come in, and a Unix socket whose queue is full, at which the client tries on."""
    target, deaf, full = keep(Target(echo)), keep(Deaf()), keep(full_unix_socket(keep, state / "full"))
    server = keep(Server(state))
    targets = (f"127.0.0.1:{deaf.port}", f"127.0.0.1:{target.port}", f"unix:{full.getsockname()}")
    client = keep(Client(server, *(f"127.0.0.1:0:{where}" for where in targets), state=state))
    dead, alive = client.tunnel_port(1), client.tunnel_port(2)
    began = time.monotonic()  # before the first of them comes: he may be dialled for while the others are still coming
    with visit(dead) as waiting, visit(alive) as steady, visit(client.tunnel_port(3)) as queued:
        until(deaf.dialling, "the client dials")
        rounds = 0
        while not was_reset(waiting):
            ping(steady)
            assert exchange(alive) == b"ping"
            rounds += 1
            assert time.monotonic() - began < 20, "the visitor waits for ever"
        # not a moment before the limit; a round of the other tunnel has no limit of its own but 10 s
        assert time.monotonic() - began > 9.9
        assert rounds > 1
        until(lambda: was_reset(queued), "the other is given up, too")
        ping(steady)
    server.wait_for(rf"WARNING .*127\.0\.0\.1:{deaf.port} cannot be reached: no answer in time")
    server.wait_for(r"WARNING .*unix:\S+/full cannot be reached: its queue of connections is full")
    assert len(re.findall("cannot be reached", server.log)) == 2
    assert "Disconnected" not in client.log


def stop_cuts_what_does_not_end(keep: Keep, state: Path) -> None:
    """Ten seconds, all of them; then the server goes, and what was cut is reset, not ended."""
    server, client, port = carry(keep, state, echo)
    with visit(port) as sock:
        ping(sock)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            while True:
                ping(sock)
                time.sleep(0.05)  # not to wait for anything: nobody needs more than a stream in use
        assert time.monotonic() - began > 9.9
    assert server.exit_code() == 0
    client.wait_for("INFO Disconnected: the server is going down")


def hung_client_costs_the_others_nothing(keep: Keep, state: Path) -> None:
    """The server waits for one client, stuck with a full carrier, after it has said goodbye to the other."""
    peers = Crowd()
    target = keep(Target(peers.serve))
    server = keep(Server(state))
    remote = f"127.0.0.1:0:127.0.0.1:{target.port}"
    client, hung = keep(Client(server, remote, state=state)), keep(Client(server, remote, state=state))
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(FULL) as pool:
        visitors = [stack.enter_context(visit(hung.tunnel_port())) for _ in range(FULL)]
        for sock in visitors:
            sock.sendall(b"other")
            ping(sock)
        hung.signal(signal.SIGSTOP)
        floods = [pool.submit(peers.flood, sock) for sock in visitors]
        peers.stuck(FULL)
        server.signal(signal.SIGTERM)
        client.wait_for("INFO Disconnected: the server is going down")
        assert server.exit_code() == 0
        assert all(isinstance(flood.exception(), OSError) for flood in floods)
    keep(Server(state, port=server.port))
    client.wait_for("Connected", 2)


def silent_link_is_noticed_by_both_ends(keep: Keep, state: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(state))
    relay = keep(Relay(server.port))
    client = keep(Client(relay.port, f"127.0.0.1:0:127.0.0.1:{target.port}", state=state))
    client.tunnel_port()
    relay.freeze()
    client.wait_for("went silent", deadline=60)
    server.wait_for("went silent")
    relay.thaw()
    client.wait_for("Connected", 2)
    assert exchange(client.tunnel_port(2)) == b"ping"


SCENARIOS = (
    silent_link_is_noticed_by_both_ends,
    suspended_server_comes_back,
    suspended_client_comes_back,
    silent_target_is_given_up,
    stop_cuts_what_does_not_end,
    hung_client_costs_the_others_nothing,
)


def test_after_a_long_wait(scenario: Future[None]) -> None:
    scenario.result()
