"""The last lines of a terminal, rewritten in place; whatever is said stays above them.

Plain ANSI, as ECMA-48 has it: up, erase, colours. Nothing here knows what is shown. Texts are printable already.
"""

import os
from collections.abc import Sequence

from rport.sinks import Stream

# Styles: SGR parameters.
PLAIN, BOLD, DIM, RED, GREEN, YELLOW = "", "1", "2", "31", "32", "33"

Span = tuple[str, str]  # a style and a text
Line = Sequence[Span]


class Screen:
    """Owns no line for good: who else writes to the terminal spoils a block at most, and the next is drawn below."""

    def __init__(self, fd: int, encoding: str, *, colours: bool) -> None:
        self._fd = fd
        self.stream = Stream(fd)
        self._encoding = encoding
        self._colours = colours
        self._block: list[str] = []  # as it was drawn, without styles
        self._drawn = ""
        self._size = self.size()

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            size = os.get_terminal_size(self._fd)
        except OSError:
            return 80, 24
        return size.columns or 80, size.lines or 24

    def show(self, lines: Sequence[Line]) -> None:
        """Let this be the block: as many lines as there is room for, each cut to the width."""
        if not self._in_front():
            self.forget()  # the terminal is another program's now
            return
        columns, rows = self._follow_size()
        cut = [fit(line, columns - 1) for line in lines[: rows - 1]]  # a full line would move the cursor in its own way
        drawn = "\n".join(map(self._styled, cut))
        if drawn != self._drawn:
            self._draw(drawn, ["".join(text for _, text in line) for line in cut])

    def say(self, text: str) -> bool:
        """A line that stays, above the block. False when the terminal takes nothing now."""
        drawn, block = self._drawn, self._block
        if not self.stream.write(f"{self._erasure()}{text}".encode(self._encoding, "backslashreplace")):
            self.forget()
            return False
        self.forget()
        if block:
            self._draw(drawn, block)
        return True

    def clear(self) -> None:
        """Take the block away."""
        if self._block:
            self.stream.write(self._erasure().encode(), end=b"")
            self.forget()

    def forget(self) -> None:
        """Leave the block to the terminal; the next one begins below."""
        self._block, self._drawn = [], ""

    def _draw(self, drawn: str, block: list[str]) -> None:
        done = self.stream.write(f"{self._erasure()}{drawn}".encode(self._encoding, "backslashreplace"))
        self._drawn, self._block = (drawn, block) if done else ("", [])

    def _erasure(self) -> str:
        """From the block's first line to the screen's end; what Ctrl-C or a key left at the cursor goes, too."""
        return f"\r\x1b[{len(self._block)}A\x1b[J" if self._block else "\r\x1b[K"

    def _follow_size(self) -> tuple[int, int]:
        """Where the terminal became smaller, nobody knows how many rows the old block takes now."""
        before, self._size = self._size, self.size()
        columns, rows = self._size
        if columns < before[0] or rows <= len(self._block):
            self.forget()
        return columns, rows

    def _in_front(self) -> bool:
        """The shell has not put this program into the background."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # it is not the terminal that controls this program: nobody else is in front
            return True

    def _styled(self, line: Line) -> str:
        if not self._colours:
            return "".join(text for _, text in line)
        return "".join(f"\x1b[{style}m{text}\x1b[m" if style and text else text for style, text in line)


def fit(line: Line, columns: int) -> list[Span]:
    """Cut to that many columns."""
    spans, left = [], columns
    for style, text in line:
        part = cut(text, left)
        spans.append((style, part))
        left -= width(part)
        if part != text:
            break
    return spans


def cut(text: str, columns: int) -> str:
    """At most so many columns; what is left out is shown by dots."""
    if width(text) <= columns:
        return text
    dots = "..."[: max(columns, 0)]
    room = columns - len(dots)
    if text.isascii():
        return text[:room] + dots
    end = 0
    while width(text[: end + 1]) <= room:
        end += 1
    return text[:end] + dots


def pad(text: str, columns: int) -> str:
    """Exactly so many columns."""
    text = cut(text, columns)
    return text + " " * (columns - width(text))


def width(text: str) -> int:
    """Columns that a terminal takes for it."""
    if text.isascii():
        return len(text)
    import unicodedata  # here: 0.2 MB, and seldom needed

    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1
        for c in text
    )
