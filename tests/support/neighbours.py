"""Servers that are no rportd, for a client that was given the wrong port; each has `port` and `close()`."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.programs import Target, read_all, until

_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def tool(name: str) -> str:
    """Where an installed program is; the test is skipped without it."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate of localhost and its key, to be thrown away with the directory."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            *(tool("openssl"), "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-days",
                "1",
                "-keyout",
                str(key),
                "-out",
                str(cert),
            ),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def answering(data: bytes) -> Target:
    """Reads a request, sends these bytes, and waits for the end."""

    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(data)
        read_all(sock)

    return Target(serve)


def http_answer(status: str, body: str = "", *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/plain", f"Content-Length: {len(body)}", *fields, "", body]
    return "\r\n".join(lines).encode()


def tls(directory: Path) -> Target:
    """Speaks nothing but TLS; ends a connection that does not, as OpenSSL's server does, without a word."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(directory))

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            read_all(wrapped)

    return Target(serve)


class WebServer:
    """Python's own, which answers any GET with a page."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"hi")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Daemon:
    """An installed server in the foreground; it is up when its port takes a connection."""

    def __init__(self, port: int, *argv: str) -> None:
        self.port = port
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # it may have helpers
        )
        try:
            until(self._up, f"{argv[0]} takes connections")
        except BaseException:
            self.close()
            raise

    def _up(self) -> bool:
        if self.process.poll() is not None:
            assert self.process.stderr is not None
            pytest.skip(f"does not start here: {self.process.stderr.read().strip()}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        return False

    def close(self) -> None:
        if self.process.stderr is None or self.process.stderr.closed:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def nginx(directory: Path, *, encrypted: bool) -> Daemon:
    """As usual, or on a TLS port."""
    port = free_port()
    cert, key = certificate(directory) if encrypted else (None, None)
    extra = f"ssl_certificate {cert}; ssl_certificate_key {key};" if encrypted else ""
    server = f"listen 127.0.0.1:{port}{' ssl' if encrypted else ''}; {extra} return 200 hi;"
    return nginx_with(directory, port, server)


def nginx_with(directory: Path, port: int, *servers: str) -> Daemon:
    """With these server blocks; one of them listens on `port`, on 127.0.0.1."""
    blocks = "".join(f"server {{ {server} }}\n" for server in servers)
    paths = " ".join(f"{name}_temp_path {directory}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {directory}/nginx.pid; error_log /dev/null; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {directory}/body; {paths}\n"
        f"{blocks}}}\n"
    )
    return Daemon(port, tool("nginx"), "-e", "stderr", "-p", str(directory), "-c", str(config))


def haproxy(directory: Path, port: int, *sections: str) -> Daemon:
    """With these sections of a configuration; one of them listens on `port`, on 127.0.0.1."""
    config = directory / "haproxy.cfg"
    limits = "timeout connect 10s\n timeout client 60s\n timeout server 60s"
    config.write_text("\n".join((f"defaults\n {limits}", *sections, "")))
    return Daemon(port, tool("haproxy"), "-db", "-f", str(config))


def sshd(directory: Path, *more: str) -> Daemon:
    """With a host key of its own, and /run of its own for the directory that it insists on; `more` options."""
    port, key = free_port(), directory / "host_key"
    subprocess.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    options = [f"ListenAddress=127.0.0.1:{port}", f"HostKey={key}", "PidFile=none", *more]
    return Daemon(
        port,
        *namespace("mount -t tmpfs none /run && mkdir -m 755 /run/sshd"),
        *(tool("sshd"), "-D", "-e", "-f", "/dev/null"),
        *(word for option in options for word in ("-o", option)),
    )


def namespace(setup: str, *options: str) -> list[str]:
    """What to put before a command so that it sees the mounts that `setup`, shell text, makes, and nobody else does."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    prefix = [tool("unshare"), *user, "--mount", *options, "sh", "-c", f'{setup} && exec "$@"', "sh"]
    if subprocess.run([*prefix, sys.executable, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here")
    return prefix


@contextlib.contextmanager
def black_hole(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port whose queue is full: the kernel drops further SYNs, as a firewall does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((address, port), family=family, backlog=0))
        for _ in range(4):
            sock = stack.enter_context(socket.socket(family))
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])
