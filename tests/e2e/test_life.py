"""Coming and going: reconnects, taken ports, logins, fingerprints, orderly stops."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.programs import Client, Program, Server, Target, echo, read_all, until

Keep = Callable[[Any], Any]


def exchange(port: int, data: bytes = b"ping") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


def answers(port: int) -> bool:
    try:
        return exchange(port) == b"ping"
    except OSError:
        return False


def test_client_returns_to_a_killed_server_on_the_same_port(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keep(Client(server, f"127.0.0.1:{port}:127.0.0.1:{target.port}", state=tmp_path))
    until(lambda: answers(port), "the tunnel works")
    fingerprint = server.fingerprint
    server.stop()
    again = keep(Server(tmp_path, port=server.port))
    assert again.fingerprint == fingerprint
    until(lambda: answers(port), "the tunnel works again")


def test_killed_client_frees_its_ports(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    client = keep(Client(server, "127.0.0.1:0:9", state=tmp_path))
    port = client.tunnel_port()
    client.stop()
    until(lambda: not server.sessions(), "the session is gone")
    socket.create_server(("127.0.0.1", port)).close()


def test_second_client_gets_the_port_when_the_first_goes(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    first = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    port = first.tunnel_port()
    second = keep(Client(server, f"127.0.0.1:{port}:127.0.0.1:{target.port}", state=tmp_path))
    second.wait_for(rf"port {port} is taken by another tunnel of session#1")
    first.stop()
    assert second.tunnel_port() == port
    assert exchange(port) == b"ping"


def test_port_of_another_program_is_named(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        client = keep(Client(server, f"127.0.0.1:{port}:9", state=tmp_path))
        client.wait_for(rf"port {port} is in use by another program on the server")
    assert client.tunnel_port() == port


def test_nobody_listens_on_the_server_s_own_port(keep: Keep, tmp_path: Path) -> None:
    """On whatever address: who asks localhost for the API must not get somebody else's answer."""
    server = keep(Server(tmp_path))
    client = keep(Client(server, f"[::1]:{server.port}:127.0.0.1:9", "127.0.0.1:0:9", state=tmp_path))
    client.wait_for(rf"ERROR Tunnel .*port {server.port} is the server's own")
    assert client.tunnel_port()


def test_login(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path, env={"RPORT_AUTH": "me:se:cret"}))
    keep(Client(server, state=tmp_path, env={"RPORT_AUTH": "me:se:cret"}))
    wrong = keep(Client(server, state=tmp_path, wait=False, env={"AUTH": "me:other"}))
    assert wrong.exit_code() == 5
    assert "login failed" in wrong.log
    nobody = keep(Client(server, state=tmp_path, wait=False))
    assert nobody.exit_code() == 5
    stubborn = keep(Client(server, "--max-retry-count", "2", state=tmp_path, wait=False, env={"AUTH": "you:other"}))
    assert stubborn.exit_code() == 5, "it may have been told to wait, but why it must go has not changed"
    assert "cret" not in server.log


def test_fingerprints(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "a"))
    prefix = server.fingerprint[:23]
    keep(Client(server, "--fingerprint", prefix, state=tmp_path))
    wrong = keep(Client(server, "-fingerprint=" + "00:" * 8 + "00", state=tmp_path, wait=False))
    assert wrong.exit_code() == 4
    assert server.fingerprint in wrong.log
    # trust on first use: remembered, then a changed key is refused
    keep(Client(server, state=tmp_path / "c")).wait_for("First contact")
    server.stop()
    keep(Server(tmp_path / "b", port=server.port))
    changed = keep(Client(server.port, state=tmp_path / "c", wait=False))
    assert changed.exit_code() == 4
    assert "HAS CHANGED" in changed.log


def test_key_text_gives_the_same_fingerprint(keep: Keep, tmp_path: Path) -> None:
    one = keep(Server(tmp_path / "a", env={"RPORT_KEY": "a phrase"}))
    two = keep(Server(tmp_path / "b", "--key", "a phrase"))
    assert one.fingerprint == two.fingerprint
    assert "a phrase" not in one.log + two.log


def test_key_file_is_private(keep: Keep, tmp_path: Path) -> None:
    keep(Server(tmp_path / "a"))
    assert (tmp_path / "a" / "key").stat().st_mode & 0o777 == 0o600


def test_orderly_stop_lets_connections_end(keep: Keep, tmp_path: Path) -> None:
    def slow(sock: socket.socket) -> None:
        sock.sendall(b"begin")
        sock.recv(1)
        sock.sendall(b"end")

    target = keep(Target(slow))
    server = keep(Server(tmp_path))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    with socket.create_connection(("127.0.0.1", client.tunnel_port()), timeout=10) as sock:
        assert sock.recv(5) == b"begin"
        server.signal(signal.SIGTERM)
        server.wait_for("Stopping")
        sock.sendall(b"x")
        assert read_all(sock) == b"end"
    assert server.exit_code() == 0
    client.wait_for("the server is going down")
    client.signal(signal.SIGTERM)
    assert client.exit_code() == 0


def test_retries_end_with_their_own_code(keep: Keep, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = keep(Client(port, "--max-retry-count", "1", state=tmp_path, wait=False))
    assert client.exit_code() == 6
    assert "Connection refused" in client.log
    assert "Traceback" not in client.log


def test_strangers_are_recognised(keep: Keep, tmp_path: Path) -> None:
    def banner(sock: socket.socket) -> None:
        sock.sendall(b"SSH-2.0-Something\r\n")
        read_all(sock)

    target = keep(Target(banner))
    client = keep(Client(target.port, "--max-retry-count=0", state=tmp_path, wait=False))
    assert client.exit_code() == 6
    assert "SSH" in client.log


def test_api(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    keep(Client(server, state=tmp_path))
    assert server.api("/api/v1/status")[1]["sessions_count"] == 1
    session = server.sessions()[0]
    assert len(session["id"]) == 64
    assert session["remotes"] == []
    base = f"/api/v1/sessions/{session['id']}/tunnels"
    status, tunnel = server.api(f"{base}?local=127.0.0.1:0&remote={target.port}", "PUT")
    assert (status, tunnel["success"]) == (200, 1)
    assert exchange(int(tunnel["lport"])) == b"ping"
    again = f"{base}?local=127.0.0.1:{tunnel['lport']}&remote={target.port}"
    assert server.api(again, "PUT") == (204, None)
    assert server.api(f"{base}?local=127.0.0.1:{tunnel['lport']}&remote=1", "PUT")[0] == 409
    assert server.api(f"{base}?local=0&remote=192.0.2.1:80", "PUT")[0] == 403
    assert server.api(f"{base}?local=x&remote=80", "PUT")[0] == 400
    assert server.api(f"/api/v1/sessions/{'0' * 64}/tunnels?local=0&remote=1", "PUT")[0] == 404
    assert server.api("/api/v1/status", host="evil.example")[0] == 403
    assert server.api("/api/openapi.json")[1]["openapi"].startswith("3.1")


def test_usage_errors_are_one_line_and_exit_1(keep: Keep, tmp_path: Path) -> None:
    cases = [
        ("rport.client", "127.0.0.1:1", "99999"),
        ("rport.client", "127.0.0.1:1", "foo"),
        ("rport.client", "127.0.0.1:1", "--fingerprint", "xyz"),
        ("rport.client", "127.0.0.1:1", "--keepalive", "5"),
        ("rport.client", "127.0.0.1:1", "--finger", "x"),
        ("rport.client",),
        ("rport.server", "--port", "70000"),
        ("rport.server", "--auth", "nocolon"),
        ("rport.server", "--host", "192.0.2.77", "-p", "0"),
    ]
    for module, *argv in cases:
        program = keep(Program(module, *argv, state=tmp_path))
        assert program.exit_code() == 1, (argv, program.log)
        assert len(program.lines) == 1, (argv, program.log)


def test_help_and_version_exit_0(keep: Keep, tmp_path: Path) -> None:
    for module in ("rport.client", "rport.server"):
        for option in ("--help", "-version"):
            program = keep(Program(module, option, state=tmp_path))
            assert program.exit_code() == 0
            assert program.lines


def test_suspended_client_works_after_waking(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    port = client.tunnel_port()
    os.kill(client.pid, signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"waits")
        os.kill(client.pid, signal.SIGCONT)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"waits"


def test_verbose_tells_of_each_connection(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    for verbose in (["-v"], []):
        server = keep(Server(tmp_path / f"server{len(verbose)}", *verbose))
        client = keep(
            Client(server, *verbose, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path / f"client{len(verbose)}")
        )
        with socket.create_connection(("127.0.0.1", client.tunnel_port()), timeout=10) as sock:
            visitor = "{}:{}".format(*sock.getsockname())
            sock.sendall(b"12345")
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b"12345"
        client.signal(signal.SIGTERM)
        server.wait_for("Closed")
        if verbose:
            server.wait_for(rf"DEBUG session#1: stream 2 through tunnel 1 for {visitor}")
            server.wait_for(r"DEBUG session#1: stream 2 ended, 5 octets in, 5 out")
            client.wait_for(r"DEBUG session: stream 2 ended, 5 octets in, 5 out")
        else:
            assert "DEBUG" not in server.log + client.log


def test_picked_port_is_kept_over_a_restart(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    client = keep(Client(server, "127.0.0.1:0:9", state=tmp_path))
    port = client.tunnel_port()
    server.stop()
    keep(Server(tmp_path, port=server.port))
    assert client.tunnel_port(2) == port
