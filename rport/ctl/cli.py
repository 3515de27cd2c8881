"""The `rportctl` command: from words to the function that does it."""

import sys
from collections.abc import Sequence

from rport import __version__
from rport.cli import Parser, complain, printing
from rport.ctl.command import GLOBALS, Command, add, parse
from rport.ctl.commands import ABOUT, COMMANDS, EPILOG
from rport.ctl.errors import ServerTrouble
from rport.errors import RportError, UsageError

COMPLETE = "__complete"  # what the shells' completions call


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == [COMPLETE]:
        from rport.ctl.complete import answer

        return answer(argv[1:])
    names, others = split(argv)
    command = find(names)
    if command is None:
        return printing("rportctl", lambda: _lead(names, others))
    words = [*others, *names[len(command.name.split()) :]]
    return printing(f"rportctl {command.name}", lambda: _run(command, words))


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What begins with the command's name; and the options before it, which all commands have, with their values."""
    valued = {f"{dash}{option.name}" for option in GLOBALS if not option.flag for dash in ("-", "--")}
    before: list[str] = []
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        before.append(rest.pop(0))
        if before[-1] in valued and rest:
            before.append(rest.pop(0))
    return rest, before


def find(words: Sequence[str]) -> Command | None:
    """Whose name the words begin with."""
    for count in (2, 1):
        for command in COMMANDS:
            if command.name.split() == list(words[:count]):
                return command
    return None


def _run(command: Command, argv: Sequence[str]) -> int:
    from importlib import import_module

    from rport.ctl.session import Session

    module, _, function = command.run.partition(":")
    try:
        words = parse(command, argv)
        return getattr(import_module(f"rport.ctl.{module}"), function)(Session(words), words) or 0
    except RportError as error:
        return complain("rportctl", error)
    except (KeyError, TypeError, AttributeError) as error:  # a member that is not there, or of another kind
        what = f"{type(error).__name__}: {error}"
        return complain("rportctl", ServerTrouble(f"the answer is none that rportctl knows; other versions? ({what})"))


def _lead(names: Sequence[str], options: Sequence[str]) -> int:
    """No command yet: help, the version, or what may follow."""
    group = [command for command in COMMANDS if command.name.split()[0] == names[0]] if names else []
    p = Parser(
        prog=" ".join(["rportctl", *names[: bool(group)]]),
        usage=f"rportctl {names[0]} COMMAND ..." if group else "rportctl COMMAND ...",
        description=f"Commands of rportctl {names[0]}." if group else ABOUT,
        epilog=_listed(group or COMMANDS) + ("" if group else f"\n\n{EPILOG.rstrip()}"),
    )
    for option in GLOBALS:
        add(p, option)
    p.option("version", action="version", version=f"rportctl {__version__}", help="show the version and end")
    words = [*options, *names[bool(group) :]] if names else list(options)
    if not words:
        p.print_help()
        return 1 if not names else 0
    if any(word in ("--help", "-help", "-h", "--h", "--version", "-version") for word in words):
        p.parse([word for word in words if word.startswith("-")])
    return complain("rportctl", UsageError(_unknown(names, group)))


def _listed(commands: Sequence[Command]) -> str:
    size = max(len(command.name) for command in commands)
    return "\n".join(["commands:", *(f"  {command.name:{size}}  {command.help}" for command in commands)])


def _unknown(names: Sequence[str], group: Sequence[Command]) -> str:
    import difflib

    if not names:
        return "give a command; see rportctl --help"
    word = " ".join(names[: 2 if group else 1])
    known = [command.name for command in COMMANDS]
    near = difflib.get_close_matches(" ".join(names[:2]), known, 1) or difflib.get_close_matches(word, known, 1)
    return f"there is no command {word!r}; " + (f"did you mean {near[0]}?" if near else "see rportctl --help")
