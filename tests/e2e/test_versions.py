"""The programs of an earlier version and today's, with each other: docs/upgrade.md says that they work."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import earlier
from tests.support.api import done
from tests.support.programs import Client, Server, Target, carry, closing_all, echo

Keep = Callable[[Any], Any]
Version = dict[str, Any]  # what Server and Client take to be of one

SIZE = 8 << 20  # octets each way: many whole frames, several windows
NOW: Version = {}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120 + earlier.BUILD_SECONDS)]


@pytest.fixture(scope="module")
def before() -> Version:
    """Without -P the directory that the tests run in comes before all."""
    return {"flags": ("-P",), "env": {"PYTHONPATH": str(earlier.tree(earlier.commit()))}}


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with closing_all() as keep:
        yield keep(Target(echo))


def declared(target: Target) -> str:
    return f"127.0.0.1:0:127.0.0.1:{target.port}"


def asked(server: Server, target: Target) -> int:
    """The port of a tunnel by the route that all servers have, the original program's."""
    (session,) = server.sessions()
    status, tunnel = server.api(
        f"/api/v1/sessions/{session['id']}/tunnels?local=127.0.0.1:0&remote={target.port}", "PUT"
    )
    assert status == 200, tunnel
    return int(tunnel["lport"])


def restarted(server: Server, state: Path, version: Version) -> Server:
    server.stop()
    return Server(state, port=server.port, **version)


def test_the_earlier_one_is_earlier(before: Version) -> None:
    """Else all below would show nothing."""
    words = [sys.executable, *before["flags"], "-c", "import rport._mux; print(rport._mux.__file__)"]
    loaded = subprocess.run(words, env=before["env"], capture_output=True, text=True, check=True).stdout
    assert Path(loaded).is_relative_to(earlier.KEPT)
    assert (earlier.tree(earlier.commit()) / "rport/__init__.py").exists()


def test_an_earlier_client_at_todays_server(before: Version, keep: Keep, target: Target, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "server", **NOW))
    client = keep(Client(server, declared(target), state=tmp_path / "client", **before))
    carry(client.tunnel_port(), SIZE)
    carry(asked(server, target), SIZE)
    (machine,) = done(server, "GET", "/clients")["items"]
    tunnel = done(server, "POST", f"/clients/{machine['id']}/tunnels", {"target": str(target.port), "stored": False})
    carry(tunnel["lport"], SIZE)
    keep(restarted(server, tmp_path / "server", NOW))
    client.wait_for("Connected", 2)
    carry(client.tunnel_port(4), SIZE)


def test_todays_client_at_an_earlier_server(before: Version, keep: Keep, target: Target, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "server", **before))
    client = keep(Client(server, declared(target), "--name", "web-1", "--tag", "new", state=tmp_path / "client", **NOW))
    carry(client.tunnel_port(), SIZE)
    carry(asked(server, target), SIZE)
    keep(restarted(server, tmp_path / "server", before))
    client.wait_for("Connected", 2)
    carry(client.tunnel_port(3), SIZE)


def test_a_server_is_upgraded_and_put_back(before: Version, keep: Keep, target: Target, tmp_path: Path) -> None:
    """Clients of both versions stay, and know it as the same: its key is where it was."""
    state, copy = tmp_path / "server", tmp_path / "copy"
    first = keep(Server(state, **before))
    clients = [
        keep(Client(first, declared(target), state=tmp_path / name, **version))
        for name, version in (("earlier", before), ("now", NOW))
    ]
    first.stop()
    shutil.copytree(state, copy)
    upgraded = keep(restarted(first, state, NOW))
    assert upgraded.fingerprint == first.fingerprint
    back(clients, 2)
    upgraded.stop()
    shutil.rmtree(state)
    copy.rename(state)
    assert keep(restarted(upgraded, state, before)).fingerprint == first.fingerprint
    back(clients, 3)


def back(clients: list[Client], count: int) -> None:
    for client in clients:
        client.wait_for("Connected", count)
        carry(client.tunnel_port(count), SIZE)
