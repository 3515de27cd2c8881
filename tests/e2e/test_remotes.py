"""What a remote may lead to besides TCP, and what it may tell its target: Unix sockets and the PROXY protocol."""

import contextlib
import hashlib
import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_tunnel import read_exactly
from tests.support.neighbours import free_port, haproxy, nginx_with
from tests.support.programs import Client, Server, Target, echo, read_all, until
from tests.support.wire import connect, login

Keep = Callable[[Any], Any]
MUCH = 16 << 20  # octets


def visit(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=20)


def round_trip(port: int, data: bytes, host: str = "127.0.0.1", *, end: bool = True) -> bytes:
    """What comes back of `data`, and of its `end`."""
    with visit(port, host) as sock:
        sender = threading.Thread(target=lambda: (sock.sendall(data), end and sock.shutdown(socket.SHUT_WR)))
        sender.start()
        try:
            return read_all(sock) if end else read_exactly(sock, len(data))
        finally:
            sender.join()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def listening(path: Path, backlog: int = 100) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(backlog)
        yield sock


# --- Unix sockets ----------------------------------------------------------------------------------------------------


def test_a_unix_socket_is_a_target_like_any_other(keep: Keep, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    server = keep(Server(tmp_path))
    client = keep(Client(server, f"127.0.0.1:0:unix:{path}", state=tmp_path))
    port = client.tunnel_port()
    server.wait_for(rf"127\.0\.0\.1:{port} => unix:{path} Listening")
    (remote,) = server.sessions()[0]["remotes"]
    assert (remote["rhost"], remote["rport"], remote["proxy"]) == (f"unix:{path}", "0", "")

    with pytest.raises(ConnectionResetError), visit(port) as sock:
        read_all(sock)
    server.wait_for(rf"WARNING session#1: unix:{path} cannot be reached: there is no such socket")
    client.wait_for(rf"WARNING Target unix:{path} cannot be reached: there is no such socket")

    with listening(path) as listener:
        before = server.descriptors(), client.descriptors()
        keep(Target(echo, listener))
        data = os.urandom(MUCH)
        assert digest(round_trip(port, data)) == digest(data)
        until(lambda: (server.descriptors(), client.descriptors()) == before, "descriptors are back")


def test_a_burst_of_visitors_waits_for_a_short_queue(keep: Keep, tmp_path: Path) -> None:
    """connect() to a Unix socket fails at once where TCP's would go on asking."""
    with listening(tmp_path / "s", backlog=1) as listener:
        server = keep(Server(tmp_path))
        client = keep(Client(server, f"127.0.0.1:0:unix:{tmp_path}/s", state=tmp_path))
        port = client.tunnel_port()
        visitors = [keep(visit(port)) for _ in range(40)]
        for number, sock in enumerate(visitors):
            sock.sendall(b"%02d" % number)
            sock.shutdown(socket.SHUT_WR)
        keep(Target(echo, listener))
        assert [read_all(sock) for sock in visitors] == [b"%02d" % number for number in range(40)]
        assert "cannot be reached" not in server.log


def test_the_server_gets_no_socket_that_the_client_did_not_allow(keep: Keep, tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener:
        keep(Target(echo, listener))
        server = keep(Server(tmp_path))
        client = keep(Client(server, "--allow", f"unix:{tmp_path}/s", "--allow", "0.0.0.0/0", state=tmp_path))
        tunnels = f"/api/v1/sessions/{server.sessions()[0]['id']}/tunnels?local=127.0.0.1:0&remote=unix:{tmp_path}/"
        status, answer = server.api(f"{tunnels}S", "PUT")
        assert status == 403
        assert f"covers unix:{tmp_path}/S; to dial it, give the client --allow unix:{tmp_path}/S" in answer["error"]
        client.wait_for(rf"WARNING The server asked for a tunnel to unix:{tmp_path}/S: refused")

        status, answer = server.api(f"{tunnels}s", "PUT")
        assert (status, answer["rhost"], answer["rport"]) == (200, f"unix:{tmp_path}/s", "0")
        assert round_trip(int(answer["lport"]), b"hello") == b"hello"


@pytest.mark.parametrize("key", ["unix", "proxy"])
def test_unfit_values_end_the_session_and_nothing_else(keep: Keep, tmp_path: Path, key: str) -> None:
    server = keep(Server(tmp_path))
    for value in ("", "/" + "x" * 107, "/run/\x1b[2J", "v3", 1, None, ["v1"]):
        remote = {"lhost": "127.0.0.1", "lport": 0, "rhost": "127.0.0.1", "rport": 1, key: value}
        with contextlib.closing(login(server.port)) as peer:
            peer.control(type="declare", ref=0, remote=remote)
            peer.drain()
    until(lambda: not server.sessions(), "all sessions have ended")
    assert "Listening" not in server.log.partition("...")[2]
    assert "\x1b" not in server.log


# --- the PROXY protocol ----------------------------------------------------------------------------------------------


def get(port: int, host: str, path: str = "/") -> tuple[bytes, tuple[str, int]]:
    """A page through a tunnel, and the address that it was asked from."""
    connection = http.client.HTTPConnection(host, port, timeout=20)
    try:
        connection.connect()
        name = connection.sock.getsockname()[:2]
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read(), name
    finally:
        connection.close()


def told(port: int, host: str) -> tuple[str, str]:
    """What the page says of its visitor, and what it should say."""
    page, (source, source_port) = get(port, host)
    return page.decode(), f"{source} {source_port} {host} {port}"


def four_tunnels(client: Client) -> list[tuple[int, str]]:
    """Port and address of each, in the order in which they were asked for."""
    return [(client.tunnel_port(number), "::1" if number > 2 else "127.0.0.1") for number in range(1, 5)]


def both_versions(*targets: str) -> list[str]:
    """Remotes to one target or to two, over IPv4 and IPv6."""
    first, second = targets[0], targets[-1]
    return [f"{host}:0:{where}" for host in ("127.0.0.1", "[::1]") for where in (f"{first}v1", f"{second}v2")]


def test_nginx_is_told_of_each_visitor(keep: Keep, tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "nginx.sock"
    variables = "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port"
    (tmp_path / "much").write_bytes(os.urandom(MUCH))
    keep(
        nginx_with(
            tmp_path,
            port,
            f"listen 127.0.0.1:{port} proxy_protocol; listen unix:{path} proxy_protocol; root {tmp_path};"
            f' location = / {{ return 200 "{variables}"; }}',
        )
    )
    server = keep(Server(tmp_path))
    client = keep(Client(server, *both_versions(f"127.0.0.1:{port}?proxy=", f"unix:{path}?proxy="), state=tmp_path))
    for tunnel, host in four_tunnels(client):
        said, expected = told(tunnel, host)
        assert said == expected
        much, _ = get(tunnel, host, "/much")
        assert digest(much) == digest((tmp_path / "much").read_bytes())


def test_haproxy_is_told_of_each_visitor_and_takes_much(keep: Keep, tmp_path: Path) -> None:
    page, bulk = free_port(), free_port()
    target = keep(Target(echo))
    keep(
        haproxy(
            tmp_path,
            page,
            f"frontend page\n mode http\n bind 127.0.0.1:{page} accept-proxy\n http-request return status 200 "
            'content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"',
            f"listen bulk\n mode tcp\n bind 127.0.0.1:{bulk} accept-proxy\n server target 127.0.0.1:{target.port}",
        )
    )
    server = keep(Server(tmp_path))
    words = [f"127.0.0.1:{port}?proxy=" for port in (page, bulk)]
    pages = keep(Client(server, *both_versions(words[0]), state=tmp_path))
    bulks = keep(Client(server, *both_versions(words[1]), state=tmp_path))
    data = os.urandom(MUCH)
    for tunnel, host in four_tunnels(pages):
        said, expected = told(tunnel, host)
        assert said == expected
    for tunnel, host in four_tunnels(bulks):
        # HAProxy 2.6 on a busy machine now and then takes an end for the end before it has read all that came with it.
        assert digest(round_trip(tunnel, data, host, end=False)) == digest(data)


def greeting(sock: socket.socket) -> None:
    """Speaks first, but not before it knows to whom."""
    line = sock.makefile("rb").readline()
    sock.sendall(b"220 hello " + line.split()[2])
    read_all(sock)


def test_a_target_that_speaks_first_knows_to_whom(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(greeting))
    server = keep(Server(tmp_path))
    remotes = [f"127.0.0.1:0:127.0.0.1:{port}?proxy=v1" for port in (target.port, free_port())]
    client = keep(Client(server, *remotes, state=tmp_path))
    with visit(client.tunnel_port(1)) as sock:
        assert sock.recv(100) == b"220 hello 127.0.0.1"
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""
    with pytest.raises(ConnectionResetError), visit(client.tunnel_port(2)) as sock:
        read_all(sock)
    server.wait_for("WARNING .* cannot be reached: Connection refused")


def test_the_api_asks_for_it(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(greeting))
    server = keep(Server(tmp_path))
    keep(Client(server, state=tmp_path))
    tunnels = f"/api/v1/sessions/{server.sessions()[0]['id']}/tunnels"
    status, answer = server.api(f"{tunnels}?local=127.0.0.1:0&remote={target.port}&proxy=v1", "PUT")
    assert (status, answer["proxy"]) == (200, "v1")
    with visit(int(answer["lport"])) as sock:
        assert sock.recv(100) == b"220 hello 127.0.0.1"
    assert [remote["proxy"] for remote in server.sessions()[0]["remotes"]] == ["v1"]

    again = f"{tunnels}?local=127.0.0.1:{answer['lport']}&remote={target.port}"
    assert server.api(f"{again}&proxy=v1", "PUT") == (204, None)
    status, answer = server.api(f"{again}&proxy=v2", "PUT")
    assert (status, "is taken by tunnel" in answer["error"]) == (409, True)


def test_a_client_that_does_not_know_it_is_not_asked(keep: Keep, tmp_path: Path) -> None:
    """One of another version would dial something else, or nothing."""
    server = keep(Server(tmp_path))
    with contextlib.closing(connect(server.port)) as peer:
        strange = ["later", 1, None, [], {}, *["x" * 200] * 200]
        peer.control(type="hello", version="old", identity="00" * 32, remotes=[], caps=strange)
        (session,) = until(server.sessions, "the hello is accepted")
        tunnels = f"/api/v1/sessions/{session['id']}/tunnels?local=127.0.0.1:0"
        for query in ("remote=unix:/run/x.sock", "remote=22&proxy=v1"):
            status, answer = server.api(f"{tunnels}&{query}", "PUT")
            assert (status, answer["error"]) == (403, "this client is too old for it; update rport there")


def test_a_tunnel_has_one_name_in_both_logs_and_whether_it_is_up_or_not(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "server"))
    client = keep(Client(server, "0:22", f"{server.port}:23", state=tmp_path / "client"))
    port, refused = client.tunnel_port(), rf"unnel 0\.0\.0\.0:{server.port} => 127\.0\.0\.1:23: port"
    client.wait_for(rf"INFO Tunnel 0\.0\.0\.0:{port} => 127\.0\.0\.1:22\b")
    server.wait_for(rf"0\.0\.0\.0:{port} => 127\.0\.0\.1:22 Listening")
    client.wait_for(refused)
    server.wait_for(refused)
