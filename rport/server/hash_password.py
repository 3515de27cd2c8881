"""`rportd hash-password`: what an authfile may hold instead of a password."""

import getpass
import sys
from collections.abc import Sequence

from rport.cli import Parser, complain
from rport.errors import UsageError
from rport.server.passwords import PASSWORD_MAX, make_hash

_EPILOG = """\
Asks twice on a terminal, and else reads one line from its input. The password is never an argument, which other users
of the machine could see. What is printed goes behind "user:" in the authfile, or into --auth.

examples:
  rportd hash-password
  rportd hash-password < password.txt
"""


def hash_password_command(argv: Sequence[str]) -> int:
    """The exit code."""
    prog = "rportd hash-password"
    p = Parser(prog=prog, description="Print the Argon2id hash of a password.", epilog=_EPILOG)
    if any(not word.startswith("-") for word in argv):  # said without the word, which is a password as like as not
        return complain(prog, UsageError("give no argument: the password is asked for, or read from the input"))
    p.parse(argv)
    try:
        print(make_hash(ask_password()))
    except UsageError as error:
        return complain(prog, error)
    except (EOFError, KeyboardInterrupt):
        return complain(prog, UsageError("no password was given"))
    return 0


def ask_password() -> str:
    """Twice on a terminal, else a line of the input. Raises UsageError, EOFError, KeyboardInterrupt."""
    return _ask() if sys.stdin is not None and sys.stdin.isatty() else _read()


def _ask() -> str:
    password = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != password:
        raise UsageError("the two are not the same")
    return _text(password)


def _read() -> str:
    line = b"" if sys.stdin is None else sys.stdin.buffer.readline(PASSWORD_MAX + 3)
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise UsageError("the password is not UTF-8") from None


def _text(password: str) -> str:
    """What a terminal gave that was no UTF-8 came in as half surrogate pairs."""
    try:
        password.encode()
    except UnicodeEncodeError:
        raise UsageError("the password is not UTF-8") from None
    return password
