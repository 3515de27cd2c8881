"""Rows in columns, fit to the terminal. Texts come from others: none of them moves a cursor."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, NamedTuple

from rport.screen import pad, width
from rport.text import escape, size, spoken

GAP = 2  # columns between two
NARROW = 6  # columns that each one keeps, however narrow the terminal
READABLE = 12  # columns below which a text says too little, so that others go first

Row = dict[str, Any]


class Fit(IntEnum):
    """What becomes of a column when the terminal is too narrow."""

    WHOLE = 0  # an id, a port or a time, of which a part is good for nothing
    CUT = 1
    LEFT_OUT = 2


class Column(NamedTuple):
    """A title, and what is shown below it of each row."""

    title: str
    of: Callable[[Row], str]
    fit: Fit = Fit.CUT


def columns_of(fd: int = 1) -> int | None:
    """The terminal's; None where the output is none, and lines are as long as they are."""
    try:
        return os.get_terminal_size(fd).columns or None
    except OSError:
        return None


def table(columns: Sequence[Column], rows: Sequence[Row], room: int | None) -> Iterator[str]:
    """Lines; `room` columns at most."""
    cells = [[column.title for column in columns], *([escape(column.of(row)) for column in columns] for row in rows)]
    sizes = [max(width(row[i]) for row in cells) for i in range(len(columns))]
    shown = list(range(len(columns)))
    if room is not None:
        shown = chosen(columns, sizes, room)
    sizes = [sizes[i] for i in shown]
    if room is not None:
        sizes = fit([columns[i].fit for i in shown], sizes, room - GAP * (len(shown) - 1))
    for row in cells:
        yield (" " * GAP).join(pad(row[i], size) for i, size in zip(shown, sizes, strict=True)).rstrip()


def chosen(columns: Sequence[Column], sizes: Sequence[int], room: int) -> list[int]:
    """Which columns are shown: those that may be left out go from the right, until the others can be read."""
    shown = list(range(len(columns)))

    def needed() -> int:
        least = (min(sizes[i], READABLE) if columns[i].fit is Fit.CUT else sizes[i] for i in shown)
        return sum(least) + GAP * (len(shown) - 1)

    for i in reversed(range(len(columns))):
        if needed() <= room:
            break
        if columns[i].fit is Fit.LEFT_OUT:
            shown.remove(i)
    return shown


def fit(kinds: Sequence[Fit], sizes: Sequence[int], room: int) -> list[int]:
    """Texts are cut; what should stay whole only where there is no room for it whatever becomes of them."""
    texts = [size for kind, size in zip(kinds, sizes, strict=True) if kind is Fit.CUT]
    whole = sum(sizes) - sum(texts)
    shrink(texts, room - whole)
    cut = iter(texts)
    fitted = [next(cut) if kind is Fit.CUT else size for kind, size in zip(kinds, sizes, strict=True)]
    shrink(fitted, room)
    return fitted


def shrink(sizes: list[int], room: int) -> None:
    """Take from the widest until they fit, or all are narrow."""
    while (excess := sum(sizes) - room) > 0 and (widest := max(sizes, default=0)) > NARROW:
        next_widest = max([size for size in sizes if size < widest], default=NARROW)
        at = [i for i, size in enumerate(sizes) if size == widest]
        step = max(min(widest - max(next_widest, NARROW), -(-excess // len(at))), 1)
        for i in at:
            sizes[i] -= min(step, max(sum(sizes) - room, 0))


def facts(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What is known of one thing, a line each; nothing of what is empty."""
    size = max((len(name) for name, value in pairs if value), default=0)
    for name, value in pairs:
        if value:
            yield f"{name:{size}}  {escape(value)}"


def plain(key: str) -> Callable[[Row], str]:
    """The field as it is."""
    return lambda row: text(row.get(key))


def text(value: Any) -> str:
    """Nothing as a dash, lists with commas."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def moment(value: str | None) -> str:
    """In this machine's time."""
    at = _read(value)
    return "-" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(value: str | None) -> str:
    """`5m 6s ago`, or `in 3d 4h`."""
    at = _read(value)
    if at is None:
        return "-"
    seconds = (datetime.now(UTC) - at).total_seconds()
    return f"{spoken(seconds)} ago" if seconds >= 0 else f"in {spoken(-seconds)}"


def octets(value: float | None, per: str = "") -> str:
    return "-" if value is None else f"{size(value)}{per}"


def seconds(value: float | None) -> str:
    return "-" if value is None else spoken(value)


def _read(value: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(value or "")
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()
