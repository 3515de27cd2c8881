"""What only a person knows: names, passwords, codes. None of them is ever an argument."""

import getpass
import sys

from rport.errors import UsageError

PASSWORD_MAX = 4096  # octets; the server says what it takes


def name(prompt: str) -> str:
    """Raises UsageError where nobody can be asked."""
    if not _somebody():
        raise UsageError("nobody can be asked here: give --user, and --password @FILE")
    print(f"{prompt}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def secret(prompt: str, given: str | None, *, twice: bool = False, what: str = "password") -> str:
    """What an option gave, else asked for on a terminal, else a line of the input. Raises UsageError."""
    if given is not None:
        return _fit(given, what)
    if not _somebody():
        line = sys.stdin.readline(PASSWORD_MAX + 2) if sys.stdin is not None else ""
        return _fit(line.removesuffix("\n").removesuffix("\r"), what)
    try:
        text = getpass.getpass(f"{prompt}: ")
        if twice and getpass.getpass("The same again: ") != text:
            raise UsageError("the two are not the same")
    except (EOFError, KeyboardInterrupt):
        raise UsageError(f"no {what} was given") from None
    return _fit(text, what)


def code() -> str:
    """Of a second factor. Raises UsageError for what cannot be one."""
    text = secret("Second factor", None, what="code")
    if not text.isascii() or not text.isdecimal():
        raise UsageError("the code is a number, such as 123456")
    return text


def _somebody() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _fit(text: str, what: str) -> str:
    if not text:
        raise UsageError(f"no {what} was given")
    try:
        if len(text.encode()) > PASSWORD_MAX:
            raise UsageError(f"the {what} is longer than {PASSWORD_MAX} bytes")
    except UnicodeEncodeError:
        raise UsageError(f"the {what} is not UTF-8") from None
    return text
