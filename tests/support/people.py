"""Users of a server's API, made as whoever looks after the server makes them: by rportd's commands on its database.

They run in the tests' process, which is not the server's either: a process of each would take half a second to start.
"""

import contextlib
import io
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from rport.server.commands import run

PASSWORD = "correct horse"

_streams = threading.Lock()  # there is one of each in a process


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: object
    out: str
    err: str


def rportd(state: Path, *argv: str, typed: str = "", db: str | None = None) -> Done:
    """`rportd ARGV` on that state directory, with `typed` as its input."""
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(typed.encode()))
    with (
        _streams,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch("sys.stdin", given),
    ):
        try:
            code: object = run([*argv, *_where(state, db)])
        except SystemExit as end:
            code = end.code
    return Done(code, out.getvalue(), err.getvalue())


def rportd_process(state: Path, *argv: str, typed: str = "", db: str | None = None) -> Done:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "rport.server", *argv, *_where(state, db)]
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60)
    return Done(done.returncode, done.stdout, done.stderr)


def _where(state: Path, db: str | None) -> list[str]:
    return ["--config", "none", "--state-dir", str(state), *(["--db", db] if db is not None else [])]


def printed(state: Path, *argv: str, typed: str = "", db: str | None = None) -> str:
    """What a command that ends well prints."""
    done = rportd(state, *argv, typed=typed, db=db)
    assert done.code == 0, done.err
    return done.out.strip()


def add_user(state: Path, name: str, role: str = "admin", *more: str, db: str | None = None) -> None:
    printed(state, "user", "add", name, "--role", role, *more, typed=f"{PASSWORD}\n", db=db)


def add_token(state: Path, name: str, *more: str, db: str | None = None) -> str:
    return printed(state, "token", "create", name, *more, db=db)
