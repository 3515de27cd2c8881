"""An option of a program: a row of its table, and how what a user wrote becomes a value.

A row is all that there is to say of an option; parser, environment, configuration file, --help, the manual page, the
shells' completions and docs/configuration.md come from it. Wherever a value comes from it is a text, and one function
reads it.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from rport import files
from rport.errors import UsageError

SECRET_MAX = 1 << 16  # octets of a file that an option names with @


class Option(NamedTuple):
    """A row. `read` takes what the user wrote and raises UsageError; without a `metavar` the option is a flag."""

    name: str
    help: str
    metavar: str = ""
    read: Callable[[str], Any] = str
    default: str | None = None  # as a user would write it
    short: str = ""
    env: tuple[str, ...] = ()  # looked at after RPORT_NAME
    many: bool = False
    lines: bool = False  # of many in a variable, each has a line, since spaces belong to them
    secret: bool = False  # @FILE reads it from there
    positional: bool = False
    live: bool = False  # SIGHUP changes it while the program runs
    in_file: bool = True
    hint: str | tuple[str, ...] = ()  # for completions: "file", or all values that there are

    @property
    def field(self) -> str:
        """Its name in Python."""
        return self.name.replace("-", "_")

    @property
    def variables(self) -> tuple[str, ...]:
        """Where the environment is looked at, in this order."""
        return (f"RPORT_{self.field.upper()}", *self.env)

    @property
    def flag(self) -> bool:
        return not self.metavar


class Text(NamedTuple):
    """What was written for an option, and where; a flag is "true" or "false"."""

    text: str
    source: str


def short(option: Option) -> tuple[str, ...]:
    """Its short form, if there is one."""
    return (option.short,) if option.short else ()


def described(option: Option) -> str:
    """Help with what a reader of --help wants beside it."""
    notes = [f"default {option.default}"] if option.default is not None else []
    if option.many:
        notes.append("repeatable")
    if option.secret and "@FILE" not in option.help:
        notes.append("@FILE works")
    return f"{option.help} ({', '.join(notes)})" if notes else option.help


def parts(option: Option, text: str) -> list[str]:
    """The values in a variable."""
    if not option.many:
        return [text]
    return [line.strip() for line in text.splitlines() if line.strip()] if option.lines else text.split()


def value_of(option: Option, given: list[Text] | None) -> Any:
    """What was given, read, else the default. Raises UsageError that begins with the place."""
    if option.many:
        return tuple(_read(option, text) for text in given or ())
    if given is not None:
        return _read(option, given[0])
    if option.flag:
        return False
    return None if option.default is None else option.read(option.default)


def _read(option: Option, given: Text) -> Any:
    read = _flag if option.flag else option.read
    try:
        return read(_secret(given.text) if option.secret else given.text)
    except UsageError as error:
        raise UsageError(f"{given.source}: {error}" if given.source else str(error)) from None


def _flag(text: str) -> bool:
    try:
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
    except KeyError:
        raise UsageError(f"{text[:20]!r}: give true or false") from None


def _secret(text: str) -> str:
    """`@FILE` is the file's content without its last line end; `@@x` is `@x`."""
    if not text.startswith("@"):
        return text
    if text.startswith("@@"):
        return text[1:]
    return files.read(text[1:], SECRET_MAX, "file").removesuffix("\n").removesuffix("\r")


def lazily(module: str, name: str) -> Callable[[str], Any]:
    """The function of that name, imported when it is called: --help need not wait for what reads values."""

    def read(text: str) -> Any:
        import importlib

        function = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        return function(text)  # type: ignore[operator]

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Reads one of these, in any case."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise UsageError(f"{text[:40]!r} is none of {', '.join(words)}")
        return text.lower()

    return read


def path(text: str) -> str:
    """A path, `~` for the home directory. Raises UsageError."""
    if not text or "\0" in text:
        raise UsageError("give a path")
    return os.path.expanduser(text)


LEVELS = ("error", "warning", "info", "debug")
FORMATS = ("text", "json")

LOGGING = (
    Option("verbose", "log more, as --log-level debug does", short="-v", live=True),
    Option("log-level", f"how much is logged: {', '.join(LEVELS)}", "LEVEL", one_of(*LEVELS), "info", live=True,
           hint=LEVELS),
    Option("log-format", "lines of text, or of json", "FORMAT", one_of(*FORMATS), "text", live=True, hint=FORMATS),
    Option("log-file", "log to this file instead of stderr; rotate it as you like", "FILE", path, live=True,
           hint="file"),
)  # fmt: skip

STATE = Option("state-dir", "where keys and the like are kept; else $STATE_DIRECTORY or ~/.local/state/rport", "DIR",
               path, hint="file")  # fmt: skip
ALLOW_ROOT = Option("allow-root", "run as root under a service manager all the same")
