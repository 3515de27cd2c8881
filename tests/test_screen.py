import os
import pty
import threading

import pytest

from rport.screen import BOLD, RED, Screen, cut, fit, pad, width
from tests.support.programs import until
from tests.support.terminal import Screen as Terminal
from tests.support.terminal import set_size


class Watched:
    """A Screen and the terminal that it writes to, which is nobody's controlling one."""

    def __init__(self, columns: int = 30, rows: int = 8, *, colours: bool = True) -> None:
        self.master, self.slave = pty.openpty()
        self.terminal = Terminal(columns, rows)
        self.resize(columns, rows)
        self.screen = Screen(self.slave, "utf-8", colours=colours)
        self.raw = b""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while data := os.read(self.master, 4096):
                self.raw += data
                self.terminal.feed(data.decode())
        except OSError:
            pass

    def resize(self, columns: int, rows: int) -> None:
        set_size(self.master, columns, rows)
        self.terminal.columns, self.terminal.rows = columns, rows

    def expect(self, *lines: str) -> None:
        until(lambda: self.terminal.text == "\n".join(lines), f"{lines}, not {self.terminal.text!r}", 5)

    def close(self) -> None:
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def watched():  # type: ignore[no-untyped-def]
    one = Watched()
    yield one
    one.close()


def lines(*texts: str) -> list[list[tuple[str, str]]]:
    return [[("", text)] for text in texts]


def test_a_block_is_rewritten_below_what_is_said(watched: Watched) -> None:
    watched.screen.show(lines("a", "b"))
    watched.expect("a", "b")
    assert watched.screen.say("one")
    watched.expect("one", "a", "b")
    watched.screen.show(lines("c"))
    watched.expect("one", "c")
    assert watched.screen.say("a line that is longer than the terminal is wide")
    watched.expect("one", "a line that is longer than the", " terminal is wide", "c")
    watched.screen.clear()
    watched.expect("one", "a line that is longer than the", " terminal is wide")


def test_the_same_again_writes_nothing(watched: Watched) -> None:
    watched.screen.show(lines("a"))
    watched.expect("a")
    before = len(watched.raw)
    watched.screen.show(lines("a"))
    watched.screen.show(lines("b"))
    watched.expect("b")
    assert watched.raw[before:].count(b"b") == 1
    assert watched.raw[before:].count(b"\r\n") == 1


def test_what_was_typed_goes_with_the_next_block(watched: Watched) -> None:
    watched.screen.show(lines("a"))
    os.write(watched.slave, b"^C^Z")
    watched.screen.show(lines("b"))
    watched.expect("b")


def test_a_block_fits(watched: Watched) -> None:
    watched.screen.show(lines("x" * 100, *"abcdefghij"))
    watched.expect("x" * 26 + "...", *"abcdef")
    watched.resize(20, 5)
    watched.screen.show(lines("y" * 100, *"abcdefghij"))
    watched.expect("x" * 26 + "...", *"abcdef", "y" * 16 + "...", *"abc")
    watched.resize(40, 9)
    watched.screen.show(lines("z"))
    watched.expect("x" * 26 + "...", *"abcdef", "z")


def test_styles_are_ended() -> None:
    for colours in (True, False):
        one = Watched(colours=colours)
        one.screen.show([[(BOLD, "a"), (RED, "b" * 100), ("", "c")]])
        one.expect("a" + "b" * 25 + "...")
        assert one.raw.count(b"m") == (4 if colours else 0)
        assert one.raw.count(b"\x1b[m") == (2 if colours else 0)
        one.close()


def test_widths() -> None:
    assert width("漢字") == 4
    assert width("e\u0301") == 1
    assert width("żółć") == 4
    assert cut("漢字漢字", 6) == "漢..."
    assert cut("漢字漢字", 8) == "漢字漢字"
    assert cut("abc", 2) == ".."
    assert cut("abc", 0) == ""
    assert pad("漢", 4) == "漢  "
    assert pad("abcdef", 5) == "ab..."
    assert fit([("1", "ab"), ("2", "cdefgh"), ("3", "x")], 6) == [("1", "ab"), ("2", "c...")]
