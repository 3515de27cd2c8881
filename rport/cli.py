"""What both programs' command lines share: parsing, the state directory, running to an exit code."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

from rport import signals
from rport.errors import RportError, UsageError
from rport.text import escape

BUG = 70  # the exit code of what must not happen (EX_SOFTWARE), so that nobody takes it for the user's own mistake, 1

_OPTION = re.compile(r"--?[A-Za-z][\w-]*")  # of `--auth:me:secret` no more than this is ever shown


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Shows `--name` and `-n`; that `-name` and `--n` do the same need not be said for each."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = [name for name in action.option_strings if name.startswith("--") == (len(name.lstrip("-")) > 1)]
        if not names:
            return super()._format_action_invocation(action)
        value = f" {action.metavar}" if action.nargs != 0 and action.metavar else ""
        return ", ".join(sorted(names, key=len)) + value


class Parser(argparse.ArgumentParser):
    """Usage errors end with 1 and one line; `-x` and `--x` are the same; no abbreviations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, add_help=False, formatter_class=_help_formatter, **options)
        self.option("help", "-h", action="help", help="show this and end")

    def option(self, name: str, *more: str, **options: Any) -> None:
        """Add `--name`, also as `-name`, and each `-n` of `more`, also as `--n`."""
        spellings = (f"--{name}", f"-{name}", *more, *(f"-{short}" for short in more))
        self.add_argument(*spellings, dest=name.replace("-", "_"), **options)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Options and positionals in any order."""
        self._refuse_unknown(argv)
        found, unexpected = self.parse_known_intermixed_args(argv)
        for word in unexpected:
            port = "-p" in self._option_string_actions and word.isdecimal()
            self.error(f"unexpected argument {word!r}; " + (f"did you mean -p {word}?" if port else self._see_help()))
        return found

    def _refuse_unknown(self, argv: Sequence[str]) -> None:
        """Before argparse sees them: it takes -prot for -p with the value rot."""
        is_value = False
        for word in argv:
            if word == "--":
                return
            match = _OPTION.match(word)
            if match and not is_value and not self._knows(word):
                self.error(f"unknown option {match[0]}; {self._suggestion(match[0])}")
            action = self._option_string_actions.get(word)
            is_value = action is not None and action.nargs != 0

    def _knows(self, word: str) -> bool:
        known = self._option_string_actions
        return word.partition("=")[0] in known or (word[:2] in known and word[2:].isdecimal())  # the latter: -p9999

    def _suggestion(self, name: str) -> str:
        import difflib  # here: nothing else needs it

        known = sorted(name for name in self._option_string_actions if name.startswith("--") and len(name) > 3)
        word = name.lstrip("-")
        near = difflib.get_close_matches(f"--{word}", known, 1) if len(word) > 1 else []
        return f"did you mean {near[0]}?" if near else self._see_help()

    def _see_help(self) -> str:
        return f"see {self.prog} --help"

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument (--[\w-]+)\S*:", r"\1:", message)  # argparse lists every spelling of an option
        if flag := re.match(r"(--[\w-]+): ignored\s", message):  # argparse's words for a value behind one
            message = f"{flag[1]}: it takes no value"
        sys.exit(complain(self.prog, UsageError(message)))


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    """As wide as the terminal. argparse would load shutil, and with it the compression libraries, to find that out."""
    try:
        width = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    except (ValueError, OSError):
        width = 80
    return _Formatter(prog, width=max(width, 40) - 2, max_help_position=30)


def complain(prog: str, error: RportError) -> int:
    """The one line on stderr by which a program ends; the exit code."""
    from rport import logs  # here: --help needs no logging

    if not logs.last_words(str(error)):
        print(f"{prog}: {escape(str(error))}", file=sys.stderr)
    return error.exit_code


def printing(prog: str, command: Callable[[], int]) -> int:
    """The exit code of a command that prints. The output may go to a full disk, or to a pipe that nobody reads."""
    try:
        code = command()
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read it has seen enough, as head does
        sys.stdout = None
        return 1
    except OSError as error:
        sys.stdout = None  # or Python's end tries once more
        return complain(prog, UsageError(f"the output cannot be written: {error.strerror}"))


def default_state_dir() -> str:
    """Where keys and known servers are kept unless --state-dir says otherwise; not made here.

    Raises UsageError for a user without a home.
    """
    if value := os.environ.get("STATE_DIRECTORY"):
        return value.partition(":")[0]
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if base.startswith("~"):
        raise UsageError("this user has no home directory: set RPORT_STATE_DIR to where state may be kept")
    return os.path.join(base, "rport")


def run(prog: str, main: Coroutine[Any, Any, None]) -> int:
    """Run to the end; the exit code. uvloop where it exists."""
    import asyncio  # here, so that --help need not wait for it
    import gc
    import threading

    gc.collect()  # the command line's parser, most of all
    gc.freeze()
    _raise_descriptor_limit()
    try:
        try:
            import uvloop

            factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        except ImportError:
            factory = asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            try:
                runner.run(main)
            finally:
                if threading.current_thread() is threading.main_thread():  # else there are none
                    signals.end()  # asyncio's loop, as it closes, complains of one that comes
    except RportError as error:
        return complain(prog, error)
    except Exception as error:
        import traceback

        from rport import logs

        logs.last_words("a bug", error)

        traceback.print_exc()
        return BUG
    return 0


def _raise_descriptor_limit() -> None:
    """All that may be had. The soft limit is low, 1024 as a rule, for the sake of select(), which is not used here.

    Before a Pump is made, which looks at it once.
    """
    import contextlib
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
