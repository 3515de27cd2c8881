"""The image in use. `ci/image` builds it and runs these; without it they are left out."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rport import __version__
from tests.support.containers import Container, Volume
from tests.support.neighbours import free_port
from tests.support.postgres import postgres
from tests.support.programs import Client, Target, carry, echo

Keep = Callable[[Any], Any]
IMAGE = os.environ.get("RPORT_IMAGE", "")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not IMAGE, reason="no image: run ci/image"),
    pytest.mark.timeout(300),
]


def test_it_carries_as_nobody_on_a_root_that_is_read_only(keep: Keep, tmp_path: Path) -> None:
    server = keep(Container(IMAGE, keep(Volume())))
    assert server.run("id", "-u") == "10001\n"
    status = server.run("cat", "/proc/1/status")
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert "Read-only file system" in server.run("touch", "/opt/rport/x", code=1)
    target = keep(Target(echo))
    client = keep(Client(server.port, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    carry(client.tunnel_port(), 64 << 20)


def test_its_health_is_told_without_other_programs(keep: Keep) -> None:
    server = keep(Container(IMAGE, keep(Volume())))
    assert server.healthy()
    assert server.run("rportd", "health") == "ready\n"
    assert "Connection refused" in server.run("rportd", "health", "--port", str(free_port()), code=1)


def test_state_outlives_the_container(keep: Keep, tmp_path: Path) -> None:
    volume = keep(Volume())
    first = keep(Container(IMAGE, volume))
    keep(Client(first.port, state=tmp_path)).stop()
    first.add_user("me")
    fingerprint = first.fingerprint
    assert first.end() == 0
    first.close()
    second = keep(Container(IMAGE, volume, env={"RPORT_PORT": str(first.port)}))
    assert second.fingerprint == fingerprint
    assert "me" in second.run("rportd", "user", "list").split()
    keep(Client(first.port, state=tmp_path))  # it remembers the server's key


def test_with_postgresql_nothing_but_the_key_is_in_the_volume(keep: Keep) -> None:
    server = postgres()
    env = {"RPORT_DB": server.database()}
    more = ("--volume", f"{server.directory}:{server.directory}")
    first = keep(Container(IMAGE, keep(Volume()), env=env, more=more))
    first.add_user("me")
    assert first.run("ls", "/var/lib/rport").split() == ["key"]
    assert first.end() == 0
    second = keep(Container(IMAGE, keep(Volume()), env=env, more=more))
    assert "me" in second.run("rportd", "user", "list").split()
    assert second.healthy()


@pytest.mark.parametrize("program", ["rport", "rportctl", "rportd"])
def test_all_programs_are_in_it(keep: Keep, program: str) -> None:
    server = keep(Container(IMAGE, keep(Volume())))
    assert server.run(program, "--version") == f"{program} {__version__}\n"
