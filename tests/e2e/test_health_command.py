"""`rportd health`, as health checks of containers and scripts ask."""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.neighbours import free_port
from tests.support.programs import Client, Server, Target, echo, read_all, until

Keep = Callable[[Any], Any]


def health(*argv: str) -> tuple[int, str]:
    """Exit code, and the one line that it printed."""
    command = [sys.executable, "-m", "rport.server", "health", "--config", "none", *argv]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.stdout.count("\n") == 1, done.stdout
    return done.returncode, done.stdout.rstrip()


def test_a_server_is_ready(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    assert health("--port", str(server.port)) == (0, "ready")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_one_on_all_addresses_is_asked_on_its_own(keep: Keep, tmp_path: Path, host: str) -> None:
    server = keep(Server(tmp_path, host=host))
    assert health("--host", host, "-p", str(server.port)) == (0, "ready")


def test_the_configuration_says_where(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    file = tmp_path / "rportd.toml"
    file.write_text(f'host = "127.0.0.1"\nport = {server.port}\n')
    assert health("--config", str(file)) == (0, "ready")


def test_over_tls(keep: Keep, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("DNS:tunnel.example.com")
    shown = ("--tls-cert", str(cert), "--tls-key", str(key))
    server = keep(Server(tmp_path, *shown))
    assert health("--port", str(server.port), *shown) == (0, "ready")
    closed = (*shown, "--tls-client-ca", str(authority.ca))
    strict = keep(Server(tmp_path / "strict", *closed))
    code, said = health("--port", str(strict.port), *closed)
    assert (code, said.partition(";")[0]) == (0, "listens")
    keep(Client(server, "--tls-ca", str(authority.ca), "--tls-server-name", "tunnel.example.com", state=tmp_path / "c",
                host="https://127.0.0.1"))  # fmt: skip
    assert "refused" not in strict.log


def test_nobody_there() -> None:
    port = free_port()
    assert health("--port", str(port)) == (
        1,
        f"rportd health: no answer from 127.0.0.1 port {port}: Connection refused",
    )


def test_something_else_there(keep: Keep) -> None:
    other = keep(Target(lambda sock: sock.sendall(b"SSH-2.0-x\r\n")))
    code, said = health("--port", str(other.port))
    assert code == 1
    assert said.startswith(f"rportd health: no answer from 127.0.0.1 port {other.port}: ")


QUICK = "import sys; from rport.server import health as it; it._TIMEOUT = 1; sys.exit(it.health_command(sys.argv[1:]))"


def test_something_that_never_comes_to_an_end(keep: Keep) -> None:
    def trickle(sock: socket.socket) -> None:
        sock.settimeout(0.1)
        sock.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        with contextlib.suppress(OSError):
            while True:
                with contextlib.suppress(TimeoutError):
                    if not sock.recv(65536):
                        return
                sock.sendall(b"x")

    port = str(keep(Target(trickle)).port)
    command = [sys.executable, "-c", QUICK, "--config", "none", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (1, f"rportd health: no answer from 127.0.0.1 port {port}: timed out\n")


def test_one_that_stops(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path / "server"))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path / "client"))
    port = str(server.port)
    with socket.create_connection(("127.0.0.1", client.tunnel_port())) as visitor:  # is waited for
        visitor.sendall(b"x")
        assert visitor.recv(1) == b"x"
        server.signal(signal.SIGTERM)
        said = f"rportd health: not ready: /readyz at 127.0.0.1 port {port} answers 503"
        until(lambda: health("--port", port) == (1, said), "it is not ready")
        visitor.shutdown(socket.SHUT_WR)
        read_all(visitor)
    assert server.exit_code() == 0


def test_a_port_has_to_be_named() -> None:
    code, said = health("--port", "0")
    assert code == 1
    assert "--port 0 does not say where rportd listens" in said
