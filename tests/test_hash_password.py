"""`rportd hash-password`, on a terminal and in a pipe."""

import os
import pty
import subprocess
import sys

import pytest

from rport.server.passwords import verify

COMMAND = [sys.executable, "-m", "rport.server", "hash-password"]


def piped(data: bytes, *argv: str) -> tuple[int, str, str]:
    done = subprocess.run([*COMMAND, *argv], input=data, capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def typed(*lines: bytes) -> tuple[int, bytes, str]:
    """On a terminal of its own: the exit code, all that the terminal showed, and what went to the pipe of stdout."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        COMMAND, stdin=slave, stdout=subprocess.PIPE, stderr=slave, start_new_session=True, close_fds=True
    )
    os.close(slave)
    shown = b""
    for line in lines:
        while not shown.endswith(b": "):
            shown += os.read(master, 1024)
        os.write(master, line + b"\n")
        shown += b"|"
    out, _ = process.communicate(timeout=60)
    while True:
        try:
            shown += os.read(master, 1024)
        except OSError:  # the other end is closed
            break
    os.close(master)
    return process.returncode, shown, out.decode()


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"", b"\nmore\n"])
def test_one_line_is_read(ending: bytes) -> None:
    code, out, err = piped("pä ss:word".encode() + ending)
    assert (code, err) == (0, "")
    assert out.startswith("$argon2id$")
    assert verify(out.rstrip("\n"), "pä ss:word")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the password is empty"),
        (b"\n", "the password is empty"),
        (b"\xff\n", "the password is not UTF-8"),
        (b"a" * 5000, "at most 4096 fit into a login"),
    ],
)
def test_what_is_no_password(data: bytes, reason: str) -> None:
    code, out, err = piped(data)
    assert (code, out) == (1, "")
    assert err.startswith("rportd hash-password: ")
    assert reason in err
    assert err.count("\n") == 1


def test_a_password_is_never_an_argument() -> None:
    code, out, err = piped(b"x\n", "my-secret")
    assert (code, out) == (1, "")
    assert "give no argument" in err
    assert "my-secret" not in err


def test_a_terminal_asks_twice_and_shows_nothing() -> None:
    code, shown, out = typed(b"hidden-word", b"hidden-word")
    assert code == 0
    assert shown.count(b": ") == 2
    assert b"hidden-word" not in shown
    assert verify(out.rstrip("\n"), "hidden-word")


def test_a_terminal_on_which_the_two_differ() -> None:
    code, shown, out = typed(b"hidden-word", b"hidden-ward")
    assert (code, out) == (1, "")
    assert b"the two are not the same" in shown
