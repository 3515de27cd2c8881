"""Showing something again and again: in place on a terminal, and below each other elsewhere."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rport.ctl.errors import ServerTrouble
from rport.screen import Screen
from rport.text import escape

INTERVAL = 2.0  # seconds between two looks

Look = Callable[[], tuple[Any, list[str]]]  # a document, and lines of it


def watch(look: Look, *, as_json: bool) -> None:
    """Until Ctrl-C. A server that is away is waited for; what raises at the first look ends it."""
    document, lines = look()
    if as_json or not sys.stdout.isatty():
        return _print(document, lines, look, as_json=as_json)
    screen = Screen(1, sys.stdout.encoding, colours=False)
    while True:
        screen.show([[("", line)] for line in lines])
        time.sleep(INTERVAL)
        try:
            document, lines = look()
        except ServerTrouble as error:
            lines = [*_without_trouble(lines), _trouble(error)]


def _print(document: Any, lines: Sequence[str], look: Look, *, as_json: bool) -> None:
    """Each time that something changed: JSON on a line, or the lines and an empty one."""
    before = None
    while True:
        text = json.dumps(document) if as_json else "\n".join([*lines, ""])
        if text != before:
            print(text, flush=True)
            before = text
        time.sleep(INTERVAL)
        try:
            document, lines = look()
        except ServerTrouble as error:
            print(f"rportctl: {_trouble(error)}", file=sys.stderr)


def _trouble(error: ServerTrouble) -> str:
    return f"Trying again: {escape(str(error))}"


def _without_trouble(lines: list[str]) -> list[str]:
    return lines[:-1] if lines and lines[-1].startswith("Trying again: ") else lines
