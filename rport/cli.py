"""What both programs' command lines share: parsing, the state directory, running to an exit code."""

import argparse
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rport.errors import RportError, UsageError


class Parser(argparse.ArgumentParser):
    """Usage errors end with 1 and one line; `-x` and `--x` are the same; no abbreviations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_help_formatter, **options)

    def option(self, name: str, *more: str, **options: Any) -> None:
        """Add `--name`, also as `-name`."""
        self.add_argument(f"--{name}", f"-{name}", *more, dest=name.replace("-", "_"), **options)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Options and positionals in any order."""
        found, unknown = self.parse_known_intermixed_args(argv)
        for word in unknown:
            if word.startswith("-"):
                self.error(f"unknown option {word.partition('=')[0]}{self._suggestion(word)}")
            self.error(f"unexpected argument {word!r}")
        return found

    def _suggestion(self, word: str) -> str:
        import difflib  # here: nothing else needs it

        known = sorted(name for name in self._option_string_actions if name.startswith("--"))
        near = difflib.get_close_matches("--" + word.lstrip("-").partition("=")[0], known, 1)
        return f"; did you mean {near[0]}?" if near else f"; see {self.prog} --help"

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(UsageError.exit_code)


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    """As wide as the terminal. argparse would load shutil, and with it the compression libraries, to find that out."""
    try:
        width = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    except (ValueError, OSError):
        width = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=max(width, 40) - 2)


def state_dir() -> Path:
    """Where keys and known servers are kept; not made here."""
    for name in ("RPORT_STATE_DIR", "STATE_DIRECTORY"):
        if value := os.environ.get(name):
            return Path(value.partition(":")[0])
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "rport"


def split_auth(text: str, source: str) -> tuple[str, str]:
    """`user:password` at the first colon. Raises UsageError, which does not show the text."""
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise UsageError(f"{source}: give USER:PASSWORD")
    return user, password


def run(prog: str, main: Coroutine[Any, Any, None]) -> int:
    """Run to the end; the exit code. uvloop where it exists."""
    import asyncio  # here, so that --help need not wait for it

    try:
        try:
            import uvloop

            factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        except ImportError:
            factory = asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)
    except RportError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0
