"""What must hold while connections are carried, seen from outside."""

import contextlib
import hashlib
import os
import random
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Client, Server, Target, echo, read_all, until

Keep = Callable[[Any], Any]


def visit(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def pair(keep: Keep, state: Path, serve: Callable[[socket.socket], None]) -> tuple[Server, Client, Target]:
    target = keep(Target(serve))
    server = keep(Server(state))
    return server, keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=state)), target


def test_bytes_go_there_and_back(keep: Keep, tmp_path: Path) -> None:
    _, client, _ = pair(keep, tmp_path, echo)
    with visit(client.tunnel_port()) as sock:
        for size in (1, 100, 70000):
            data = os.urandom(size)
            sock.sendall(data)
            assert read_exactly(sock, size) == data


def read_exactly(sock: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        data = sock.recv(min(size, 1 << 20))
        assert data, "the connection ended early"
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def test_parallel_visitors_each_get_their_own_bytes(keep: Keep, tmp_path: Path) -> None:
    _, client, _ = pair(keep, tmp_path, echo)
    port = client.tunnel_port()
    failures: list[object] = []

    def one(seed: int) -> None:
        data = random.Random(seed).randbytes(random.Random(seed).randrange(1, 400_000))
        with visit(port) as sock:
            sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
            sender.start()
            got = read_all(sock)
            sender.join()
        if hashlib.sha256(got).digest() != hashlib.sha256(data).digest():
            failures.append((seed, len(data), len(got)))

    threads = [threading.Thread(target=one, args=(seed,)) for seed in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_visitor_half_closes_and_still_gets_the_answer(keep: Keep, tmp_path: Path) -> None:
    def answer_at_the_end(sock: socket.socket) -> None:
        data = read_all(sock)
        sock.sendall(hashlib.sha256(data).digest() * 30000)

    _, client, _ = pair(keep, tmp_path, answer_at_the_end)
    data = os.urandom(3_000_000)
    with visit(client.tunnel_port()) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == hashlib.sha256(data).digest() * 30000


def test_target_half_closes_and_still_gets_the_rest(keep: Keep, tmp_path: Path) -> None:
    got: list[bytes] = []

    def end_first(sock: socket.socket) -> None:
        sock.sendall(b"greeting")
        sock.shutdown(socket.SHUT_WR)
        got.append(read_all(sock))

    _, client, _ = pair(keep, tmp_path, end_first)
    data = os.urandom(2_000_000)
    with visit(client.tunnel_port()) as sock:
        assert read_all(sock) == b"greeting"
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        until(lambda: got, "the target has read to the end")
    assert got[0] == data


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_resets_travel_both_ways_and_leak_nothing(keep: Keep, tmp_path: Path) -> None:
    seen: list[str] = []

    def serve(sock: socket.socket) -> None:
        word = sock.recv(5)
        if word == b"reset":
            reset(sock)
            return
        sock.sendall(b"ready")
        try:
            read_all(sock)
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")

    server, client, _ = pair(keep, tmp_path, serve)
    port = client.tunnel_port()
    with visit(port) as steady:
        steady.sendall(b"hello")
        assert read_exactly(steady, 5) == b"ready"
        before = server.descriptors(), client.descriptors()
        for _ in range(20):
            sock = visit(port)
            sock.sendall(b"hello")
            assert read_exactly(sock, 5) == b"ready"
            reset(sock)
        until(lambda: len(seen) == 20, "the target has seen every end")
        assert set(seen) == {"reset"}
        for _ in range(20):
            with visit(port) as sock, pytest.raises(ConnectionResetError):
                sock.sendall(b"reset")
                read_all(sock)
        until(lambda: (server.descriptors(), client.descriptors()) == before, "descriptors are back")
        steady.shutdown(socket.SHUT_WR)
        assert read_all(steady) == b""


def test_refused_target_resets_the_visitor_and_says_why(keep: Keep, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = free.getsockname()[1]
    server = keep(Server(tmp_path))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{dead}", state=tmp_path))
    with pytest.raises(ConnectionResetError), visit(client.tunnel_port()) as sock:
        read_all(sock)
    server.wait_for(rf"127\.0\.0\.1:{dead} cannot be reached: Connection refused")
    client.wait_for(rf"WARNING Target 127\.0\.0\.1:{dead} cannot be reached: Connection refused")


def test_visitor_that_never_reads_harms_nobody(keep: Keep, tmp_path: Path) -> None:
    def flood(sock: socket.socket) -> None:
        if sock.recv(5) == b"flood":
            while True:
                sock.sendall(bytes(1 << 20))
        echo(sock)

    server, client, _ = pair(keep, tmp_path, flood)
    port = client.tunnel_port()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(visit(port)).sendall(b"flood")
        with visit(port) as sock:
            sock.sendall(b"other")
            data = os.urandom(5_000_000)
            sender = threading.Thread(target=sock.sendall, args=(data,))
            sender.start()
            assert read_exactly(sock, len(data)) == data
            sender.join()
        assert server.resident() < 200 << 20
        assert client.resident() < 200 << 20


def test_names_are_resolved_by_the_client(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    client = keep(Client(server, f"0:localhost:{target.port}", "0:no-such-host.invalid:80", state=tmp_path))
    with visit(client.tunnel_port(1)) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    with pytest.raises(ConnectionResetError), visit(client.tunnel_port(2)) as sock:
        read_all(sock)
    server.wait_for("no-such-host.invalid does not resolve")
