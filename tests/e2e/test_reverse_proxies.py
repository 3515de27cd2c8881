"""nginx, HAProxy, Apache and Caddy before rportd, configured as docs/reverse-proxies.md says."""

import contextlib
import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rport.client.upgrade import new_key, upgrade_request
from tests.support.certificates import Authority
from tests.support.neighbours import free_port
from tests.support.programs import Client, Server, Target, closing_all, echo, read_all, until
from tests.support.relay import Relay
from tests.support.reverse_proxies import NAME, PROXIES, ReverseProxy, Site, blocks

Keep = Callable[[Any], Any]
SIZE = 8 << 20
ELSEWHERE = "127.0.3.1"  # where clients come from: another address than the proxy's
PLAIN = [name for name, (_, _, encrypted) in PROXIES.items() if not encrypted]


@dataclass
class Setting:
    """rportd with a proxy before it."""

    name: str
    server: Server
    proxy: ReverseProxy
    directory: Path
    full: threading.Event  # the web server behind it has sent what nobody takes
    ca: Path | None = None

    def client(self, keep: Keep, *argv: str) -> Client:
        relay = keep(Relay(self.proxy.port, source=ELSEWHERE))
        words = ["--hostname", NAME, *argv]
        host = "127.0.0.1"
        if self.ca is not None:
            words += ["--tls-server-name", NAME, "--tls-ca", str(self.ca)]
            host = f"https://{host}"
        return keep(Client(relay.port, *words, state=self.directory / "client", host=host))  # type: ignore[no-any-return]

    def connect(self) -> socket.socket:
        """As any web client does."""
        address = ("127.0.0.1", self.proxy.port)
        sock = socket.create_connection(address, timeout=20, source_address=(ELSEWHERE, 0))
        if self.ca is None:
            return sock
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.ca)
        return context.wrap_socket(sock, server_hostname=NAME)


def start(keep: Keep, name: str, directory: Path, *options: str, idle: int = 60) -> Setting:
    full = threading.Event()

    def stall(sock: socket.socket) -> None:
        """Sends without an end to whoever gets, and takes nothing from whoever posts."""
        if sock.recv(4) == b"POST":
            full.wait(20)
            return
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        fill_up(sock)
        full.set()
        read_all(sock)

    backend = keep(Target(stall))
    words = ("--trusted-proxy", "127.0.0.1", "--proxy", f"http://127.0.0.1:{backend.port}", *options)
    server = keep(Server(directory / "server", *words))
    make, number, encrypted = PROXIES[name]
    authority = Authority(directory) if encrypted else None
    cert, key = authority.issue(f"DNS:{NAME}") if authority else (None, None)
    proxy = keep(make(Site(directory, free_port(), server.port, cert, key, idle), number))
    return Setting(name, server, proxy, directory, full, authority and authority.ca)


@pytest.fixture(scope="module", params=PROXIES)
def setting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    with closing_all() as keep:
        yield start(keep, request.param, tmp_path_factory.mktemp(request.param))


def visit(client: Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.tunnel_port()), timeout=20)


def fill_up(sock: socket.socket) -> None:
    """Send until nothing on the way takes more."""
    sock.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        for _ in range(256):
            sock.sendall(bytes(1 << 20))
        raise AssertionError("it goes somewhere, without an end")


def remote(target: Target) -> str:
    return f"127.0.0.1:0:127.0.0.1:{target.port}"


def test_every_configuration_of_the_page_is_used() -> None:
    for language in ("nginx", "haproxy", "apache", "caddy"):
        used = [number for name, (_, number, _) in PROXIES.items() if name.partition("-")[0] == language]
        assert sorted(used) == [*range(len(blocks(language)))]


def test_bytes_go_there_and_back(setting: Setting, keep: Keep) -> None:
    client = setting.client(keep, remote(keep(Target(echo))))
    data = os.urandom(SIZE)
    with visit(client) as sock:
        sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        got = read_all(sock)
        sender.join()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def test_sessions_show_the_client_s_address(setting: Setting, keep: Keep) -> None:
    setting.client(keep, "-v")
    until(lambda: any(session["address"].startswith(f"{ELSEWHERE}:") for session in setting.server.sessions()), "seen")


def test_a_client_cannot_choose_its_address(setting: Setting) -> None:
    before = setting.server.log.count(f"{ELSEWHERE}: refused: rport-v1")
    fields = [("X-Forwarded-For", "192.0.2.66"), ("Forwarded", "for=192.0.2.66"), ("X-Real-IP", "192.0.2.66")]
    asks = upgrade_request(NAME, "/", new_key(), fields).replace(b"rport-v2", b"rport-v1")
    with setting.connect() as sock:
        sock.sendall(asks)
        assert b" 400 " in sock.recv(4096)
    setting.server.wait_for(f"{ELSEWHERE}: refused: rport-v1", before + 1)
    assert "192.0.2.66" not in setting.server.log


@pytest.mark.parametrize("host", [NAME, "localhost", "127.0.0.1"])
def test_the_api_is_not_reached_through_it(setting: Setting, host: str) -> None:
    with setting.connect() as sock:
        sock.sendall(f"GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = read_all(sock)
    assert b"sessions_count" not in answer
    assert answer.startswith(b"HTTP/1.1 403 ") or host != NAME  # of which some know nothing
    assert setting.server.api("/api/v1/status")[0] == 200


@pytest.mark.parametrize("setting", PLAIN, indirect=True)
def test_what_waits_is_not_kept_on_disk(setting: Setting, keep: Keep) -> None:
    go_on = threading.Event()

    def slow(sock: socket.socket) -> None:
        go_on.wait(20)
        echo(sock)

    client = setting.client(keep, remote(keep(Target(slow))))
    with visit(client) as sock:
        fill_up(sock)
        assert setting.proxy.files() == []
        go_on.set()
        fill_up(sock)
        assert setting.proxy.files() == []


@pytest.mark.parametrize("setting", PLAIN, indirect=True)
def test_bodies_are_not_kept_on_disk(setting: Setting) -> None:
    """Of requests to the web server behind it."""
    with setting.connect() as sock:
        sock.sendall(f"POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 1000000000\r\n\r\n".encode())
        fill_up(sock)
        assert setting.proxy.files() == []
    with setting.connect() as sock:
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        assert setting.full.wait(20)
        assert setting.proxy.files() == []


@pytest.mark.parametrize("setting", PLAIN, indirect=True)
def test_a_reload_leaves_sessions_or_they_come_back(setting: Setting, keep: Keep) -> None:
    client = setting.client(keep, remote(keep(Target(echo))))
    with visit(client) as sock:
        sock.sendall(b"before")
        assert sock.recv(6) == b"before"
        setting.proxy.reload()
        if not setting.name.startswith("caddy"):
            sock.sendall(b"behind")
            assert sock.recv(6) == b"behind"
            assert client.log.count("Connected") == 1
            return
    client.wait_for("Connected", 2)
    client.tunnel_port(2)
    with socket.create_connection(("127.0.0.1", client.tunnel_port(2)), timeout=20) as sock:
        sock.sendall(b"behind")
        assert sock.recv(6) == b"behind"


def test_tls_that_a_proxy_passes_on_to_rportd(keep: Keep, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = map(str, authority.issue(f"DNS:{NAME}"))
    setting = start(keep, "haproxy-tcp", tmp_path, "--tls-cert", cert, "--tls-key", key)
    setting.ca = authority.ca
    client = setting.client(keep, remote(keep(Target(echo))))
    setting.server.wait_for(rf"Open \(client \S+ {ELSEWHERE}:\d+\)")
    with visit(client) as sock:
        sock.sendall(b"through")
        assert sock.recv(7) == b"through"


def test_pings_hold_a_quiet_session_through_idle_limits(keep: Keep, tmp_path: Path) -> None:
    """All at once, since it takes the limit's time. Caddy has none."""
    clients, settings = {}, {}
    for name in ("nginx", "haproxy", "haproxy-tcp", "apache"):
        directory = tmp_path / name
        directory.mkdir()
        settings[name] = start(keep, name, directory, idle=2)  # pings are late at times where others compute
    for name, setting in settings.items():  # their connections, again and again, take free ports
        clients[name] = setting.client(keep, "--keepalive", "0"), setting.client(keep, "--keepalive", "300ms")
    for name, (quiet, held) in clients.items():
        quiet.wait_for("Connected", 3)  # the limit is there: it has bitten
        assert held.log.count("Connected") == 1, name
