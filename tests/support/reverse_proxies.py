"""nginx, HAProxy, Apache and Caddy before rportd, with the configurations that docs/reverse-proxies.md shows."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.neighbours import free_port, tool
from tests.support.programs import until

NAME = "tunnel.example.com"  # as the page has it
_PAGE = Path(__file__).parents[2] / "docs" / "reverse-proxies.md"
_APACHE_MODULES = ("mpm_event", "authz_core", "headers", "proxy", "proxy_http", "ssl")


@dataclass(frozen=True)
class Site:
    """What the page says is to be replaced."""

    directory: Path
    port: int  # of the proxy
    server: int  # rportd's port
    cert: Path | None = None
    key: Path | None = None
    idle: int = 60  # seconds


def blocks(language: str) -> list[str]:
    """The page's configurations for one program, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", _PAGE.read_text(), re.MULTILINE | re.DOTALL)


def fill(block: str, site: Site) -> str:
    """Ports, certificate and limit: nothing else of the page is touched."""
    ports = {"80": site.port, "443": site.port, "8080": site.server}
    text = re.sub(r"\b(80|443|8080)\b", lambda match: str(ports[match[0]]), block)
    text = re.sub(r"\b60(s?)\b", rf"{site.idle}\1", text)
    return text.replace("/etc/ssl/tunnel.pem", str(site.cert)).replace("/etc/ssl/tunnel.key", str(site.key))


class ReverseProxy:
    """A running one; in a process group of its own, since some have workers."""

    def __init__(self, site: Site, argv: Sequence[str], reload: Callable[["ReverseProxy"], None]) -> None:
        self.site, self.port = site, site.port
        self._reload = reload
        self._log = site.directory / "proxy.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=site.directory,
                env={**os.environ, "HOME": str(site.directory)},
            )  # fmt: skip
        try:
            until(self._up, f"{argv[0]} takes connections")
        except BaseException:
            self.close()
            raise

    def _up(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        return False

    def reload(self) -> None:
        """Returns when the new configuration is in use."""
        self._reload(self)

    def signal(self, number: int) -> None:
        """Tells the main process to reload, and waits for its new workers."""
        before = self._workers()
        self._process.send_signal(number)
        until(lambda: self._workers() - before, "new workers")

    def _workers(self) -> set[int]:
        return {pid for pid in self.pids() if pid != self._process.pid}

    def pids(self) -> set[int]:
        """Of all its processes."""
        found = set()
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(entry.read_text().rpartition(")")[2].split()[2]) == self._process.pid:
                    found.add(int(entry.parent.name))
        return found

    def files(self) -> list[str]:
        """The regular files below its directory that its processes have open, also removed ones."""
        found = []
        for pid in self.pids():
            with contextlib.suppress(OSError):  # it has ended meanwhile, as workers do
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        found.append(os.readlink(link))
        known = {
            str(self._log),
            *map(str, self.site.directory.glob("*.log")),
            *map(str, self.site.directory.glob("*.pid")),
        }
        return [path for path in found if path.startswith(str(self.site.directory)) and path not in known]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def nginx(site: Site, number: int) -> ReverseProxy:
    """The block is what Debian's nginx.conf includes from conf.d."""
    program = tool("nginx")
    (site.directory / "rport.conf").write_text(fill(blocks("nginx")[number], site))
    temporary = " ".join(
        f"{name}_temp_path {site.directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = site.directory / "nginx.conf"
    config.write_text(
        f"daemon off; pid {site.directory}/nginx.pid; error_log stderr; {'user root;' if os.geteuid() == 0 else ''}\n"
        f"events {{}}\nhttp {{ access_log off; {temporary} include {site.directory}/rport.conf; }}\n"
    )
    argv = (program, "-e", "stderr", "-p", str(site.directory), "-c", str(config))
    return ReverseProxy(site, argv, lambda proxy: proxy.signal(signal.SIGHUP))


def haproxy(site: Site, number: int) -> ReverseProxy:
    program = tool("haproxy")
    config = site.directory / "haproxy.cfg"
    config.write_text(fill(blocks("haproxy")[number], site))
    if site.cert is not None and site.key is not None:
        site.cert.with_suffix(".pem.key").write_bytes(site.key.read_bytes())
    return ReverseProxy(site, (program, "-W", "-db", "-f", str(config)), lambda proxy: proxy.signal(signal.SIGUSR2))


def apache(site: Site, number: int) -> ReverseProxy:
    """Around the block stands what Debian's apache2.conf and ports.conf have."""
    program = tool("apache2")
    modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in _APACHE_MODULES)
    config = site.directory / "apache2.conf"
    config.write_text(
        f"ServerRoot {site.directory}\nDefaultRuntimeDir {site.directory}\nPidFile apache.pid\n{modules}"
        f"ErrorLog error.log\nServerName localhost\nListen {site.port}\n"
        f"{'User www-data' if os.geteuid() == 0 else ''}\n{fill(blocks('apache')[number], site)}"
    )
    argv = (program, "-DFOREGROUND", "-f", str(config))
    return ReverseProxy(site, argv, lambda proxy: proxy.signal(signal.SIGUSR1))


def caddy(site: Site, number: int) -> ReverseProxy:
    """Its ports and where it is administered are global options, which the page leaves as they are."""
    program = tool("caddy")
    admin, other = f"127.0.0.1:{free_port()}", free_port()
    http_port, https_port = (other, site.port) if site.cert else (site.port, other)
    config = site.directory / "Caddyfile"
    config.write_text(
        f"{{\n    admin {admin}\n    http_port {http_port}\n    https_port {https_port}\n}}\n"
        + fill(blocks("caddy")[number], site)
    )
    common = ("--config", str(config), "--adapter", "caddyfile")

    def reload(proxy: ReverseProxy) -> None:
        argv = (program, "reload", *common, "--address", admin, "--force")
        subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "HOME": str(site.directory)})

    return ReverseProxy(site, (program, "run", *common), reload)


PROXIES: dict[str, tuple[Callable[[Site, int], ReverseProxy], int, bool]] = {
    "nginx": (nginx, 0, False),
    "nginx-tls": (nginx, 1, True),
    "haproxy": (haproxy, 0, False),
    "haproxy-tls": (haproxy, 1, True),
    "haproxy-tcp": (haproxy, 2, False),
    "apache": (apache, 0, False),
    "apache-tls": (apache, 1, True),
    "caddy": (caddy, 0, False),
    "caddy-tls": (caddy, 1, True),
}
