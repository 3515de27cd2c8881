"""rport itself, as its two commands are used."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.peers.base import Launch, Peer, Running
from tests.bench.ports import HOST, free_port
from tests.support.reverse_proxies import Site, blocks, fill


class Rport(Peer):
    """One server process, one client process, everything encrypted. Keys and known servers live in the instance."""

    name = "rport"
    label = "rport"

    def start(self, launch: Launch) -> Running:
        port = free_port()
        self.start_server(launch, port)
        remotes = [f"{HOST}:{visitor}:{HOST}:{target}" for visitor, target in launch.tunnels]
        argv = (sys.executable, "-m", "rport.client", *self.server_address(launch, launch.way(port)), *remotes)
        launch.client(*argv, env=self._environment(launch, "client"))
        return launch.ready()

    def start_server(self, launch: Launch, port: int) -> None:
        """A server alone; started a second time in the same directory it has the same key."""
        argv = (sys.executable, "-m", "rport.server", "--host", HOST, "--port", str(port), *self.server_options(launch))
        launch.server(*argv, listens=port, env=self._environment(launch, "server"))

    def server_options(self, launch: Launch) -> tuple[str | Path, ...]:
        return ()

    def server_address(self, launch: Launch, port: int) -> tuple[str | Path, ...]:
        """For the client, with what it needs to trust it."""
        return (f"{HOST}:{port}",)

    @staticmethod
    def _environment(launch: Launch, side: str) -> dict[str, str]:
        return {"RPORT_STATE_DIR": str(launch.directory / side)}


class RportTls(Rport):
    """Its records inside TLS, verified, as where it is an ordinary HTTPS server to the network."""

    name = "rport-tls"
    label = "rport, TLS"
    programs = ("openssl",)
    over = "tls"

    def server_options(self, launch: Launch) -> tuple[str | Path, ...]:
        cert, key = launch.certificate()
        return ("--tls-cert", cert, "--tls-key", key)

    def server_address(self, launch: Launch, port: int) -> tuple[str | Path, ...]:
        return (f"https://{HOST}:{port}", "--tls-ca", launch.directory / "cert.pem")


_NGINX = """\
daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log crit;
events {{}}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    {block}
}}
"""


class RportNginx(Rport):
    """Behind nginx, as docs/reverse-proxies.md configures it."""

    name = "rport-nginx"
    label = "rport through nginx"
    programs = ("nginx",)
    over = "nginx"

    def start_server(self, launch: Launch, port: int) -> None:
        behind = free_port()
        super().start_server(launch, behind)
        block = fill(blocks("nginx")[0], Site(launch.directory, port, behind))
        config = launch.write("nginx.conf", _NGINX.format(dir=launch.directory, block=block))
        launch.server("nginx", "-p", launch.directory, "-e", launch.directory / "nginx.log", "-c", config, listens=port)
