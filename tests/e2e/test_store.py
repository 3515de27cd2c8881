"""A real server whose database is full, read-only, away, or in the middle of a write when it is killed."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import Answer, ask, basic, bearer
from tests.support.disks import failing_disk, small_disk
from tests.support.postgres import database_url, own_postgres
from tests.support.programs import Client, Server, Target, carry, closing_all, echo, until

Keep = Callable[[Any], Any]
PASSWORD = "correct horse battery"
USERS = ("root", "amy", "ben", "cid", "dan")


class Admin:
    """Somebody who looks after `server` by its API. His token is good for all that come after it on the same port."""

    def __init__(self, server: Server) -> None:
        self.port = server.port
        for name in USERS:
            field = [basic("root", PASSWORD)] if name != "root" else []
            made = {"name": name, "password": PASSWORD, "role": "admin"}
            assert ask(self.port, "POST", "/api/v1/users", *field, json_body=made).status == 201
        answer = ask(self.port, "POST", "/api/v1/tokens", basic("root", PASSWORD), json_body={})
        self._token = bearer(answer.json["secret"])

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        return ask(self.port, method, f"/api/v1{path}", self._token, json_body=body)

    def make(self, user: str = "root", note: str = "") -> Answer:
        """A write that needs the database: one more token."""
        return self.ask("POST", "/tokens", {"user": user, "note": note})

    def revoke(self, id: str) -> int:
        return self.ask("DELETE", f"/tokens/{id}").status

    def tokens(self) -> set[str]:
        """Their ids, as the server has them in memory."""
        return {item["id"] for item in self._items("/tokens?limit=1000")}

    def _items(self, path: str) -> list[Any]:
        page = self.ask("GET", path).json
        assert page["next"] is None
        return list(page["items"])

    def audited(self, action: str) -> list[Any]:
        """The entries of what went well."""
        body = self.ask("GET", f"/audit/export?action={action}").body
        return [entry for line in body.splitlines() if (entry := json.loads(line))["result"] == "ok"]


def check(*words: str) -> None:
    """`rportd db check` finds nothing wrong."""
    done = rportd_db("check", *words)
    assert (done.returncode, done.stdout[:5]) == (0, "sound"), done.stdout + done.stderr


def rportd_db(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rport.server", "db", *words, "--config", "none"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


class Traffic:
    """A tunnel to an echo. Neither it nor new ones may wait for the database."""

    def __init__(self, keep: Keep, server: Server, admin: Admin, state: Path) -> None:
        self._keep, self._server, self._admin, self._state = keep, server, admin, state / "client"
        self._remote = f"127.0.0.1:0:127.0.0.1:{keep(Target(echo)).port}"
        self._port = self._client().tunnel_port()

    def _client(self) -> Client:
        client: Client = self._keep(Client(self._server, self._remote, state=self._state))
        return client

    def goes_on(self) -> None:
        """What is there carries, and who comes now is let in, gets a tunnel and can go."""
        carry(self._port, 1 << 20)
        client = self._client()
        carry(client.tunnel_port(), 1 << 18)
        client.stop()
        until(lambda: len(self._admin.ask("GET", "/sessions").json) == 1, "the other client is gone")


def refused(admin: Admin, status: int, kind: str, text: str) -> None:
    """A write is, now, with nothing of it left behind; reading is not."""
    before = admin.tokens()
    for _ in range(50):  # on a full disk, the first ones may still fit into pages that are there
        answer = admin.make(note="x" * 200)
        if answer.status != 201:
            break
        before.add(answer.json["id"])
    assert (answer.status, answer.json["type"]) == (status, f"urn:rport:{kind}"), answer.json
    assert text in answer.error
    assert admin.tokens() == before
    for path in ("/status", "/sessions", "/users", "/me", "/statistics"):
        assert admin.ask("GET", path).status == 200, path


def works_again(admin: Admin) -> None:
    assert until(lambda: admin.make().status == 201, "writes are saved again")
    until(lambda: {"store.trouble", "store.recovered"} <= _told(admin), "the events tell of the trouble", 30)


def _told(admin: Admin) -> set[str]:
    """The types of all events that are kept."""
    connection = http.client.HTTPConnection("127.0.0.1", admin.port, timeout=10)
    try:
        connection.request("GET", "/api/v1/events?after=0", headers=dict([admin._token]))
        stream = connection.getresponse()
        found = set()
        connection.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while line := stream.readline():
                if line.startswith(b"event:"):
                    found.add(line.partition(b":")[2].strip().decode())
        return found
    finally:
        connection.close()


# --- disks -----------------------------------------------------------------------------------------------------------


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 << 20) as disk, closing_all() as keep:
        server = keep(Server(disk.path))
        admin = Admin(server)
        traffic = Traffic(keep, server, admin, tmp_path)
        kept = admin.make().json["id"]
        disk.fill()
        refused(admin, 507, "store-full", "the disk of the server's database is full; nothing was saved")
        traffic.goes_on()
        refused(admin, 507, "store-full", "nothing was saved")
        before = admin.tokens()
        disk.free()
        works_again(admin)
        check("--state-dir", str(disk.path))
        server.stop()
        again = keep(Server(disk.path, port=server.port))
        assert before < admin.tokens(), again.log
        assert kept in admin.tokens()


def test_a_disk_that_becomes_read_only(tmp_path: Path) -> None:
    with failing_disk(tmp_path / "disk") as disk, closing_all() as keep:
        server = keep(Server(disk.path))
        admin = Admin(server)
        traffic = Traffic(keep, server, admin, tmp_path)
        made = {admin.make().json["id"] for _ in range(5)}
        disk.fail()
        refused(admin, 503, "store-unavailable", "the server's database cannot be used now: ")
        traffic.goes_on()
        refused(admin, 503, "store-unavailable", "the server's database cannot be used now: ")
        server.stop()
        disk.mend()
        check("--state-dir", str(disk.path))
        server = keep(Server(disk.path, port=server.port))
        assert made <= admin.tokens()
        assert admin.make().status == 201
        server.stop()


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def test_postgresql_is_restarted_under_a_server(keep: Keep, tmp_path: Path) -> None:
    with own_postgres() as postgres:
        url = postgres.database()
        server = keep(Server(tmp_path / "server", "--db", url))
        admin = Admin(server)
        traffic = Traffic(keep, server, admin, tmp_path)
        kept = admin.make().json["id"]
        for number in (signal.SIGQUIT, signal.SIGINT):
            postgres.stop(number)
            refused(admin, 503, "store-unavailable", "the server's database cannot be ")
            traffic.goes_on()
            postgres.start()
            works_again(admin)
        assert kept in admin.tokens()
        check("--db", url)
        second = rportd_db("restore", __file__, "--db", url)
        assert "another rportd works with it" in second.stderr, "the new PostgreSQL knows whose the database is"
        server.stop()


def test_a_stop_while_postgresql_hangs(keep: Keep, tmp_path: Path) -> None:
    """It ends soon, with what it could not save in one line; what was acknowledged is there."""
    with own_postgres() as postgres:
        url = postgres.database()
        server = keep(Server(tmp_path / "server", "--db", url))
        admin = Admin(server)
        kept = admin.make().json["id"]
        with postgres.hanging():
            asked = threading.Thread(target=_ask_in_vain, args=(admin,))
            asked.start()
            ask(server.port, "GET", "/api/v1/status", basic("root", "wrong"))  # something to save
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            assert server.exit_code(40) == 0, server.log
            took = time.monotonic() - began
            asked.join()
        assert took < 25, server.log
        assert "Traceback" not in server.log
        assert "audit entries and events could not be saved" in server.log
        again = keep(Server(tmp_path / "server", "--db", url, port=server.port))
        assert kept in admin.tokens(), again.log


def _ask_in_vain(admin: Admin) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
        admin.make()


# --- kills and copies ------------------------------------------------------------------------------------------------


class Writers:
    """Make and revoke tokens, side by side, until their server is gone. What it has acknowledged is in the sets."""

    def __init__(self, admin: Admin) -> None:
        self.made: set[str] = set()
        self.revoking: set[str] = set()
        self.revoked: set[str] = set()
        self.wrong: list[int] = []
        self._admin = admin
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._run, args=(user,)) for user in USERS[1:]]
        for thread in self._threads:
            thread.start()

    def _run(self, user: str) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
            while True:
                for revoke in (True, True, True, False):
                    answer = self._admin.make(user)
                    if answer.status != 201:
                        self.wrong.append(answer.status)
                        return
                    id = answer.json["id"]
                    self.made.add(id)
                    if revoke:
                        self.revoking.add(id)
                        if self._admin.revoke(id) == 204:
                            self.revoked.add(id)

    def count(self) -> int:
        return len(self.made)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        assert not self.wrong


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_kill_in_the_middle_of_writes_loses_nothing(keep: Keep, tmp_path: Path, kind: str) -> None:
    words = ("--db", database_url(kind, tmp_path))
    server = keep(Server(tmp_path / "server", *words))
    admin = Admin(server)
    writers = Writers(admin)
    for number in range(2):
        before = writers.count()
        writers.start()
        until(lambda enough=before + 15 + 7 * number: writers.count() >= enough, "some are acknowledged")  # type: ignore[misc]
        server.stop()  # SIGKILL
        writers.join()
        if kind == "sqlite" and number % 2:
            check(*words)  # as the kill has left it
        server = keep(Server(tmp_path / "server", *words, port=server.port))
        check(*words)
        found = admin.tokens()
        assert writers.made - writers.revoking <= found
        assert not writers.revoked & found
        created = {entry["details"]["token"] for entry in admin.audited("token.create")}
        gone = {entry["subject"].split()[-1] for entry in admin.audited("token.revoke")}
        assert writers.made <= created
        assert created - gone == found, "an entry without its deed, or a deed without its entry"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_copies_are_made_while_the_server_writes(keep: Keep, tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    words = ("--db", database_url(kind, tmp_path / "a"))
    server = keep(Server(tmp_path / "server", *words))
    admin = Admin(server)
    writers = Writers(admin)
    writers.start()
    moments = []
    for number in range(3):
        before = writers.count()
        until(lambda enough=before + 5: writers.count() >= enough, "the server writes")  # type: ignore[misc]
        sure = set(writers.made) - set(writers.revoking)
        done = rportd_db("backup", str(tmp_path / f"copy{number}"), *words)
        assert done.returncode == 0, done.stderr
        moments.append(sure)
    refusal = rportd_db("restore", str(tmp_path / "copy0"), *words)
    assert refusal.returncode == 1
    assert "another rportd works with it" in refusal.stderr
    server.stop()
    writers.join()
    other = ("--db", database_url(kind, tmp_path / "b"))
    for number, sure in enumerate(moments):
        assert rportd_db("restore", str(tmp_path / f"copy{number}"), *other).returncode == 0
        check(*other)
        restored = keep(Server(tmp_path / "server", *other, port=server.port))
        assert sure <= admin.tokens()
        restored.stop()
