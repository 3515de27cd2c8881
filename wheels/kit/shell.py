"""Commands whose output is shown when they fail, and what goes wrong while wheels are made or tried."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build/wheels"  # what is fetched once, and what is made of it


class Failure(Exception):
    """One line for who called: what was wrong, and what to do."""


def say(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)


def run(*argv: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """The standard output of a command; `env` is put over the present environment. Raises Failure."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise Failure(f"{words[0]} is not installed ({error.strerror})") from None
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise Failure(f"exit code {done.returncode} of: {shlex.join(words)}\n{tail}")
    return done.stdout


@cache
def commit() -> str:
    """The one that was the present one when this began."""
    return run("git", "rev-parse", "HEAD", cwd=ROOT).strip()


def commit_time() -> str:
    """In seconds: the time of all files in what is made."""
    return run("git", "log", "-1", "--format=%ct", commit(), cwd=ROOT).strip()
