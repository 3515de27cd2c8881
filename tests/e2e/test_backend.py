"""`rportd --proxy`: a web site on the tunnel's port, served by nginx and by small servers of our own."""

import base64
import hashlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.neighbours import Daemon, free_port, tool
from tests.support.programs import Client, Program, Server, Target, echo, read_all, until

Keep = Callable[[Any], Any]
MEBIBYTE = 1 << 20
BIG = 256 * MEBIBYTE
GET = b"GET / HTTP/1.1\r\nHost: public.example\r\nConnection: close\r\n\r\n"


def site(keep: Keep, directory: Path, text: str, port: int | None = None) -> int:
    """nginx with this inside its `server` block; where it listens."""
    port = port or free_port()
    paths = " ".join(f"{name}_temp_path {directory}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {directory}/body; {paths} client_max_body_size 0;\n"
        f"server {{ listen 127.0.0.1:{port}; {text} }} }}\n"
    )
    keep(Daemon(port, tool("nginx"), "-e", "stderr", "-p", str(directory), "-c", str(config)))
    return port


def curl(*argv: str | Path, data: bytes | None = None) -> bytes:
    run = subprocess.run([tool("curl"), "-sS", "--max-time", "60", *argv], input=data, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


def ask(port: int, data: bytes = GET) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(data)
        return read_all(sock)


def test_a_site_the_api_and_tunnels_share_a_port(keep: Keep, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("a page")
    inside = site(
        keep, tmp_path, f"root {tmp_path}; location = /host {{ return 200 $host; }} location /api {{ return 418; }}"
    )
    server = keep(Server(tmp_path / "server", "--proxy", f"http://127.0.0.1:{inside}"))
    base = f"http://127.0.0.1:{server.port}"
    assert curl(f"{base}/page.html") == b"a page"
    assert curl("--http1.0", f"{base}/page.html") == b"a page"
    assert curl(f"{base}/host") == b"127.0.0.1"
    head = curl("--head", f"{base}/page.html")
    assert b"content-length: 6\r\n" in head
    etag = head.partition(b"etag: ")[2].partition(b"\r\n")[0].decode()
    assert curl("-o", os.devnull, "-w", "%{http_code}", "-H", f"If-None-Match: {etag}", f"{base}/page.html") == b"304"
    assert curl(f"{base}/page.html", f"{base}/none", f"{base}/page.html").startswith(b"a page<html>")
    assert server.api("/api/v1/status")[0] == 200
    assert server.api("/api/")[0] == 404
    target = keep(Target(echo))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path / "client"))
    with socket.create_connection(("127.0.0.1", client.tunnel_port()), timeout=20) as sock:
        sock.sendall(b"through")
        assert sock.recv(7) == b"through"


def test_a_large_download_and_upload_take_little_memory(keep: Keep, tmp_path: Path) -> None:
    """At a reader, and at a backend, that do not go on for a while."""
    asked, go_on = threading.Event(), threading.Event()
    block = os.urandom(MEBIBYTE)

    def serve(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65536)
        asked.set()
        if head.startswith(b"GET"):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
            for _ in range(BIG // MEBIBYTE):
                sock.sendall(block)
        else:
            go_on.wait(20)
            left, digest = BIG - len(head.partition(b"\r\n\r\n")[2]), hashlib.sha256(head.partition(b"\r\n\r\n")[2])
            while left:
                part = sock.recv(MEBIBYTE)
                digest.update(part)
                left -= len(part)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest.hexdigest().encode())

    backend = keep(Target(serve))
    server = keep(Server(tmp_path, "--proxy", f"http://127.0.0.1:{backend.port}"))
    ask(server.port, GET.replace(b"GET /", b"GET /api/v1/status"))
    before = server.peak()
    expected = hashlib.sha256(block * (BIG // MEBIBYTE)).hexdigest()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(GET)
        assert asked.wait(20)
        idle(server)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        digest = hashlib.sha256()
        while part := sock.recv(MEBIBYTE):
            digest.update(part)
    assert digest.hexdigest() == expected
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % BIG))
        sender = threading.Thread(target=lambda: [sock.sendall(block) for _ in range(BIG // MEBIBYTE)])
        sender.start()
        idle(server)
        go_on.set()
        answer = read_all(sock)
        sender.join()
    assert answer.endswith(expected.encode())
    assert server.peak() - before < 16 * MEBIBYTE


def idle(server: Server) -> None:
    """Wait until it can do no more for now."""

    def ticks() -> int:
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    seen = [-1] * 20

    def rests() -> bool:
        seen.append(ticks())
        return len(set(seen[-20:])) == 1

    until(rests, "it rests")


def websocket(
    port: int, path: str = "/chat", wrap: Callable[[socket.socket], socket.socket] | None = None
) -> socket.socket:
    """Upgraded, by RFC 6455."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    if wrap is not None:
        sock = wrap(sock)
    key = base64.b64encode(os.urandom(16))
    sock.sendall(
        b"GET %s HTTP/1.1\r\nHost: public.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        % (path.encode(), key)
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        octet = sock.recv(1)
        assert octet, head
        head += octet
    assert head.startswith(b"HTTP/1.1 101 ")
    assert accept(key) in head
    return sock


def accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def websocket_echo(sock: socket.socket) -> None:
    """A server that takes the mask off a client's messages and sends them back."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if line)
    key = head.partition(b"sec-websocket-key: ")[2].partition(b"\r\n")[0]
    assert fields[b"sec-websocket-protocol"] == b"chat"
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: chat\r\n\r\n" % accept(key)
    )
    while start := exactly(sock, 8):
        _, length, mask = start[0], struct.unpack(">H", start[2:4])[0], start[4:8]
        data = exactly(sock, length)
        plain = bytes(octet ^ mask[i % 4] for i, octet in enumerate(data))
        sock.sendall(b"\x82\x7e" + struct.pack(">H", length) + plain)


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            return b""
        data += part
    return data


def say(sock: socket.socket, data: bytes) -> bytes:
    """What comes back of a message."""
    sock.sendall(b"\x82\xfe" + struct.pack(">H", len(data)) + bytes(4) + data)
    assert exactly(sock, 4) == b"\x82\x7e" + struct.pack(">H", len(data))
    return exactly(sock, len(data))


def test_a_websocket_goes_through_and_ends_with_the_server(keep: Keep, tmp_path: Path) -> None:
    backend = keep(Target(websocket_echo))
    server = keep(Server(tmp_path, "--proxy", f"http://127.0.0.1:{backend.port}"))
    with websocket(server.port) as sock:
        for size in (1, 125, 65535):
            data = os.urandom(size)
            assert say(sock, data) == data
        server.signal(signal.SIGTERM)
        assert sock.recv(1) == b""
    assert server.exit_code() == 0
    assert "ERROR" not in server.log


def test_a_stop_waits_for_what_is_under_way(keep: Keep, tmp_path: Path) -> None:
    go_on = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\none")
        go_on.wait(20)
        sock.sendall(b" two ")

    backend = keep(Target(serve))
    server = keep(Server(tmp_path, "--proxy", f"http://127.0.0.1:{backend.port}"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(GET)
        assert sock.recv(12) == b"HTTP/1.1 200"
        server.signal(signal.SIGTERM)
        server.wait_for("Stopping")
        go_on.set()
        assert read_all(sock).endswith(b"\r\n\r\none two ")
    assert server.exit_code() == 0
    assert "ERROR" not in server.log


def test_a_second_signal_waits_for_nothing(keep: Keep, tmp_path: Path) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        read_all(sock)

    backend = keep(Target(serve))
    server = keep(Server(tmp_path, "--proxy", f"http://127.0.0.1:{backend.port}"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(GET.replace(b"1.1", b"1.0"))
        assert sock.recv(12) == b"HTTP/1.1 200"
        server.signal(signal.SIGTERM)
        server.wait_for("Stopping")
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            read_all(sock)
    assert server.exit_code() == 0


def test_tls_on_both_sides(keep: Keep, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("DNS:localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            websocket_echo(wrapped)

    inner = tmp_path / "site"
    inner.mkdir()
    backend = keep(Target(serve))
    page = site(keep, inner, f"ssl_certificate {cert}; ssl_certificate_key {key}; return 200 $http_x_forwarded_proto;")
    options = ("--tls-cert", str(cert), "--tls-key", str(key))
    env = {"SSL_CERT_FILE": str(authority.ca)}
    server = keep(Server(tmp_path / "a", *options, "--proxy", f"https://localhost:{backend.port}", env=env))
    client = ssl.create_default_context(cafile=str(authority.ca))
    with websocket(server.port, wrap=lambda sock: client.wrap_socket(sock, server_hostname="localhost")) as sock:
        data = os.urandom(65535)
        assert say(sock, data) == data
    plain = keep(Server(tmp_path / "b", *options, "--proxy", f"http://127.0.0.1:{page}", env=env))
    url = f"https://localhost:{plain.port}/"
    assert curl("--cacert", authority.ca, url) == b"https"


def test_a_backend_whose_certificate_nobody_knows(keep: Keep, tmp_path: Path) -> None:
    cert, key = Authority(tmp_path).issue("DNS:localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    backend = keep(Target(lambda sock: context.wrap_socket(sock, server_side=True).close()))
    server = keep(Server(tmp_path, "--proxy", f"https://localhost:{backend.port}"))
    assert ask(server.port).startswith(b"HTTP/1.1 502 ")
    server.wait_for(r"WARNING Backend https://localhost:\d+ cannot be reached: .*certificate verify failed")


def test_a_backend_that_is_down_is_told_once_and_found_again(keep: Keep, tmp_path: Path) -> None:
    port = free_port()
    server = keep(Server(tmp_path, "--proxy", f"http://127.0.0.1:{port}"))
    for _ in range(3):
        answer = ask(server.port)
        assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert str(port).encode() not in answer
    server.wait_for("WARNING Backend")
    assert server.log.count("WARNING Backend") == 1
    listener = socket.create_server(("127.0.0.1", port))
    backend = keep(Target(lambda sock: sock.sendall(sock.recv(4096) and b"HTTP/1.1 200 OK\r\n\r\nup"), listener))
    assert b"200 OK" in ask(server.port)
    backend.close()
    assert ask(server.port).startswith(b"HTTP/1.1 502 ")
    server.wait_for("WARNING Backend", count=2)


def test_a_reload_changes_the_backend(keep: Keep, tmp_path: Path) -> None:
    def saying(text: bytes) -> Callable[[socket.socket], None]:
        return lambda sock: sock.sendall(sock.recv(4096) and b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + text)

    one, two = keep(Target(saying(b"1"))), keep(Target(saying(b"2")))
    config = tmp_path / "rportd.toml"
    config.write_text(f'proxy = "http://127.0.0.1:{one.port}"\n')
    server = keep(Server(tmp_path, "--config", str(config)))
    assert ask(server.port).endswith(b"\r\n\r\n1")
    config.write_text(f'proxy = "http://127.0.0.1:{two.port}"\n')
    server.signal(signal.SIGHUP)
    server.wait_for("Reload: changed proxy")
    assert ask(server.port).endswith(b"\r\n\r\n2")
    config.write_text("")
    server.signal(signal.SIGHUP)
    server.wait_for("Reload: changed proxy", 2)
    assert ask(server.port).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("url", ["ftp://x", "http://me:secret@h"])
def test_a_url_that_is_none(url: str, tmp_path: Path, keep: Keep) -> None:
    server = keep(Program("rport.server", "--proxy", url, state=tmp_path))
    assert server.exit_code() == 1
    assert server.log.startswith("rportd: --proxy: ")
    assert len(server.lines) == 1
    assert "secret" not in server.log


def test_it_does_not_go_in_circles(keep: Keep, tmp_path: Path) -> None:
    port = free_port()
    server = keep(Server(tmp_path, "--proxy", f"http://127.0.0.1:{port}", port=port))
    assert ask(server.port)[9:12] in (b"502", b"503")
    assert server.api("/api/v1/status")[0] == 200
