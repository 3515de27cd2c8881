"""A terminal and a program in it: what a person would see."""

import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

from tests.support.programs import until

_CONTROL = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|[\r\n\x08]|.", re.DOTALL)


class Screen:
    """Interprets what rport writes: text that wraps, line ends, up, erasing to the end of a line or all, colours.

    Raises AssertionError for anything else. `lines` holds all that ever was, of which the last `rows` are visible.
    """

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self.lines = [""]
        self.row = self.column = 0
        self.colours = 0
        self._rest = ""
        self._whole = threading.Lock()  # held while text is taken: nobody looks at half of what is drawn anew

    def feed(self, text: str) -> None:
        with self._whole:
            text = self._rest + text
            cut = text.rfind("\x1b")
            self._rest = text[cut:] if cut >= 0 and not re.match(r"\x1b\[[0-9;]*[A-Za-z]", text[cut:]) else ""
            for match in _CONTROL.finditer(text.removesuffix(self._rest)):
                self._one(match)

    def _one(self, match: re.Match[str]) -> None:
        word = match[0]
        if match[2]:
            self._sequence(match[1], match[2])
        elif word == "\r":
            self.column = 0
        elif word == "\n":
            self._down()
        else:
            assert word.isprintable(), repr(word)
            if self.column >= self.columns:
                self.column = 0
                self._down()
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + word + line[self.column + 1 :]
            self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def _sequence(self, number: str, kind: str) -> None:
        if kind == "A":
            self.row = max(self.row - int(number or 1), len(self.lines) - self.rows, 0)
        elif kind == "J" and number in ("", "0"):
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        elif kind == "K" and number in ("", "0"):
            self.lines[self.row] = self.lines[self.row][: self.column]
        elif kind == "m":
            self.colours += 1
        else:
            raise AssertionError(f"CSI {number} {kind}")

    @property
    def text(self) -> str:
        with self._whole:
            return "\n".join(line.rstrip() for line in self.lines).rstrip()


def set_size(fd: int, columns: int, rows: int) -> None:
    """As whoever drags a terminal's window does."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class InTerminal:
    """A module's program with a terminal of its own, which controls it."""

    def __init__(
        self, module: str, *argv: str, state: Path, columns: int = 80, rows: int = 24, env: dict[str, str] | None = None
    ) -> None:
        self.screen = Screen(columns, rows)
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        surroundings = {
            **os.environ,
            "RPORT_STATE_DIR": str(state),
            "RPORT_CONFIG": "none",
            "TERM": "xterm",
            "RPORT_ALLOW_ROOT": "1",
        }
        for name in ("NO_COLOR", "RPORT_AUTH", "AUTH"):
            surroundings.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env=surroundings | (env or {}),
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")()
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            self.screen.feed(decoder.decode(data))

    def resize(self, columns: int, rows: int) -> None:
        self.screen.columns, self.screen.rows = columns, rows
        set_size(self.master, columns, rows)

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, *patterns: str) -> str:
        """All that is on the terminal, as soon as each pattern is."""

        def found() -> str | None:
            text = self.screen.text
            return text if all(re.search(p, text, re.MULTILINE) for p in patterns) else None

        try:
            return str(until(found, f"{patterns}"))
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- terminal:\n{self.screen.text}") from None

    def exit_code(self) -> int:
        code = self.process.wait(20)
        self._reader.join(5)
        return code

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        self._reader.join(5)
