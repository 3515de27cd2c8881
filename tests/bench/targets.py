"""What stands behind every tunnel: nginx, a ping-pong, and iperf3 on a port of its own. Also the emulated long path."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench import native
from tests.bench.ports import free_port, wait_listening
from tests.bench.process import Process

PAGE_BYTES = 128
ROUND_TRIP_MS = 100
PATH_MBIT = 400

_NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    open_file_cache max=10;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{ listen 127.0.0.1:{kept} backlog=4096; root {dir}/www; }}
    server {{ listen 127.0.0.1:{closed} backlog=4096; root {dir}/www; keepalive_timeout 0; }}
}}
"""


@dataclass(frozen=True)
class Targets:
    """The targets' ports on loopback."""

    iperf: int
    kept_http: int
    closed_http: int
    echo: int

    def all(self) -> list[int]:
        return [self.iperf, self.kept_http, self.closed_http, self.echo]


def start_targets(stack: ExitStack, directory: Path, pingpong: Path) -> Targets:
    """Starts nginx and the ping-pong; iperf3 is started for each run, since it serves one test at a time."""
    targets = Targets(free_port(), free_port(), free_port(), free_port())
    (directory / "www").mkdir()
    (directory / "www" / "index.html").write_bytes(b"x" * PAGE_BYTES)
    # The page must be readable for the user that nginx's worker turns into when started as root.
    for path in (directory, directory / "www"):
        path.chmod(0o755)
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(dir=directory, kept=targets.kept_http, closed=targets.closed_http))
    nginx = Process(["nginx", "-p", directory, "-e", directory / "nginx.log", "-c", config], directory / "nginx.out")
    stack.callback(nginx.stop)
    echo = Process([pingpong, "serve", str(targets.echo)], directory / "echo.out")
    stack.callback(echo.stop)
    wait_listening([targets.kept_http, targets.closed_http], nginx.check)
    wait_listening([targets.echo], echo.check)
    return targets


class LongPaths:
    """Relays that stand for a long, narrow line in front of a port."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._program = native.build("longpath", directory)

    def to(self, port: int) -> int:
        """A port that leads to `port` over the line."""
        entry = free_port()
        numbers = (entry, port, ROUND_TRIP_MS / 2, PATH_MBIT)
        relay = Process([self._program, *map(str, numbers)], self._directory / "longpath.out")
        self._stack.callback(relay.stop)
        wait_listening([entry], relay.check)
        return entry
