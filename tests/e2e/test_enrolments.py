"""Enrolment codes at a real server, on each of the databases: who comes in by one, and how often."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rport import keys
from rport.enrolment import read_code
from rport.server.enrolments import Enrolment
from rport.server.principal import Principal
from rport.throttle import BURST
from tests.support.api import ask, done, until_saved
from tests.support.postgres import database_url
from tests.support.programs import Program, Server, until
from tests.support.wire import CONTROL, connect

Keep = Callable[[Any], Any]
URL = "http://192.0.2.1:8080"


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


def start(keep: Keep, state: Path, *argv: str) -> Server:
    server: Server = keep(Server(state, "--public-url", URL, *argv))
    return server


def make_codes(server: Server, /, **more: object) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = done(server, "POST", "/enrolments", more)["items"]
    return made


def enrol(server: Server, code: str, private: bytes, **facts: object) -> dict[str, Any]:
    """The server's answer."""
    with contextlib.closing(connect(server.port, static=private)) as peer:
        peer.control(type="enroll", version="0.1.0", code=read_code(code).secret, **facts)
        message: dict[str, Any] = msgpack.unpackb(peer.wait_for(CONTROL)[2])
        return message


def welcomed(server: Server, private: bytes) -> bool:
    with contextlib.closing(connect(server.port, static=private)) as peer:
        peer.control(type="hello", version="test", identity="00" * 32, remotes=[], caps=[])
        return bool(msgpack.unpackb(peer.wait_for(CONTROL)[2])["type"] == "welcome")


def test_a_fresh_machine_becomes_a_known_one(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db)
    (made,) = make_codes(server, tags=["web", "site=berlin"], note="rack 7")
    code = read_code(made["code"])
    assert (code.server, code.fingerprint) == (URL, server.fingerprint)
    private = os.urandom(32)
    assert not (server.log.count("every client is let in") - 1)
    answer = enrol(server, made["code"], private, hostname="host-7", os="linux")
    assert (answer["type"], answer["name"]) == ("enrolled", "host-7")
    assert enrol(server, made["code"], private)["id"] == answer["id"]  # its answer was lost
    (client,) = done(server, "GET", "/clients")["items"]
    assert (client["id"], client["name"], client["tags"]) == (answer["id"], "host-7", ["web", "site=berlin"])
    assert (client["managed"], client["state"], client["first_seen"]) == (True, "disconnected", None)
    (kept,) = done(server, "GET", "/enrolments")["items"]
    assert (kept["used"], kept["uses"], kept["note"]) == (1, 1, "rack 7")
    (credential,) = done(server, "GET", f"/clients/{client['id']}/credentials")["items"]
    assert credential["public"] == keys.public_text(keys.from_private(private).public)
    server.stop()
    again = start(keep, tmp_path, "--db", db)
    assert enrol(again, made["code"], private)["id"] == answer["id"]
    assert welcomed(again, private)
    assert not welcomed(again, os.urandom(32))  # the server is closed to all others
    assert done(again, "GET", f"/clients/{client['id']}")["first_seen"] is not None


def test_by_the_command(keep: Keep, tmp_path: Path) -> None:
    """From a code to a connected client, and typed twice."""
    server = start(keep, tmp_path)
    (made,) = make_codes(server, tags=["web"], server=f"http://127.0.0.1:{server.port}")
    state, config = tmp_path / "machine", tmp_path / "machine" / "rport.toml"
    argv = [
        "enroll",
        "@" + str(tmp_path / "code"),
        "--state-dir",
        str(state),
        "--config",
        str(config),
        "--name",
        "till-3",
    ]
    (tmp_path / "code").write_text(made["code"])
    surroundings = {**os.environ, "RPORT_ALLOW_ROOT": "yes"}
    for _ in range(2):
        told = subprocess.run(
            [sys.executable, "-m", "rport.client", *argv], capture_output=True, text=True, env=surroundings
        )
        assert told.returncode == 0, told.stderr
    (client,) = done(server, "GET", "/clients")["items"]
    assert client["id"] in told.stdout
    keep(Program("rport.client", state=state, env={"RPORT_CONFIG": str(config)})).wait_for("Connected")
    seen = done(server, "GET", f"/clients/{client['id']}")
    assert (seen["state"], seen["name"], seen["tags"]) == ("connected", "till-3", ["web"])
    assert done(server, "GET", "/enrolments")["items"][0]["used"] == 1
    (audit,) = done(server, "GET", "/audit?action=client.enroll")["items"]
    assert (audit["actor"], audit["client"], audit["result"]) == (f"client {client['id']}", client["id"], "ok")


def test_two_machines_race_for_the_last_use(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db)
    (made,) = make_codes(server, uses=3)
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda _: enrol(server, made["code"], os.urandom(32)), range(8))]
    assert sorted(answer["type"] for answer in answers) == ["enrolled"] * 3 + ["refuse"] * 5
    assert len(done(server, "GET", "/clients")["items"]) == 3
    assert done(server, "GET", "/enrolments")["items"][0]["used"] == 3
    refused = next(answer for answer in answers if answer["type"] == "refuse")
    assert (refused["code"], refused["message"]) == (
        "auth",
        "enrolment failed: the enrolment code was used 3 times, as often as it may be: have a new one made",
    )
    server.wait_for("(?m)login failed for an enrolment code from 127.0.0.1$")


def test_one_machine_that_tries_twice_at_once_is_one_client(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path)
    (made,) = make_codes(server, uses=9)
    private = os.urandom(32)
    with ThreadPoolExecutor(6) as pool:
        answers = [*pool.map(lambda _: enrol(server, made["code"], private), range(6))]
    assert len({answer["id"] for answer in answers}) == 1
    assert done(server, "GET", "/enrolments")["items"][0]["used"] == 1


def test_an_id_of_ones_own(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path)
    (made,) = make_codes(server, uses=2)
    assert enrol(server, made["code"], os.urandom(32), id="web-1", name="Web")["id"] == "web-1"
    answer = enrol(server, made["code"], os.urandom(32), id="web-1")
    assert answer["message"] == "enrolment failed: there is a client web-1 already"
    assert done(server, "GET", "/enrolments")["items"][0]["used"] == 1


def test_codes_that_count_no_more(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path)
    (brief,) = make_codes(server, expires_in=0.5)
    (revoked,) = make_codes(server)
    done(server, "DELETE", f"/enrolments/{revoked['id']}")
    until(lambda: "expired" in str(enrol(server, brief["code"], os.urandom(32)).get("message")), "it has expired")
    answer = enrol(server, revoked["code"], os.urandom(32))
    assert answer["message"] == "enrolment failed: the server does not know this code; have a new one made"
    assert [row["id"] for row in done(server, "GET", "/enrolments")["items"]] == [brief["id"]]


def test_many_codes_at_once(keep: Keep, tmp_path: Path, db: str) -> None:
    server = start(keep, tmp_path, "--db", db)
    made = make_codes(server, count=1000, tags=["fleet"], server="https://[2001:db8::1]/rport/")
    assert len({row["code"] for row in made}) == len({row["id"] for row in made}) == 1000
    assert read_code(made[7]["code"]).server == "https://[2001:db8::1]/rport"
    assert enrol(server, made[7]["code"], os.urandom(32))["type"] == "enrolled"
    server.signal(signal.SIGTERM)
    server.exit_code()
    secrets = [read_code(row["code"]).secret for row in made]
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("rportd.db*"))
    assert not any(secret in server.log or secret.encode() in stored for secret in secrets)


def test_without_a_url_it_says_what_to_do(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    status, answer = ask(server, "POST", "/enrolments", {})
    assert status == 422
    assert "start rportd with --public-url" in answer["error"]


def test_an_old_code_fills_no_audit_log(keep: Keep, tmp_path: Path) -> None:
    server = start(keep, tmp_path)
    (made,) = make_codes(server)
    assert enrol(server, made["code"], os.urandom(32))["type"] == "enrolled"
    with ThreadPoolExecutor(BURST) as threads:
        tries = [threads.submit(enrol, server, made["code"], os.urandom(32)) for _ in range(BURST + 9)]
        assert {one.result()["code"] for one in tries} == {"auth"}
    until_saved(server)
    entries = done(server, "GET", "/audit?action=client.enroll&limit=1000")["items"]
    assert len([one for one in entries if one["result"] != "ok"]) == BURST - 1  # and one that went well


def test_who_sees_codes() -> None:
    code = Enrolment("a", "", "", ("web",), 1, 0, 0.0, "me", 0.0)
    assert code.is_for(Principal("root", "admin"))
    assert code.is_for(Principal("you", "admin", tags=frozenset({"web"})))
    assert not code.is_for(Principal("you", "admin", tags=frozenset({"db"})))
    assert code.is_for(Principal("me", "admin", tags=frozenset({"db"})))
