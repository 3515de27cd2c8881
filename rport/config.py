"""What is made of a table of options: a command line, and settings from all the places where one may be given.

The command line goes before the environment, that before the configuration file, and that before the default.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rport import files
from rport.cli import Parser
from rport.errors import UsageError
from rport.options import Option, Text, described, parts, path, short, value_of
from rport.text import escape

S = TypeVar("S", bound=Any)  # settings: a NamedTuple whose fields are the options'

CONFIG_MAX = 1 << 20  # octets; a client's 200 remotes take a hundredth of it
NO_FILE = "none"  # as the value of --config
SYSTEM_PLACE = "/etc/rport"


class Table:
    """All options of a program, in the order of --help."""

    def __init__(self, prog: str, options: Sequence[Option], about: str, epilog: str) -> None:
        self.prog, self.about, self.epilog = prog, about, epilog
        self.options = (
            Option("config", f"TOML file of options; else {self._shown_places()}; none = no file", "FILE", path,
                   in_file=False, hint="file"),
            *options,
        )  # fmt: skip

    def parser(self, version: str) -> Parser:
        """The command line. Defaults are left out of the result: who looks there wants to know what was given."""
        p = Parser(prog=self.prog, description=self.about, epilog=self.epilog)
        for option in self.options:
            if option.positional:
                p.add_argument(option.name, nargs="*" if option.many else "?", metavar=option.metavar, help=option.help)
            else:
                add(p, option)
        p.option("version", action="version", version=f"{self.prog} {version}", help="show the version and end")
        return p

    def find_file(self, words: argparse.Namespace, environ: Mapping[str, str]) -> "File | None":
        """The configuration file that was named, else the first that is in a default place. Raises UsageError."""
        named = value_of(self.options[0], given(self.options[0], words, environ, None))
        if named is not None:
            return None if named == NO_FILE else File.load(named, self)
        for place in self.places(environ):
            if os.path.exists(place):
                if not os.access(place, os.R_OK):  # a service's, and nobody here has named it
                    raise UsageError(f"configuration file {place}: Permission denied; use sudo, or --config none")
                return File.load(place, self)
        return None

    def places(self, environ: Mapping[str, str]) -> list[str]:
        base = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        own = [] if base.startswith("~") else [os.path.join(base, "rport", f"{self.prog}.toml")]
        return [*own, f"{SYSTEM_PLACE}/{self.prog}.toml"]

    def _shown_places(self) -> str:
        return f"~/.config/rport/{self.prog}.toml or {SYSTEM_PLACE}/{self.prog}.toml, if there"

    def resolve(
        self, words: argparse.Namespace, environ: Mapping[str, str], file: "File | None", *, strict: bool = True
    ) -> tuple[dict[str, Any], list[str]]:
        """Values by field, and what is wrong, as lines; with `strict` the first raises UsageError."""
        values: dict[str, Any] = {}
        problems = list(file.problems) if file is not None else []
        for option in self.options:
            try:
                values[option.field] = value_of(option, given(option, words, environ, file))
            except UsageError as error:
                problems.append(str(error))
        if problems and strict:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise UsageError(problems[0] + more)
        return values, problems

    def load(self, words: argparse.Namespace, build: Callable[[dict[str, Any]], S]) -> S:
        """The settings that `build` makes of what is given now, in all places. Raises UsageError."""
        return build(self.resolve(words, os.environ, self.find_file(words, os.environ))[0])

    def find(self, name: str) -> Option | None:
        return next((option for option in self.options if option.name == name), None)


def add(p: Parser, option: Option) -> None:
    """One that is no positional."""
    if option.flag:
        p.option(option.name, *short(option), action="store_true", default=None, help=option.help)
    else:
        kind = {"action": "append"} if option.many else {}
        p.option(option.name, *short(option), metavar=option.metavar, help=described(option), **kind)


def given(
    option: Option, words: argparse.Namespace, environ: Mapping[str, str], file: "File | None"
) -> list[Text] | None:
    """What was written in the place that counts. None: nowhere."""
    word = getattr(words, option.field, None)
    if word is not None and word != []:
        source = "" if option.positional else f"--{option.name}"
        return [Text(text if text is not True else "true", source) for text in (word if option.many else [word])]
    for name in option.variables:
        if text := environ.get(name):
            return [Text(part, name) for part in parts(option, text)]
    return file.texts(option) if file is not None and option.in_file else None


class File:
    """A configuration file: TOML whose keys are the options' names."""

    def __init__(self, path: str, text: str, table: Table, readable_by_all: bool = False) -> None:
        """Raises UsageError for what is no TOML; all else is in `problems`, a line each."""
        import tomllib  # here: most clients have no file

        self.path = path
        self._text = text
        try:
            self._data = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits; thousands of brackets
            raise UsageError(f"{path}: this is no TOML: {error}") from None
        self.problems = [*self._misfits(table)]
        if readable_by_all:
            self.problems += self._open_secrets(table)

    @classmethod
    def load(cls, path: str, table: Table) -> "File":
        """Raises UsageError for a file that cannot be read."""
        text = files.read(path, CONFIG_MAX, "configuration file")
        return cls(path, text, table, _readable_by_all(path))

    @property
    def empty(self) -> bool:
        """Nothing is set in it: all of it is comments."""
        return not self._data

    def texts(self, option: Option) -> list[Text] | None:
        """What stands there for an option; nothing for what is among the problems already."""
        if option.name not in self._data or not _fits(option, self._data[option.name]):
            return None
        value = self._data[option.name]
        return [Text(_plain(item), self._where(option.name)) for item in (value if option.many else [value])]

    def _misfits(self, table: Table) -> Iterator[str]:
        for key, value in self._data.items():
            option = table.find(key)
            if option is None or not option.in_file:
                yield f"{self._where(key)}: {_unknown(key, value, table)}"
            elif not _fits(option, value):
                yield f"{self._where(key)}: {_expected(option)} is expected here"

    def _open_secrets(self, table: Table) -> Iterator[str]:
        for option in table.options:
            if option.secret and any(not text.text.startswith("@") for text in self.texts(option) or ()):
                yield f"{self._where(option.name)}: everybody can read this file; chmod o-r {self.path}, or give @FILE"

    def _where(self, key: str) -> str:
        """`FILE:LINE: key`; the line is looked for, since the parser does not tell."""
        pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[=\].]""")
        for number, line in enumerate(self._text.splitlines(), 1):
            if pattern.match(line):
                return f"{self.path}:{number}: {key}"
        return f"{self.path}: {key}"


def _readable_by_all(path: str) -> bool:
    try:
        return os.name == "posix" and bool(os.stat(path).st_mode & 0o004)
    except OSError:  # it has just gone
        return False


def _unknown(key: str, value: object, table: Table) -> str:
    import difflib  # here: nothing else needs it

    names = [option.name for option in table.options if option.in_file]
    near = difflib.get_close_matches(key.replace("_", "-"), names, 1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return "there are no sections here" if isinstance(value, dict) else f"unknown key; see {table.prog} --help"


def _fits(option: Option, value: object) -> bool:
    if option.flag:
        return isinstance(value, bool)
    if option.many:
        return isinstance(value, list) and all(_is_plain(item) for item in value)
    return _is_plain(value)


def _is_plain(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and abs(value) < 1 << 63)  # as TOML has them; or bool


def _plain(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _expected(option: Option) -> str:
    if option.flag:
        return "true or false"
    return 'a list such as ["..."]' if option.many else "a text or a number"


def reload(table: Table, old: S, load: Callable[[], S]) -> S:
    """What SIGHUP makes of the settings: the new ones, less what needs a restart. The log says what changed.

    Broken new ones change nothing.
    """
    import logging

    log = logging.getLogger("rport")
    try:
        new = load()
    except UsageError as error:
        log.error("Reload: %s; everything stays as it was", error)
        return old
    changed = [option for option in table.options if _of(old, option) != _of(new, option)]
    live = [option.name for option in changed if option.live]
    fixed = [option for option in changed if not option.live]
    if fixed:
        log.warning("Reload: needs a restart: %s", ", ".join(option.name for option in fixed))
    log.info("Reload: %s", f"changed {', '.join(live)}" if live else "nothing else changed" if fixed else "no change")
    result: S = new._replace(**{option.field: _of(old, option) for option in fixed})
    return result


def _of(settings: S, option: Option) -> object:
    return getattr(settings, option.field, None)


def command(
    table: Table, build: Callable[[dict[str, Any]], S], readings: Sequence[Callable[[S], object]], argv: Sequence[str]
) -> int:
    """`PROG config ...`: the exit code, 1 when the file has problems; each is printed. The rest is as for check()."""
    p = Parser(
        prog=f"{table.prog} config",
        usage=f"{table.prog} config check FILE\n       {table.prog} config example",
        description="Check a configuration file: every problem with its line. Or show one with all that may be in it.",
        epilog=f"examples:\n  {table.prog} config example > {table.prog}.toml\n"
        f"  {table.prog} config check {SYSTEM_PLACE}/{table.prog}.toml",
    )
    p.add_argument("verb", metavar="check|example", help="what to do")
    p.add_argument("file", metavar="FILE", nargs="?", help="the file to check")
    words = p.parse(argv)
    if words.verb == "example" and words.file is None:
        print(example(table), end="")
        return 0
    if words.verb != "check" or words.file is None:
        p.error(f"give `check FILE` or `example`; see {p.prog} --help")
    return _check(words.file, check(table, words.file, build, readings))


def _check(path: str, problems: Sequence[str]) -> int:
    for problem in problems:
        print(escape(problem), file=sys.stderr)
    if not problems:
        print(f"{path}: no problems")
    return 1 if problems else 0


def example(table: Table) -> str:
    """A configuration file in which every option is explained and none is set."""
    blocks = [
        f"# Options of {table.prog}; take the # from those that you set; `{table.prog} config check FILE` checks it."
    ]
    for option in table.options:
        if option.in_file:
            blocks.append(f"# {option.help}\n#{option.name} = {_sample(option)}")
    return "\n\n".join(blocks) + "\n"


def _sample(option: Option) -> str:
    if option.flag:
        return "true"
    text = option.default or option.metavar
    value = text if text.lstrip("-").isdecimal() else f'"{text}"'
    return f"[{value}]" if option.many else value


def check(
    table: Table, path: str, build: Callable[[dict[str, Any]], S], readings: Sequence[Callable[[S], object]] = ()
) -> list[str]:
    """Every problem of a configuration file, a line each.

    `build` makes settings of values; where that is possible, each of `readings` is given them, to look into files that
    they name. All of them raise UsageError.
    """
    nothing = argparse.Namespace()
    try:
        file = File.load(path, table)
        values, problems = table.resolve(nothing, {}, file, strict=False)
        if problems:
            return problems
        settings = build(values)
    except UsageError as error:
        return [str(error)]
    for read in readings:
        try:
            read(settings)
        except UsageError as error:
            problems.append(str(error))
    return problems
