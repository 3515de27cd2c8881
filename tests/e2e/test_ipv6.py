"""IPv6 wherever an address goes: the server's own port, the client's way to it, tunnels, targets, rules, the API."""

import contextlib
import socket
import subprocess
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.neighbours import free_port, tool
from tests.support.programs import Client, Server, Target, echo, until

Keep = Callable[[Any], Any]
LINK_LOCAL = "fe80::77"  # given to the loopback of this test's own network


def listener(host: str) -> socket.socket:
    """On a free port; with the number of the address's zone, which bind() does not look up."""
    family, _, _, _, where = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
    sock = socket.socket(family)
    sock.bind(where)
    sock.listen()
    return sock


def answering(keep: Keep, host: str, word: bytes) -> int:
    """The port of a target there that says `word`."""
    target: Target = keep(Target(lambda sock: sock.sendall(word), listener(host)))
    return target.port


def heard(port: int, host: str) -> bytes:
    with socket.create_connection((host, port), timeout=20) as sock:
        return sock.makefile("rb").read()


def peers(server: Server, at: str = "127.0.0.1") -> list[str]:
    """The addresses of its sessions, without ports."""
    return [session["address"].rpartition(":")[0] for session in server.api("/api/v1/sessions", at=at)[1]]


def test_a_server_on_all_addresses_takes_both_families_and_shows_each_as_it_is(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path, "-v", host="::"))
    four = keep(Client(server, "--allow", "10.0.0.0/8", state=tmp_path))
    server.wait_for(r"session#1: Open \(client \S+, 127\.0\.0\.1:\d+\)")
    six = keep(Client(server, host="[::1]", state=tmp_path))
    server.wait_for(r"session#2: Open \(client \S+, \[::1\]:\d+\)")
    assert peers(server) == peers(server, "::1") == ["127.0.0.1", "[::1]"]
    assert "::ffff:" not in server.log
    six.wait_for(r"Connecting to ws://\[::1\]:\d+")
    six.wait_for(r"First contact with \[::1\]:\d+")
    four.stop()
    until(lambda: peers(server) == ["[::1]"], "the first session has ended")
    server.wait_for("session#1: Closed")


def test_strangers_over_ipv4_are_counted_each_for_himself(keep: Keep, tmp_path: Path) -> None:
    """In one count for ::ffff:0:0 and its /64 they would be one source."""
    server = keep(Server(tmp_path, host="::"))
    for _ in range(32):
        keep(socket.create_connection(("127.0.0.1", server.port), source_address=("127.0.0.5", 0)))
    with socket.create_connection(("127.0.0.1", server.port), 20, ("127.0.0.5", 0)) as sock:
        assert sock.recv(100).startswith(b"HTTP/1.1 503 ")
    server.wait_for(r"INFO 127\.0\.0\.5: refused")
    assert server.api("/api/v1/status")[0] == server.api("/api/v1/status", at="::1")[0] == 200


@pytest.mark.parametrize("host", ["::1", "[::1]", "0:0::1"])
def test_a_server_on_one_ipv6_address(keep: Keep, tmp_path: Path, host: str) -> None:
    server = keep(Server(tmp_path, host=host))
    server.wait_for(r"Listening on \[::1\]:\d+\.\.\.")
    keep(Client(server, host="[::1]", state=tmp_path))
    assert peers(server, "::1") == ["[::1]"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_the_api_answers_the_loopback_by_its_ipv6_name(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path, host="::"))
    for field in (f"[::1]:{server.port}", "[::1]", "localhost", None):
        assert server.api("/api/v1/status", host=field, at="::1")[0] == 200
    for field in ("[::2]", "[::ffff:127.0.0.1]", "evil.example"):
        assert server.api("/api/v1/status", host=field, at="::1")[0] == 403
    assert server.api("/api/v1/status", host="[::1]x", at="::1")[0] == 400  # no Host at all: RFC 9112, section 3.2


def test_one_port_has_a_tunnel_in_each_family(keep: Keep, tmp_path: Path) -> None:
    six, four = answering(keep, "::1", b"six"), answering(keep, "127.0.0.1", b"four")
    server, port = keep(Server(tmp_path, "-v")), free_port()
    remotes = [f"[::]:{port}:[::1]:{six}", f"0.0.0.0:{port}:127.0.0.1:{four}"]
    client = keep(Client(server, *remotes, state=tmp_path))
    server.wait_for(rf"\[::\]:{port} => \[::1\]:{six} Listening")
    server.wait_for(rf"0\.0\.0\.0:{port} => 127\.0\.0\.1:{four} Listening")
    client.wait_for("INFO Tunnel", 2)
    assert (heard(port, "::1"), heard(port, "127.0.0.1")) == (b"six", b"four")
    server.wait_for(r"stream 2 through tunnel 1 for \[::1\]:\d+")
    server.wait_for(r"stream 4 through tunnel 2 for 127\.0\.0\.1:\d+")
    listed = [(remote["lhost"], remote["rhost"]) for remote in server.sessions()[0]["remotes"]]
    assert listed == [("::", "::1"), ("0.0.0.0", "127.0.0.1")]

    again = keep(Client(server, f"[0:0::0]:{port}:h:80", f"[::ffff:127.0.0.1]:{port}:h:80", state=tmp_path))
    again.wait_for(rf"ERROR Tunnel \[::\]:{port} .* is taken by another tunnel of session#1")
    again.wait_for(rf"ERROR Tunnel 127\.0\.0\.1:{port} .* is taken by another tunnel of session#1")


def test_the_wildcard_address_as_a_target_is_the_clients_loopback(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    client = keep(Client(server, f"127.0.0.1:0:[::]:{answering(keep, '::1', b'six')}", state=tmp_path))
    client.wait_for(r"INFO Tunnel \S+ => \[::1\]:")
    assert heard(client.tunnel_port(), "127.0.0.1") == b"six"


def put(server: Server, local: str, remote: str) -> tuple[int, Any]:
    query = urllib.parse.urlencode({"local": local, "remote": remote})
    return server.api(f"/api/v1/sessions/{server.sessions()[0]['id']}/tunnels?{query}", "PUT")


def test_rules_for_what_the_server_may_ask_for(keep: Keep, tmp_path: Path) -> None:
    six, four = answering(keep, "::1", b"six"), answering(keep, "127.0.0.1", b"four")
    server = keep(Server(tmp_path))
    keep(Client(server, "--allow", "2001:db8::/32", "--allow", "[fd00::0:1]:80", state=tmp_path))
    for remote in (f"[::1]:{six}", f"[0:0::1]:{six}", f"[::]:{six}"):
        status, answer = put(server, "[::1]:0", remote)
        assert (status, answer["lhost"]) == (200, "::1")
        assert heard(int(answer["lport"]), "::1") == b"six"
    status, answer = put(server, "127.0.0.1:0", f"[::ffff:127.0.0.1]:{four}")
    assert (status, answer["rhost"], heard(int(answer["lport"]), "127.0.0.1")) == (200, "127.0.0.1", b"four")
    for remote in ("[2001:db8:1::2]:22", "[fd00::1]:80", "[FD00::1]:80"):
        assert put(server, "127.0.0.1:0", remote)[0] == 200
    for remote, shown in (
        ("[fd00::1]:81", "[fd00::1]:81"),
        ("[2001:db9::]:80", "[2001:db9::]:80"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
    ):
        status, answer = put(server, "127.0.0.1:0", remote)
        assert status == 403
        assert answer["error"].endswith(f"to dial it, give the client --allow {shown}")
    status, answer = put(server, "[2001:db8::1]:0", "80")
    assert (status, answer["error"]) == (409, "cannot listen on [2001:db8::1]:0: the server has no such address")


@pytest.fixture
def zone() -> str:
    """A link-local address and its zone."""
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        pytest.skip("no network of its own here")  # the machine's is not to be changed
    command = [tool("ip"), "-6", "address", "add", f"{LINK_LOCAL}/64", "dev", "lo", "nodad"]
    subprocess.run(command, capture_output=True, check=False)  # it may be there
    with contextlib.suppress(OSError):
        listener(f"{LINK_LOCAL}%lo").close()
        return f"{LINK_LOCAL}%lo"
    pytest.skip("no link-local address here")


def test_addresses_with_a_zone(keep: Keep, tmp_path: Path, zone: str) -> None:
    target = keep(Target(echo, listener(zone)))
    server = keep(Server(tmp_path, host=zone))
    remotes = [f"[{zone}]:0:[{zone}]:{target.port}", f"[fe80::77%nowhere]:0:[{zone}]:1"]
    client = keep(Client(server, *remotes, host=f"[{zone}]", state=tmp_path))
    server.wait_for(rf"Open \(client \S+, \[{LINK_LOCAL}(%\w+)?\]:\d+\)")
    client.wait_for(r"ERROR Tunnel .*%nowhere\]:0: the server has no such address")
    with socket.create_connection((zone, client.tunnel_port()), timeout=20) as sock:
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
