"""The machines: real clients, and what the API knows and does of them; on each of the databases."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rport import keys
from tests.support import asking
from tests.support.api import ask, done, until_saved
from tests.support.postgres import database_url
from tests.support.programs import Client, Server, Target, echo, until
from tests.support.visitors import carries, is_reset, visit
from tests.support.wire import CONTROL, WirePeer, connect

Keep = Callable[[Any], Any]
JSON = ("Content-Type", "application/json")


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


def start(keep: Keep, state: Path, *argv: str, port: int = 0) -> Server:
    server: Server = keep(Server(state, *argv, port=port))
    return server


def client_of(server: Server, id: str) -> dict[str, Any]:
    found: dict[str, Any] = done(server, "GET", f"/clients/{id}")
    return found


def is_there(server: Server, id: str, state: str = "connected") -> bool:
    status, answer = ask(server, "GET", f"/clients/{id}")
    return status == 200 and answer["state"] == state


def credential(server: Server, id: str, **more: object) -> dict[str, Any]:
    made: dict[str, Any] = done(server, "POST", f"/clients/{id}/credentials", {"kind": "secret", **more})
    return made


def make_key(path: Path) -> str:
    """By the command; its public half."""
    subprocess.run([sys.executable, "-m", "rport.client", "key", str(path)], capture_output=True, check=True)
    return keys.public_text(keys.load(path).public)


def events(server: Server, db: str) -> list[tuple[str, str | None, dict[str, Any]]]:
    """All that the store has, in order, of a server that has ended."""
    import asyncio

    import sqlalchemy as sa

    from rport.server.store import Store, schema
    from rport.server.store.engine import url_of

    async def read() -> list[Any]:
        store = Store(url_of(db, ""))
        async with store.read() as connection:
            rows = (await connection.execute(sa.select(schema.events).order_by(schema.events.c.id))).all()
        await store.close()
        return [(row.type, row.client, row.data) for row in rows]

    assert server.process.poll() is not None
    return asyncio.run(read())


def hello(server: Server, **more: object) -> tuple[WirePeer, dict[str, Any]]:
    """A client of our own, and the answer that it gets."""
    peer = connect(server.port)
    peer.control(type="hello", version="test", identity="00" * 32, remotes=[], caps=[], **more)
    message: dict[str, Any] = msgpack.unpackb(peer.wait_for(CONTROL)[2])
    return peer, message


# --- what is known of them -------------------------------------------------------------------------------------------


def test_a_client_is_known_while_it_is_there_and_afterwards(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db)
    words = ("--id", "web-1", "--name", "Web one", "--tag", "web", "--tag", "site=berlin")
    client = keep(Client(server, *words, state=tmp_path))
    until(lambda: is_there(server, "web-1"), "it is there")
    seen = client_of(server, "web-1")
    assert (seen["name"], seen["own_tags"], seen["tags"]) == ("Web one", ["web", "site=berlin"], [])
    assert (seen["os"], seen["kernel"], seen["arch"]) == ("linux", os.uname().release, os.uname().machine)
    assert seen["hostname"] == os.uname().nodename
    assert seen["address"].startswith("127.0.0.1:")
    (listed,) = server.sessions()
    assert (listed["id"], listed["client_id"]) == (seen["session"], "web-1")
    until(lambda: client_of(server, "web-1")["rtt_ms"], "the round trip was measured")
    client.signal(signal.SIGTERM)
    until(lambda: is_there(server, "web-1", "disconnected"), "it is known to have gone")
    (connection,) = done(server, "GET", "/clients/web-1/history")["items"]
    assert (connection["session"], connection["reason"]) == (seen["session"], "the client stops")
    assert connection["since"] == seen["connected_since"]
    gone = client_of(server, "web-1")
    assert (gone["session"], gone["rtt_ms"], gone["connected_since"]) == (None, None, None)
    assert gone["last_seen"] == connection["until"]
    server.signal(signal.SIGTERM)
    assert server.exit_code() == 0
    again = start(keep, tmp_path, "--db", db)
    assert client_of(again, "web-1") == gone
    assert done(again, "GET", "/clients/web-1/history")["items"] == [connection]


def test_a_killed_server_knows_that_its_clients_were_lost(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db)
    client = keep(Client(server, "--id", "web-1", "--max-retry-interval", "1s", state=tmp_path))
    until(lambda: done(server, "GET", "/clients/web-1/history")["items"], "its connection was saved")
    client.stop()
    until(lambda: is_there(server, "web-1", "disconnected"), "it is known to have gone")
    client = keep(Client(server, "--id", "web-1", state=tmp_path))
    session = client_of(server, "web-1")["session"]
    assert len(done(server, "GET", "/clients/web-1/history")["items"]) == 2
    client.signal(signal.SIGSTOP)  # it shall not come back
    until_saved(server)
    server.stop()
    killed = time.time()
    again = start(keep, tmp_path, "--db", db)
    assert is_there(again, "web-1", "disconnected")
    latest, first = done(again, "GET", "/clients/web-1/history")["items"]
    assert (latest["session"], latest["reason"]) == (session, "the server was restarted")
    assert latest["since"] <= latest["until"] == client_of(again, "web-1")["last_seen"]
    from datetime import datetime

    assert datetime.fromisoformat(latest["until"]).timestamp() <= killed
    assert first["reason"] != latest["reason"]
    again.stop()
    told = [(type, data) for type, client_id, data in events(again, db) if client_id == "web-1"]
    assert [type for type, _ in told] == ["client.connected", "client.disconnected"] * 2
    assert told[3][1] == {"session": session, "reason": "the server was restarted"}


def test_lists_in_pages(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db)
    for number in range(5):
        done(
            server, "POST", "/clients", {"id": f"c{number}", "name": f"n{4 - number}", "tags": ["a" if number else "b"]}
        )
    first = done(server, "GET", "/clients?limit=3")
    assert [client["id"] for client in first["items"]] == ["c4", "c3", "c2"]
    rest = done(server, "GET", f"/clients?limit=3&cursor={first['next']}")
    assert ([client["id"] for client in rest["items"]], rest["next"]) == (["c1", "c0"], None)
    found = done(server, "GET", "/clients?tag=a&state=disconnected&q=n&sort=-id&limit=2")["items"]
    assert [client["id"] for client in found] == ["c4", "c3"]
    assert ask(server, "GET", f"/clients?sort=id&cursor={first['next']}")[0] in (400, 422)


# --- what administrators do ------------------------------------------------------------------------------------------


def test_a_client_is_named_tagged_and_noted(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db)
    keep(Client(server, "--id", "web-1", "--name", "Own", state=tmp_path))
    change = {"name": "Given", "tags": ["x", "x", "y"], "note": "two\nlines"}
    seen = done(server, "PATCH", "/clients/web-1", change)
    assert (seen["name"], seen["tags"], seen["note"]) == ("Given", ["x", "y"], "two\nlines")
    assert done(server, "PATCH", "/clients/web-1", {})["name"] == "Given"
    server.stop()
    again = start(keep, tmp_path, "--db", db)
    assert [client_of(again, "web-1")[name] for name in change] == ["Given", ["x", "y"], "two\nlines"]
    assert done(again, "PATCH", "/clients/web-1", {"name": ""})["name"] == "Own"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"tags": ["web", "a b"]}, "tags[1]: 'a b': a tag has A-Z a-z 0-9 . _ : / = @ + - alone"),
        ({"tags": [""]}, "tags[0]: String should have at least 1 character"),
        ({"id": "-" * 50}, f"id: {'-' * 40!r}: an id has A-Z a-z 0-9 . _ - alone, and begins with a letter or a digit"),
        ({"name": "a\x07b"}, "name: 'a\\x07b': this is one line, without control characters"),
        ({"note": "\x00"}, "note: '\\x00': of control characters there are tabs and line ends alone"),
        ({"owner": "me"}, "owner: Extra inputs are not permitted"),
        ([], "body: Input should be a valid dictionary or object to extract fields from"),
    ],
)
def test_what_is_wrong_is_named(one_server: Server, body: object, text: str) -> None:
    assert ask(one_server, "POST", "/clients", body)[1]["detail"] == text


def test_where_json_is_broken(one_server: Server) -> None:
    answer = asking.ask(one_server.port, "POST", "/api/v1/clients", JSON, body=b"[1,}")
    assert (answer.status, answer.json["detail"]) == (400, "body: this is no JSON: Expecting value at character 4")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/clients", {"id": "web-1"}, 409),
        ("POST", "/clients", {"id": "-web"}, 400),
        ("POST", "/clients", {"id": "web 1"}, 400),
        ("POST", "/clients", {"name": "a\x00b"}, 400),
        ("POST", "/clients", {"name": "x" * 65}, 400),
        ("POST", "/clients", {"tags": ["a,b"]}, 400),
        ("POST", "/clients", {"tags": ["a"] * 33}, 400),
        ("POST", "/clients", {"listen": ["("]}, 400),
        ("POST", "/clients", {"owner": "me"}, 400),
        ("PATCH", "/clients/web-1", {"id": "web-2"}, 400),
        ("PATCH", "/clients/web-2", {"note": ""}, 404),
        ("GET", "/clients/web-2", None, 404),
        ("GET", "/clients/web-1/history?cursor=x", None, 400),
        ("GET", "/clients?limit=0", None, 400),
        ("GET", "/clients?sort=colour", None, 400),
        ("DELETE", "/clients/web-2", None, 404),
        ("DELETE", "/clients/web-1/session", None, 409),
        ("POST", "/clients/web-1/credentials", {"kind": "key"}, 400),
        ("POST", "/clients/web-1/credentials", {"kind": "key", "public": "rport-pub-12"}, 400),
        ("POST", "/clients/web-1/credentials", {"kind": "secret", "public": f"rport-pub-{'00' * 32}"}, 400),
        ("POST", "/clients/web-1/credentials/x/rotate", None, 404),
        ("DELETE", "/clients/web-1/credentials/x", None, 404),
        ("DELETE", "/enrolments/x", None, 404),
        ("POST", "/enrolments", {}, 400),
        ("POST", "/enrolments", {"server": "ftp://x"}, 400),
        ("POST", "/enrolments", {"server": "http://x", "uses": 0}, 400),
        ("POST", "/enrolments", {"server": "http://x", "count": 1001}, 400),
    ],
)
def test_what_cannot_be(one_server: Server, method: str, path: str, body: object, status: int) -> None:
    found, answer = ask(one_server, method, path, body)
    assert found in (status, 422 if status == 400 else status)
    assert answer["error"]
    assert [client["id"] for client in done(one_server, "GET", "/clients")["items"]] == ["web-1"]


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = Server(tmp_path_factory.mktemp("state"))
    try:
        done(server, "POST", "/clients", {"id": "web-1"})
        yield server
    finally:
        server.stop()


def test_a_removed_client_goes_at_once_and_may_come_as_a_new_one(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db)
    target = keep(Target(echo))
    client = keep(Client(server, "--id", "web-1", f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    done(server, "PATCH", "/clients/web-1", {"note": "the old one"})
    with visit(client.tunnel_port()) as visitor:
        assert carries(visitor)
        until_saved(server)  # events of deeds are saved with them, and may come before those that wait
        done(server, "DELETE", "/clients/web-1")
        assert is_reset(visitor)
    assert ask(server, "GET", "/clients/web-1")[0] == 404
    assert client.exit_code() == 5
    assert "this client was removed from the server" in client.log
    keep(Client(server, "--id", "web-1", state=tmp_path))
    assert client_of(server, "web-1")["note"] == ""
    assert len(done(server, "GET", "/clients/web-1/history")["items"]) == 1
    server.signal(signal.SIGTERM)
    server.exit_code()
    told = [type for type, client_id, _ in events(server, db) if client_id == "web-1" and type.startswith("client.")]
    assert told[:1] == ["client.connected"]
    assert sorted(told[1:3]) == ["client.disconnected", "client.removed"]
    assert told[3:] == ["client.connected", "client.disconnected"]


def test_a_disconnected_client_comes_back(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path)
    client = keep(Client(server, "--id", "web-1", state=tmp_path))
    session = client_of(server, "web-1")["session"]
    done(server, "DELETE", "/clients/web-1/session")
    client.wait_for("Connected", 2)
    assert client_of(server, "web-1")["session"] != session
    assert done(server, "GET", "/clients/web-1/history")["items"][1]["reason"] == "disconnected by local local"


def test_where_a_client_may_listen_counts_at_once(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path)
    target = keep(Target(echo))
    client = keep(Client(server, "--id", "web-1", f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    with visit(client.tunnel_port()) as visitor:
        assert carries(visitor)
        done(server, "POST", "/clients", {"id": "web-2"})
        login = credential(server, "web-2")["login"]
        assert is_reset(visitor)  # the server is closed now
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path, env={"RPORT_AUTH": login}))
    with visit(client.tunnel_port()) as visitor:
        assert carries(visitor)
        done(server, "PATCH", "/clients/web-2", {"listen": ["^0\\.0\\.0\\.0:"]})
        assert is_reset(visitor)
    client.wait_for(r"is not allowed for client 'web-2'")


def test_who_sees_and_may_change_which(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path)
    keep(Client(server, "--id", "web-1", "--tag", "db", state=tmp_path))
    keep(Client(server, "--id", "db-1", state=tmp_path))
    done(server, "PATCH", "/clients/web-1", {"tags": ["web"]})
    boss, web, db = "boss:a long password", "web:a long password", "db:a long password"
    done(server, "POST", "/users", {"name": "boss", "password": "a long password", "role": "admin"})
    for name in ("web", "db"):
        user = {"name": name, "password": "a long password", "role": "operator", "tags": [name]}
        assert ask(server, "POST", "/users", user, boss)[0] == 201
    for login, ids in ((boss, {"web-1", "db-1"}), (web, {"web-1"}), (db, set())):  # its own tags widen nobody's view
        assert {client["id"] for client in ask(server, "GET", "/clients", None, login)[1]["items"]} == ids
        sessions = ask(server, "GET", "/sessions", None, login)[1]
        assert {session["client_id"] for session in sessions} == ids
    session = ask(server, "GET", "/clients/web-1", None, boss)[1]["session"]
    tunnel = f"/sessions/{session}/tunnels?local=127.0.0.1:0&remote=9"
    assert ask(server, "PUT", tunnel, None, db)[0] == 404
    assert ask(server, "PUT", tunnel, None, web)[0] == 200
    assert ask(server, "GET", "/clients/web-1/history", None, db)[0] == 404
    assert ask(server, "PATCH", "/clients/web-1", {"note": "x"}, web)[1]["note"] == "x"
    status, answer = ask(server, "PATCH", "/clients/web-1", {"note": "y", "tags": ["db"]}, web)
    assert (status, answer["error"]) == (403, "tags: this takes the role admin")
    assert ask(server, "GET", "/clients/web-1", None, web)[1]["note"] == "x"
    assert ask(server, "DELETE", "/clients/web-1", None, web)[0] == 403


def test_logins_that_fail_are_told_of_but_not_without_end(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db, "--auth", "me:secret")
    for number in range(30):
        peer = connect(server.port)
        peer.control(type="hello", version="test", identity="0", remotes=[], caps=[], user=f"u{number}", password="x")
        keep(peer)
    server.wait_for("login failed for user 'u29'")
    server.signal(signal.SIGTERM)
    server.exit_code()
    told = [data for type, _, data in events(server, db) if type == "login.failed"]
    assert told[0]["source"] == "127.0.0.1"
    assert told[0]["what"] == "client"
    assert 20 <= len(told) < 30


# --- credentials -----------------------------------------------------------------------------------------------------


def test_the_first_credential_closes_an_open_server(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db)
    assert "every client is let in" in server.log
    stranger = keep(Client(server, "--id", "old", state=tmp_path))
    done(server, "POST", "/clients", {"id": "web-1"})
    made = credential(server, "web-1")
    assert stranger.exit_code() == 5
    assert made["login"] == f"web-1:{made['secret']}"
    client = keep(Client(server, state=tmp_path, env={"RPORT_AUTH": made["login"]}))
    assert is_there(server, "web-1")
    assert made["secret"] not in server.log + repr(done(server, "GET", "/clients/web-1/credentials"))
    done(server, "DELETE", f"/clients/web-1/credentials/{made['id']}")
    assert client.exit_code() == 5
    server.stop()
    again = start(keep, tmp_path, "--db", db)  # none is left, and it stays closed
    assert "every client is let in" not in again.log
    for auth in ({}, {"RPORT_AUTH": made["login"]}, {"RPORT_AUTH": "me:secret"}):
        shut_out = keep(Client(again, "--max-retry-count", "0", state=tmp_path, wait=False, env=auth))
        assert shut_out.exit_code() == 5
    again.wait_for("(?m)login failed for no key from 127.0.0.1$")
    again.wait_for("(?m)login failed for user 'web-1' from 127.0.0.1$")
    assert made["secret"].encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("rportd.db*"))


def test_credentials_beside_the_servers_files(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path, "--auth", "me:secret")
    done(server, "POST", "/clients", {"id": "web-1"})
    public = make_key(tmp_path / "identity")
    made = credential(server, "web-1", kind="key", public=public)
    assert (made["public"], made["secret"], made["login"]) == (public, None, None)
    keep(Client(server, "--identity", str(tmp_path / "identity"), state=tmp_path))
    assert is_there(server, "web-1")
    keep(Client(server, "--auth", "me:secret", "--id", "other", state=tmp_path))
    refused = keep(Client(server, "--auth", "me:secret", "--id", "web-1", state=tmp_path, wait=False))
    assert refused.exit_code() == 5
    assert "the id web-1 belongs to another login or key" in refused.log
    assert is_there(server, "web-1")
    status, answer = ask(server, "POST", "/clients/other/credentials", {"kind": "key", "public": public})
    assert (status, answer["error"]) == (
        409,
        "that key is client web-1's already: a key belongs to one machine",
    )


def test_a_rotated_secret_counts_no_more(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path)
    done(server, "POST", "/clients", {"id": "web-1"})
    one, other = credential(server, "web-1"), credential(server, "web-1")
    client = keep(Client(server, state=tmp_path, env={"RPORT_AUTH": one["login"]}))
    done(server, "POST", f"/clients/web-1/credentials/{other['id']}/rotate")
    assert is_there(server, "web-1")  # it came in by the other one
    new = done(server, "POST", f"/clients/web-1/credentials/{one['id']}/rotate")
    assert new["id"] == one["id"]
    assert new["secret"] != one["secret"]
    assert client.exit_code() == 5
    assert "the credential of this client was revoked or changed" in client.log
    for login, welcome in ((one["login"], False), (other["login"], False), (new["login"], True)):
        user, _, password = login.partition(":")
        peer, answer = hello(server, user=user, password=password)
        with contextlib.closing(peer):
            assert (answer["type"] == "welcome") is welcome
    peer, answer = hello(server, user="web-2", password=new["secret"])
    with contextlib.closing(peer):
        assert answer["code"] == "auth"


def test_credentials_of_one_client_are_bounded(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path)
    done(server, "POST", "/clients", {"id": "web-1"})
    for _ in range(16):
        credential(server, "web-1")
    status, answer = ask(server, "POST", "/clients/web-1/credentials", {"kind": "secret"})
    assert (status, answer["type"]) == (409, "urn:rport:credential-exists")
    assert len(done(server, "GET", "/clients/web-1/credentials")["items"]) == 16


# --- takeovers -------------------------------------------------------------------------------------------------------


def test_a_second_process_with_the_same_key_takes_over(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path)
    make_key(tmp_path / "identity")
    words = ("--identity", str(tmp_path / "identity"), "--max-retry-interval", "1s")
    first = keep(Client(server, *words, state=tmp_path))
    (client,) = done(server, "GET", "/clients")["items"]
    first.signal(signal.SIGSTOP)  # its link is dead, which nobody knows
    keep(Client(server, *words, state=tmp_path))
    (now,) = done(server, "GET", "/clients")["items"]
    assert now["id"] == client["id"]
    assert now["session"] != client["session"]
    assert [row["reason"] for row in done(server, "GET", f"/clients/{now['id']}/history")["items"]] == [
        None,
        "the same client connected again",
    ]
    assert now["cloned_at"] is None


def test_two_machines_with_one_identity_are_found(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db)
    make_key(tmp_path / "identity")
    words = ("--identity", str(tmp_path / "identity"), "--max-retry-interval", "1s")
    machines = [keep(Client(server, *words, state=tmp_path)) for _ in range(2)]
    server.wait_for(r"client [0-9a-f]{16} is two machines, at 127\.0\.0\.1:\d+ and at 127\.0\.0\.1:\d+")
    (client,) = done(server, "GET", "/clients")["items"]
    assert client["cloned_at"] is not None
    for machine in machines:
        machine.stop()
    server.signal(signal.SIGTERM)
    server.exit_code()
    (told,) = [data for type, _, data in events(server, db) if type == "client.cloned"]
    assert told["address"] != told["other"]
