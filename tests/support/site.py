"""Somebody with rportctl, and a whole site for him: a server, its users, machines."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.people import printed
from tests.support.programs import Client, Server

PASSWORD = "correct horse battery"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


class Admin:
    """Somebody with rportctl, and a home of his own."""

    def __init__(self, home: Path, url: str, **env: str) -> None:
        home.mkdir(exist_ok=True)
        self.home = home
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("RPORT_", "XDG_"))}
        self.env |= {"HOME": str(home), "RPORT_URL": url, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
        self.env |= env

    def start(self, *argv: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "rport.ctl", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.env, **env},
        )

    def __call__(self, *argv: str, given: str = "", **env: str) -> Done:
        process = self.start(*argv, **env)
        try:
            out, err = process.communicate(given, timeout=30)
        finally:
            process.kill()
        return Done(process.returncode, out, err)


class Site:
    """A server with an admin who is logged in, and a machine with an id of its own."""

    def __init__(self, keep: Any, tmp_path: Path, *options: str) -> None:
        self.keep, self.path = keep, tmp_path
        self.state = tmp_path / "server"
        printed(self.state, "user", "add", "me", "--role", "admin", typed=f"{PASSWORD}\n")
        self.server = keep(Server(self.state, *options))
        self.admin = self.person("me", PASSWORD)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def person(self, name: str, password: str) -> Admin:
        one = Admin(self.path / f"home-{name}", "")
        del one.env["RPORT_URL"]
        done = one("login", self.url, "--user", name, given=f"{password}\n")
        assert (done.code, done.err) == (0, "")
        return one

    def machine(self, *argv: str, name: str = "web-1") -> Client:
        """Connected, and known by an id that stays."""
        return self.keep(Client(self.server, "--id", name, *argv, state=self.path / f"machine-{name}"))

    def tunnels(self, client: str = "web-1") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.admin("tunnel", "list", client, "--json").json
        return found
