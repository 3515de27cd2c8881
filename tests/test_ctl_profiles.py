"""Logins that are kept: where, how safely, and which one counts."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rport.ctl.profiles import Profiles
from tests.support.api_double import Asked, page, problem
from tests.support.ctl import Ctl

BACKEND = """
import json, os, pathlib
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

class Ring(KeyringBackend):
    priority = 5
    path = pathlib.Path(os.environ["TEST_RING"])

    def _all(self):
        if (self.path.parent / "locked").exists():
            raise RuntimeError("locked")
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def get_password(self, service, name):
        return self._all().get(f"{service}/{name}")

    def set_password(self, service, name, secret):
        self.path.write_text(json.dumps({**self._all(), f"{service}/{name}": secret}))

    def delete_password(self, service, name):
        kept = self._all()
        if kept.pop(f"{service}/{name}", None) is None:
            raise PasswordDeleteError
        self.path.write_text(json.dumps(kept))
"""


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A keyring of the real library, with a backend that keeps things in a file."""
    keyring = pytest.importorskip("keyring")
    (tmp_path / "a_test_ring.py").write_text(BACKEND)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TEST_RING", str(tmp_path / "ring.json"))
    import importlib
    import sys

    sys.modules.pop("a_test_ring", None)
    before = keyring.get_keyring()
    keyring.set_keyring(importlib.import_module("a_test_ring").Ring())
    monkeypatch.setattr("keyring.core._keyring_backend", keyring.get_keyring())
    yield tmp_path / "ring.json"
    keyring.set_keyring(before)


def store(tmp_path: Path) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads((tmp_path / "config/rport/credentials.json").read_text())
    return kept


def grant(ctl: Ctl) -> None:
    """A server that makes tokens for `me`, whose password is `geheim`."""

    def make(asked: Asked) -> tuple[int, Any]:
        assert asked.fields["Authorization"] == "Basic bWU6Z2VoZWlt"
        return 201, {"id": "t1", "secret": "rpt_made", "user": "me", "note": asked.body["note"]}

    ctl.double.answers["POST", "/tokens"] = make
    ctl.double.answers["GET", "/me"] = (200, {"name": "me", "role": "admin"})
    ctl.double.answers["GET", "/clients"] = lambda asked: (
        page() if asked.fields.get("Authorization") == "Bearer rpt_made" else problem(401, "log in")
    )


def log_in(ctl: Ctl, tmp_path: Path, *more: str) -> Any:
    (tmp_path / "password").write_text("geheim\n")
    return ctl("login", ctl.double.url, "--user", "me", "--password", f"@{tmp_path}/password", *more)


def test_a_login_is_a_token_in_a_private_file(ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grant(ctl)
    monkeypatch.delenv("RPORT_URL")
    done = log_in(ctl, tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"profile 127.0.0.1:{ctl.double.port}: {ctl.double.url}, as me\n"
    path = tmp_path / "config/rport/credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "geheim" not in path.read_text()
    assert store(tmp_path)["profiles"][f"127.0.0.1:{ctl.double.port}"]["token"] == "rpt_made"
    assert ctl.double.asked[0].body == {"note": f"rportctl on {os.uname().nodename}", "expires_in": 90 * 86400}
    assert ctl("clients").code == 0
    assert "rpt_made" not in ctl("profile", "list", "--json").out


def test_a_second_factor_is_asked_for(ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grant(ctl)
    made = ctl.double.answers["POST", "/tokens"]

    def first_ask(asked: Asked) -> tuple[int, Any]:
        if asked.fields.get("X-Rport-Otp", asked.fields.get("X-Rport-OTP")) != "123456":
            return problem(401, "send its code, too (X-Rport-OTP: 123456)", "unauthorized")
        assert callable(made)
        return made(asked)

    ctl.double.answers["POST", "/tokens"] = first_ask
    read, write = os.pipe()
    os.write(write, b"123456\n")
    os.close(write)
    with open(read) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert log_in(ctl, tmp_path).code == 0
        assert log_in(ctl, tmp_path).err == "rportctl: no code was given\n"


def test_a_wrong_password_changes_nothing(ctl: Ctl, tmp_path: Path) -> None:
    grant(ctl)
    log_in(ctl, tmp_path)
    before = store(tmp_path)
    ctl.double.answers["POST", "/tokens"] = problem(401, "wrong user or password")
    done = log_in(ctl, tmp_path)
    assert (done.code, done.err) == (3, "rportctl: wrong user or password\n")
    assert store(tmp_path) == before


def test_a_user_who_is_not_utf8(ctl: Ctl, tmp_path: Path) -> None:
    grant(ctl)
    assert log_in(ctl, tmp_path, "--user", "\udcff").err == "rportctl: '\\udcff' is not UTF-8\n"
    assert ctl.double.asked == []


def test_logging_out_revokes(ctl: Ctl, tmp_path: Path) -> None:
    grant(ctl)
    log_in(ctl, tmp_path)
    ctl.double.answers["DELETE", "/tokens/t1"] = (204, b"")
    assert ctl("logout").code == 0
    assert ctl.double.asked[-1].method == "DELETE"
    assert ctl.double.asked[-1].fields["Authorization"] == "Bearer rpt_made"
    assert store(tmp_path) == {"current": None, "profiles": {}}
    assert ctl("logout").code == 2


def test_a_server_that_is_away_keeps_the_login(ctl: Ctl, tmp_path: Path) -> None:
    """Else the token would stay valid, and nobody would know it."""
    grant(ctl)
    log_in(ctl, tmp_path)
    ctl.double.answers["DELETE", "/tokens/t1"] = problem(503, "not now")
    assert ctl("logout").code == 5
    assert "rpt_made" in json.dumps(store(tmp_path))


def test_a_token_of_another_place(ctl: Ctl, tmp_path: Path) -> None:
    grant(ctl)
    (tmp_path / "token").write_text("rpt_made\n")
    assert ctl("login", ctl.double.url, "--token", f"@{tmp_path}/token", "--profile", "p").code == 0
    assert ctl.double.asked[-1].fields["Authorization"] == "Bearer rpt_made"
    done = ctl("logout")
    assert done.out == "profile p is forgotten; a token that was made elsewhere stays valid\n"
    assert ctl.double.asked[-1].method == "GET"


def test_several_servers(ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RPORT_URL")
    ctl.double.answers["GET", "/status"] = (200, {})
    for name in ("one", "two"):
        assert ctl("login", "--anonymous", "--profile", name, ctl.double.url).code == 0
    assert [(row["name"], row["current"]) for row in json.loads(ctl("profile", "list", "--json").out)] == [
        ("one", False),
        ("two", True),
    ]
    assert ctl("profile", "use", "one").code == 0
    assert store(tmp_path)["current"] == "one"
    assert ctl("profile", "use", "three").err == "rportctl: there is no profile 'three': there are one, two\n"
    assert ctl("status", "--profile", "three").code == 2
    assert ctl("profile", "rm", "one").code == 0
    said = "rportctl: which server? there are two; `rportctl profile use NAME`, or --profile\n"
    assert ctl("status").err == said
    assert ctl("logout", "--profile", "two").out == "profile two is forgotten; it had no login\n"
    assert ctl("status").err.startswith("rportctl: which server? `rportctl login URL` remembers one")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_can_read_is_refused(ctl: Ctl, tmp_path: Path, mode: int) -> None:
    grant(ctl)
    log_in(ctl, tmp_path)
    (tmp_path / "config/rport/credentials.json").chmod(mode)
    done = ctl("clients")
    assert done.code == 1
    assert "can be read or written by others: chmod 600" in done.err
    assert len(ctl.double.asked) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"profiles": {"a": {}}}', '{"profiles": []}'])
def test_a_damaged_file(ctl: Ctl, tmp_path: Path, text: str) -> None:
    path = tmp_path / "config/rport/credentials.json"
    path.parent.mkdir(parents=True)
    path.touch(0o600)
    path.write_text(text)
    done = ctl("clients")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "is damaged: correct it, or remove it" in done.err


def test_a_keyring_goes_before_the_file(ctl: Ctl, tmp_path: Path, ring: Path) -> None:
    grant(ctl)
    log_in(ctl, tmp_path, "--profile", "p")
    assert json.loads(ring.read_text()) == {"rportctl/p": "rpt_made"}
    assert "rpt_made" not in json.dumps(store(tmp_path))
    assert ctl("clients").code == 0
    (ring.parent / "locked").touch()
    done = ctl("clients")
    assert (done.code, done.err) == (
        1, "rportctl: the keyring does not give the token of profile 'p': unlock it, or log in again\n",
    )  # fmt: skip
    log_in(ctl, tmp_path, "--profile", "p")  # what cannot be kept there is kept in the file
    assert store(tmp_path)["profiles"]["p"]["token"] == "rpt_made"
    assert ctl("clients").code == 0


def test_a_keyring_forgets(ctl: Ctl, tmp_path: Path, ring: Path) -> None:
    grant(ctl)
    ctl.double.answers["DELETE", "/tokens/t1"] = (204, b"")
    log_in(ctl, tmp_path, "--profile", "p")
    assert ctl("logout").code == 0
    assert json.loads(ring.read_text()) == {}


def test_a_token_goes_to_its_own_server_alone(ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grant(ctl)
    log_in(ctl, tmp_path)
    before = len(ctl.double.asked)
    monkeypatch.setenv("RPORT_URL", f"http://localhost:{ctl.double.port}")  # another name may be another machine
    assert ctl("clients").code == 3
    assert "Authorization" not in ctl.double.asked[before].fields


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, ctl: Ctl) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert "this user has no home directory: set XDG_CONFIG_HOME" in ctl("profile", "list").err


def test_what_is_written_is_what_is_read(ctl: Ctl) -> None:
    profiles = Profiles.load()
    profiles.put("ü", {"url": "https://a"}, None)
    again = Profiles.load()
    assert (again.all, again.current, again.token("ü")) == ({"ü": {"url": "https://a"}}, "ü", None)
