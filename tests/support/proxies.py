"""Real proxies between a client and its server: HTTP CONNECT (squid, tinyproxy) and SOCKS5 (microsocks, dante).

`hosts`: a hosts file that nobody but the proxy sees. `allowed`: the one port that it connects to; else any.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.neighbours import Daemon, free_port, namespace, tool

USER = "rp"
PASSWORD = "s3cret-word"  # tinyproxy takes letters, digits and a few more


def own_hosts(hosts: Path | None) -> list[str]:
    """What to put before a command so that it sees this hosts file."""
    return [] if hosts is None else namespace(f"mount --bind {hosts} /etc/hosts")


class Squid(Daemon):
    """As root it becomes another user, who has to find its files."""

    def __init__(
        self,
        *,
        port: int = 0,
        hosts: Path | None = None,
        password: str | None = None,
        allowed: int | None = None,
        pem: tuple[Path, Path] | None = None,
    ) -> None:
        port = port or free_port()
        self._name = f"rport{os.getpid()}p{port}"  # of its shared memory; another worker has the same ports
        self._directory = Path(tempfile.mkdtemp(prefix="squid-"))
        self._directory.chmod(0o755)
        try:
            config = self._directory / "squid.conf"
            config.write_text("\n".join([*self._basics(port, pem), *self._rules(password, allowed), ""]))
            super().__init__(port, *own_hosts(hosts), tool("squid"), "-N", "-n", self._name, "-f", str(config))
        except BaseException:
            shutil.rmtree(self._directory)
            raise

    def _basics(self, port: int, pem: tuple[Path, Path] | None) -> list[str]:
        listen = f"http_port 127.0.0.1:{port}"
        if pem is not None:
            if "--with-openssl" not in subprocess.run([tool("squid"), "-v"], capture_output=True, text=True).stdout:
                pytest.skip("this squid has no TLS; squid-openssl has")
            cert, key = (shutil.copy(path, self._directory) for path in pem)
            Path(key).chmod(0o644)  # it is thrown away
            listen = f"https_port 127.0.0.1:{port} tls-cert={cert} tls-key={key}"
        return [
            listen,
            "visible_hostname proxy",
            *("pid_filename none", "access_log none", "cache_log /dev/null", "cache_store_log none"),
            *("cache deny all", "coredump_dir none", "netdb_filename none", "pinger_enable off"),
            *("shutdown_lifetime 0", "max_filedescriptors 1024"),
        ]

    def _rules(self, password: str | None, allowed: int | None) -> list[str]:
        rules = ["acl wanted method CONNECT"]
        if password is not None:
            passwords = self._directory / "passwords"
            hashed = subprocess.run(
                [tool("openssl"), "passwd", "-apr1", password], check=True, capture_output=True, text=True
            ).stdout
            passwords.write_text(f"{USER}:{hashed}")
            rules += [
                f"auth_param basic program /usr/lib/squid/basic_ncsa_auth {passwords}",
                "auth_param basic children 1 startup=1 idle=1",
                "acl known proxy_auth REQUIRED",
                "http_access deny !known",
            ]
        if allowed is not None:
            rules += [f"acl allowed port {allowed}", "http_access deny !allowed"]
        return [*rules, "http_access allow wanted", "http_access deny all"]

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._directory, ignore_errors=True)
        for path in Path("/dev/shm").glob(f"{self._name}-*"):  # to end in order would take it two seconds
            path.unlink()


def tinyproxy(
    directory: Path,
    *,
    port: int = 0,
    hosts: Path | None = None,
    password: str | None = None,
    allowed: int | None = None,
) -> Daemon:
    port = port or free_port()
    config = directory / f"tinyproxy-{port}.conf"
    lines = [f"Port {port}", "Listen 127.0.0.1", "Allow 127.0.0.1", "Timeout 600", "MaxClients 50", "LogLevel Error"]
    if password is not None:
        lines.append(f"BasicAuth {USER} {password}")
    if allowed is not None:
        lines.append(f"ConnectPort {allowed}")
    config.write_text("\n".join([*lines, ""]))
    return Daemon(port, *own_hosts(hosts), tool("tinyproxy"), "-d", "-c", str(config))


def microsocks(*, port: int = 0, hosts: Path | None = None, password: str | None = None) -> Daemon:
    port = port or free_port()
    words = ["-u", USER, "-P", password] if password is not None else []
    return Daemon(port, *own_hosts(hosts), tool("microsocks"), "-i", "127.0.0.1", "-p", str(port), *words)


def dante(directory: Path, *, port: int = 0, hosts: Path | None = None, allowed: int | None = None) -> Daemon:
    """Logins are the system's users there, so there are none here."""
    port = port or free_port()
    config = directory / f"danted-{port}.conf"
    where = "0.0.0.0/0" if allowed is None else f"0.0.0.0/0 port = {allowed}"
    config.write_text(
        f"logoutput: /dev/null\ninternal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\n"
        "clientmethod: none\nsocksmethod: none\n"
        "client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }\n"
        f"socks pass {{ from: 127.0.0.0/8 to: {where}\ncommand: connect\nprotocol: tcp }}\n"
    )
    return Daemon(port, *own_hosts(hosts), tool("danted"), "-f", str(config), "-p", str(directory / f"{port}.pid"))
