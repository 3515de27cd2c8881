"""rportctl and tunnels: a real rportd, a real machine, a real sshd."""

import contextlib
import getpass
import json
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.neighbours import sshd, tool
from tests.support.programs import Target, carry, echo, read_all, until
from tests.support.site import Admin, Site

pytestmark = pytest.mark.e2e


def test_a_tunnel_from_opening_to_the_audit_log(site: Site) -> None:
    site.machine()
    admin = site.admin
    target = site.keep(Target(echo))
    (tunnel,) = [admin("tunnel", "open", "web-1", str(target.port), "--note", "for Ann", "--json").json]
    port = tunnel["lport"]
    carry(port, 100_000)
    assert admin("check", "web-1", str(target.port)).code == 0
    assert admin("check", "web-1", "1").code == 5
    done = admin("tunnel", "open", "web-1", "22", "--lport", str(port))
    assert (done.code, len(done.err.splitlines())) == (4, 1)

    watched = admin.start("tunnel", "watch", "web-1", f":{port}", "--json")
    assert watched.stdout is not None
    until(lambda: json.loads(watched.stdout.readline())["figures"]["bytes_in"] >= 100_000, "the figures")
    watched.kill()
    watched.communicate()

    with socket.create_connection(("127.0.0.1", port), timeout=20) as visitor:
        visitor.sendall(b"x")
        assert visitor.recv(1) == b"x"
        (connection,) = admin("tunnel", "connections", "web-1", tunnel["id"], "--json").json
        assert connection["address"] == f"127.0.0.1:{visitor.getsockname()[1]}"
        assert admin("tunnel", "cut", "web-1", tunnel["id"], str(connection["id"])).code == 0
        with contextlib.suppress(ConnectionError):
            assert visitor.recv(1) == b""
    done = admin("tunnel", "change", "web-1", f":{port}", "--source", "192.0.2.0/24", "--connections", "3", "--json")
    assert (done.json["sources"], done.json["connection_limit"]) == (["192.0.2.0/24"], 3)
    assert (
        admin("tunnel", "change", "web-1", f":{port}", "--connections", "none", "--json").json["connection_limit"]
        is None
    )
    assert [row["id"] for row in site.tunnels()] == [tunnel["id"]]
    assert "for Ann" in admin("tunnel", "list").out
    assert admin("tunnel", "close", "web-1", tunnel["id"][:6]).code == 0
    assert site.tunnels() == []
    assert admin("tunnel", "close", "web-1", tunnel["id"]).code == 2
    done = admin("audit", "--since", "1h", "--client", "web-1", "--json")
    assert [row["action"] for row in done.json if row["result"] == "ok"] == [
        "tunnel.open", "connection.close", "tunnel.change", "tunnel.change", "tunnel.close",
    ]  # fmt: skip
    assert "tunnel.open" in admin("audit", "--action", "tunnel.open").out


def test_refusals(site: Site) -> None:
    """Of the client, by its own rules; of the role; and of an address that the server has not."""
    site.machine()
    admin = site.admin
    done = admin("tunnel", "open", "web-1", "192.0.2.77:22")
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)
    assert "--allow" in done.err
    assert admin("ssh", "web-1", "--target", "192.0.2.77:22").code == 3
    assert admin("tunnel", "open", "web-1", "nonsense:").code == 1
    assert admin("tunnel", "open", "web-1", "22", "--source", "nonsense").code == 1
    token = admin("token", "create", "--role", "viewer").out.strip()
    viewer = Admin(site.path / "viewer", site.url, RPORT_TOKEN=token)
    assert viewer("tunnel", "list").code == 0
    for words in (("tunnel", "open", "web-1", "22"), ("http", "web-1"), ("check", "web-1", "22")):
        done = viewer(*words)
        assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1), words
    assert site.tunnels() == []


class Sshd:
    """A machine's, with a key that it lets in."""

    def __init__(self, keep: Any, directory: Path) -> None:
        self.key = directory / "user_key"
        subprocess.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        options = ("StrictModes=no", "UsePAM=no", "PermitRootLogin=yes", f"AuthorizedKeysFile={self.key}.pub")
        self.port = keep(sshd(directory, *options)).port
        self.known = directory / "known_hosts"

    @property
    def words(self) -> tuple[str, ...]:
        """For ssh: this key, and hosts remembered where nobody else's are."""
        return (
            "-F", "none", "-i", str(self.key), "-o", f"UserKnownHostsFile={self.known}", "-o", "BatchMode=yes", "-o",
            "IdentityAgent=none",
        )  # fmt: skip


def test_ssh(site: Site) -> None:
    daemon = Sshd(site.keep, site.path)
    site.machine()
    ssh = ("ssh", "web-1", "--user", getpass.getuser(), "-p", str(daemon.port), "--", *daemon.words)
    new = ("-o", "StrictHostKeyChecking=accept-new")
    done = site.admin(*ssh, *new, "echo", "hello; exit 7")
    assert (done.code, done.out) == (7, "hello\n"), done.err
    assert daemon.known.read_text().startswith("rport-web-1 ssh-ed25519 ")
    assert site.tunnels() == []
    done = site.admin(*ssh, "-o", "StrictHostKeyChecking=yes", "cat", given="through and back\n")  # another port by now
    assert (done.code, done.out) == (0, "through and back\n"), done.err

    process = site.admin.start(*ssh, "sleep 60")
    (tunnel,) = until(site.tunnels, "the tunnel")
    assert (tunnel["sources"], tunnel["stored"], tunnel["scheme"]) == (["127.0.0.1/32"], False, "ssh")
    until(lambda: site.tunnels()[0]["figures"]["connections"], "ssh is connected")
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode > 128
    assert site.tunnels() == []
    # An event is saved behind what it tells of.
    until(lambda: site.admin("events", "--json").out.count('"tunnel.closed"') == 3, "the three ends are told of")


def test_http(site: Site) -> None:
    site.machine()
    page = site.keep(Target(lambda sock: sock.recv(4096) and sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nhere")))
    process = site.admin.start("http", "web-1", str(page.port))
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert urllib.request.urlopen(url, timeout=20).read() == b"here"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert (process.returncode, site.tunnels()) == (0, [])


def test_a_server_elsewhere_listens_everywhere_and_for_the_caller_alone(keep: Any, tmp_path: Path) -> None:
    address = "192.0.2.1"
    add = subprocess.run([tool("ip"), "address", "add", f"{address}/32", "dev", "lo"], capture_output=True, text=True)
    if add.returncode and "exists" not in add.stderr:
        pytest.skip("no network of one's own here")
    site = Site(keep, tmp_path, "--host", "0.0.0.0")
    site.machine()
    page = keep(Target(lambda sock: sock.recv(4096) and sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nhere")))
    token = site.admin("token", "create", "--role", "operator").out.strip()
    admin = Admin(tmp_path / "elsewhere", f"http://{address}:{site.server.port}", RPORT_TOKEN=token)
    process = admin.start("http", "web-1", str(page.port))
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith(f"http://{address}:")
    (tunnel,) = site.tunnels()
    assert (tunnel["lhost"], tunnel["sources"]) == ("0.0.0.0", [f"{address}/32"])
    with socket.create_connection((address, tunnel["lport"]), timeout=20, source_address=(address, 0)) as visitor:
        visitor.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(visitor).endswith(b"here")
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", tunnel["lport"]), timeout=20) as stranger,
    ):
        assert stranger.recv(1) == b""
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert err.startswith(f"rportctl: http://{address}:{site.server.port} is not encrypted")
    assert site.tunnels() == []


def test_a_kill_leaves_a_tunnel_that_has_an_end(site: Site) -> None:
    site.machine()
    process = site.admin.start("http", "web-1", "80")
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    (tunnel,) = site.tunnels()
    assert tunnel["idle_timeout"] == 3600
