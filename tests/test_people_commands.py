"""`rportd user` and `rportd token`, on both databases. In this process, since there are many; some in their own."""

import json
import os
import stat
from pathlib import Path

import pytest

from rport.install.units import Program
from rport.server import passwords
from tests.support import people
from tests.support.postgres import database_url

KINDS = ["sqlite", "postgresql"]


@pytest.fixture(params=KINDS)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request.param, tmp_path)


class Rportd:
    """Its commands on one state directory, and on `db` where that is given."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.db: str | None = None

    def __call__(self, *argv: str, typed: str = "") -> people.Done:
        return people.rportd(self.state, *argv, typed=typed, db=self.db)

    def printed(self, *argv: str, typed: str = "") -> str:
        return people.printed(self.state, *argv, typed=typed, db=self.db)

    def refused(self, *argv: str, typed: str = "") -> str:
        """The one line that a command ends with."""
        done = self(*argv, typed=typed)
        assert (done.code, done.out) == (1, "")
        (line,) = done.err.splitlines()
        return line.partition(": ")[2]

    def add(self, name: str, role: str = "admin", *more: str) -> None:
        people.add_user(self.state, name, role, *more, db=self.db)

    def users(self) -> dict[str, tuple[str, list[str] | None]]:
        rows = json.loads(self.printed("user", "list", "--json"))
        return {user["name"]: (user["role"], user["tags"]) for user in rows}


@pytest.fixture
def rportd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rportd:
    monkeypatch.setattr(passwords, "OPSLIMIT", 1)
    monkeypatch.setattr(passwords, "MEMLIMIT", 8192)
    return Rportd(tmp_path)


@pytest.fixture
def on(rportd: Rportd, db: str) -> Rportd:
    """On each of the databases."""
    rportd.db = db
    return rportd


def test_users_come_and_go(on: Rportd) -> None:
    on.add("alice")
    on.add("bob", "operator", "--tag", "paris", "--tag", "berlin")
    assert on.users() == {"alice": ("admin", None), "bob": ("operator", ["berlin", "paris"])}
    assert on.printed("user", "passwd", "bob", typed="another one\n") == "bob has another password"
    assert on.refused("user", "remove", "alice").startswith("alice is the last admin")
    assert on.printed("user", "remove", "bob") == "bob is gone, with his tokens and logins"
    on.printed("user", "remove", "alice", "--force")
    assert on.printed("user", "list") == ""


def test_tokens_come_and_go(on: Rportd) -> None:
    on.add("alice")
    more: list[list[str]] = [[], ["--role", "viewer", "--expires", "90d"]]
    secrets = [on.printed("token", "create", "alice", *words) for words in more]
    assert all(secret.startswith("rpt_") for secret in secrets)
    listed = on.printed("token", "list")
    assert not any(secret in listed for secret in secrets)
    first, second = json.loads(on.printed("token", "list", "alice", "--json"))
    assert (first["role"], first["expires_at"]) == ("admin", None)
    assert (second["role"], second["expires_at"] is not None) == ("viewer", True)
    assert f"token {first['id']} of alice" in on.printed("token", "revoke", first["id"])
    assert "there is no token" in on.refused("token", "revoke", first["id"])
    on.printed("user", "remove", "alice", "--force")
    assert on.printed("token", "list") == ""


@pytest.mark.parametrize(
    ("argv", "typed", "text"),
    [
        (["user"], "", "give add NAME, list, passwd NAME or remove NAME"),
        (["user", "add"], "", "give add NAME, list, passwd NAME or remove NAME"),
        (["user", "list", "alice"], "", "give add NAME"),
        (["user", "fly", "alice"], "", "give add NAME"),
        (["user", "add", "alice"], "correct horse\n", "the first user has to be an admin"),
        (["user", "add", "alice", "--role", "root"], "correct horse\n", "'root' is none of viewer, operator, admin"),
        (["user", "add", "a:b", "--role", "admin"], "correct horse\n", "a user's name has 1 to 64"),
        (["user", "add", "x" * 65, "--role", "admin"], "correct horse\n", "a user's name has 1 to 64"),
        (["user", "add", "alice", "--role", "admin"], "short\n", "the password has 5 characters; give 8"),
        (["user", "add", "alice", "--role", "admin"], "", "the password has 0 characters"),
        (["user", "add", "alice", "--role", "admin", "--tag", "a b"], "correct horse\n", "give 1 to 64 tags"),
        (["user", "add", "alice", "--role", "admin", "--password", "s3cret-word"], "", "--password: give @FILE"),
        (["user", "add", "alice", "--role", "admin", "--password", "@/none"], "", "file /none: No such file"),
        (["token", "create"], "", "give create USER, list or revoke ID"),
        (["token"], "", "give create USER, list or revoke ID"),
        (["user", "list", "--db", "memory"], "", "that database is gone when rportd ends"),
    ],
)
def test_what_cannot_be_is_one_line(argv: list[str], typed: str, text: str, rportd: Rportd) -> None:
    done = rportd(*argv, typed=typed)
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert text in line
    assert "s3cret-word" not in line


@pytest.mark.parametrize(
    "argv", ["user passwd nobody", "user remove nobody", "token create nobody", "token list nobody"]
)
def test_users_that_are_not_there(argv: str, rportd: Rportd) -> None:
    rportd.add("alice")
    assert rportd.refused(*argv.split(), typed="correct horse\n") == "there is no user 'nobody'"


def test_a_token_that_is_not_there(rportd: Rportd) -> None:
    rportd.add("alice")
    assert rportd.refused("token", "revoke", "nothing") == "there is no token 'nothing'"


@pytest.mark.parametrize(
    "argv", ["user list", "user passwd alice", "user remove alice", "token list", "token revoke a1"]
)
def test_only_a_new_user_makes_a_database(argv: str, rportd: Rportd) -> None:
    assert rportd.refused(*argv.split(), typed="correct horse\n").startswith("there is no database at ")
    assert not list(rportd.state.iterdir())
    path = rportd.state / "rportd.db"
    words = ("user", "add", "alice", "--role", "admin")
    assert f"the database is new: {path};" in rportd(*words, typed="correct horse\n").err
    assert rportd("user", "add", "bob", typed="correct horse\n").err == ""


def test_root_is_told_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Program, "state", str(tmp_path / "service"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    hint = f"this is not the service's database: that one is with --state-dir {tmp_path}/service"

    def added(directory: str, name: str) -> str:
        return people.rportd(tmp_path / directory, "user", "add", name, "--role", "admin", typed="correct horse\n").err

    assert hint not in added("rport", "alice")  # there is none
    (tmp_path / "service").mkdir()
    assert hint in added("rport", "bob")
    assert hint not in added("service", "carol")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--expires", "0"], "--expires: give"),
        (["--expires", "9"], "it needs a unit"),
        (["--note", "a\nb"], "--note: give"),
        (["--note", "x" * 201], "--note: give"),
    ],
)
def test_tokens_that_cannot_be(more: list[str], text: str, rportd: Rportd) -> None:
    rportd.add("alice")
    assert text in rportd.refused("token", "create", "alice", *more)


def test_a_password_from_a_file(tmp_path: Path, rportd: Rportd) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    words = ("user", "add", "alice", "--role", "admin", "--password", f"@{file}")
    assert people.rportd_process(tmp_path, *words)[:2] == (0, "alice may use the API as admin\n")
    assert rportd.users() == {"alice": ("admin", None)}


def test_the_database_is_private_and_its_directorys_owners(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    if os.geteuid() == 0:
        os.chown(state, 1234, 1234)  # as a service's is, for which root adds a user
    words = ("user", "add", "alice", "--role", "admin")
    assert people.rportd_process(state, *words, typed=f"{people.PASSWORD}\n").code == 0
    for path in state.iterdir():
        about = path.stat()
        assert stat.S_IMODE(about.st_mode) == 0o600, path
        assert about.st_uid == state.stat().st_uid, path


def test_before_the_first_user(on: Rportd) -> None:
    on.add("alice")
    on.printed("user", "remove", "alice", "--force")
    assert on.refused("user", "passwd", "alice", typed="correct horse\n").startswith("there are no users yet")
