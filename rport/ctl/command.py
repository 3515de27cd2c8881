"""A command of rportctl: a row of its table, and the command line that is made of it."""

import argparse
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from rport.cli import Parser
from rport.errors import UsageError
from rport.options import Option, Text, described, path, short, value_of


class Command(NamedTuple):
    """A row. `run` is MODULE:FUNCTION below rport.ctl, which is imported when it is called.

    `needed`: so many of the arguments have to be there; None = all. `behind`: what stands behind `--`, as --help
    calls it.
    """

    name: str
    help: str
    run: str
    options: tuple[Option, ...] = ()
    needed: int | None = None
    behind: str = ""
    examples: tuple[str, ...] = ()


def read_token(text: str) -> str:
    """What @FILE or a variable gave. Raises UsageError; the text is never shown."""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError("this is no token: give the text that begins with rpt_ alone")
    return text


def read_timeout(text: str) -> float:
    """Seconds, above none. Raises UsageError."""
    from rport.duration import parse_duration

    seconds = parse_duration(text)
    if seconds <= 0:
        raise UsageError("without any time there is no answer: write it like 15s")
    return seconds


# What all commands take, also from the environment.
GLOBALS = (
    Option("profile", "the server and login of this name; else the last that was used", "NAME"),
    Option("url", "ask this server instead of a profile's", "URL"),
    Option("token", "come in with this token; by @FILE or RPORT_TOKEN alone, since `ps` shows arguments", "@FILE",
           read_token, secret=True),
    Option("ca", "trust these authorities (PEM) instead of the system's", "FILE", path, hint="file"),
    Option("insecure", "do not check the server's certificate: whoever is on the way reads and changes all"),
    Option("timeout", "how long an answer may take", "D", read_timeout, "15s"),
    Option("json", "print JSON"),
)  # fmt: skip


# All others would be as if they were not there, and `--lhost "$INSIDE"` would listen somewhere else.
MAY_BE_EMPTY = ("note",)


class Words(argparse.Namespace):
    """What was given, read: a field for each option. `given`: those that were, by field; `behind`: the words behind
    `--`."""

    behind: list[str]
    given: set[str]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def parser(command: Command) -> Parser:
    """Its command line."""
    p = Parser(
        prog=f"rportctl {command.name}",
        usage=usage(command),
        description=command.help[0].upper() + command.help[1:] + ".",
        epilog="\n  ".join(("examples:", *command.examples)) if command.examples else None,
    )
    missing = _needed(command)
    for option in command.options:
        if option.positional:
            needed, missing = missing > 0, missing - 1
            count = ("+" if needed else "*") if option.many else (None if needed else "?")
            p.add_argument(option.name, nargs=count, metavar=option.metavar, help=option.help)
        else:
            add(p, option)
    for option in GLOBALS:
        add(p, option)
    return p


def usage(command: Command) -> str:
    """Of one line."""
    words, missing = [f"rportctl {command.name}"], _needed(command)
    for option in command.options:
        if option.positional:
            word = option.metavar + (" ..." if option.many else "")
            words.append(word if missing > 0 else f"[{word}]")
            missing -= 1
    if any(not option.positional for option in command.options):
        words.append("[options]")
    return " ".join([*words, *([f"[-- {command.behind}]"] if command.behind else [])])


def _needed(command: Command) -> int:
    return sum(option.positional for option in command.options) if command.needed is None else command.needed


def add(p: Parser, option: Option) -> None:
    """The option of a command line, without its default: who looks there wants to know what was given."""
    if option.flag:
        p.option(option.name, *short(option), action="store_true", default=None, help=option.help)
    else:
        kind = {"action": "append"} if option.many else {}
        p.option(option.name, *short(option), metavar=option.metavar, help=described(option), **kind)


def parse(command: Command, argv: Sequence[str]) -> Words:
    """Raises UsageError; ends the program for --help and for words that argparse refuses."""
    cut = argv.index("--") if command.behind and "--" in argv else len(argv)
    found = parser(command).parse(argv[:cut])
    words = Words(behind=list(argv[cut + 1 :]), given=set())
    for option in (*command.options, *GLOBALS):
        texts = given(option, getattr(found, option.field))
        setattr(words, option.field, value_of(option, texts))
        if texts is not None:
            words.given.add(option.field)
    return words


def given(option: Option, word: Any) -> list[Text] | None:
    """What was written for an option: on the command line, else, for those of all commands, in the environment."""
    source = "" if option.positional else f"--{option.name}"
    if word is not None and word != []:
        word = word if option.many else [word]
        if option.secret and word[0].strip() and not word[0].startswith("@"):
            raise UsageError(f"{source}: `ps` shows arguments to all users of this machine: give @FILE")
        if "" in word and option.read is str and not option.positional and option.name not in MAY_BE_EMPTY:
            raise UsageError(f"{source}: it is empty: give {option.metavar}, or leave it out")
        return [Text(text if text is not True else "true", source) for text in word]
    if option in GLOBALS:
        name = option.variables[0]
        if text := os.environ.get(name):
            return [Text(text, name)]
    return None
