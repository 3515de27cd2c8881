"""Requests of all kinds by the API's own document, against a real server that has clients."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Keep
from tests.support.admin import ask_as, make_admin, until_known
from tests.support.fuzz import LEFT_OUT, fuzz
from tests.support.generated import Missing
from tests.support.postgres import database_url
from tests.support.programs import Client, Server, until

# For all operations together. PostgreSQL refuses more than SQLite does, and what it refuses would be a 500.
SECONDS = {"postgresql": 45, "sqlite": 20}

NAMES = ("web-1", "another")  # the first one is that of the examples
LOGIN = "machine:long-enough-a-password"

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(max(SECONDS.values()) + 120)]


@pytest.mark.parametrize("kind", SECONDS)
def test_nothing_is_found(keep: Keep, tmp_path: Path, kind: str) -> None:
    db = database_url(kind, tmp_path)
    server = keep(Server(tmp_path / "server", "--db", db, "--auth", LOGIN))
    # By a login of the server's own: credentials that are made do not shut it out.
    clients = [keep(Client(server, "--auth", LOGIN, "--id", name, state=tmp_path / name)) for name in NAMES]
    token = make_admin(tmp_path / "server", "fuzz-keeper", db=db)

    def me() -> tuple[int, Any]:
        return ask_as(server.port, token, "/api/v1/me")

    until_known(server.port, token)
    try:
        headers = {"Authorization": f"Bearer {token}"}
        code, told = fuzz(
            f"http://127.0.0.1:{server.port}",
            tmp_path,
            SECONDS[kind],
            headers,
            ["fuzz-keeper", me()[1]["token"]],
            NAMES,
        )
    except Missing as error:
        pytest.skip(str(error))
    assert code == 0, told
    tried = re.search(r"Operations: +(\d+) selected / (\d+) total", told)
    assert tried, told
    assert int(tried[1]) == int(tried[2]) - len(LEFT_OUT)
    assert "Traceback" not in server.log
    assert "failed |" not in server.log
    assert me()[1]["role"] == "admin"  # else most of it was 403
    for client in clients:
        assert client.process.poll() is None, client.log
    until(  # they were disconnected, and come again
        lambda: len(ask_as(server.port, token, "/api/v1/sessions")[1]) == len(clients), "both clients are there"
    )
