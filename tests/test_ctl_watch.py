"""The same again and again: in place on a terminal, below each other elsewhere."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.api_double import ApiDouble, client, page, problem
from tests.support.programs import until
from tests.support.terminal import Screen, set_size


class Watching:
    """rportctl clients --watch, and what it printed."""

    def __init__(self, tmp_path: Path) -> None:
        self.double = ApiDouble()
        self.env = {**os.environ, "RPORT_URL": self.double.url, "XDG_CONFIG_HOME": str(tmp_path)}
        self.printed = ""

    def start(self, *more: str, stdout: int | IO[Any] = subprocess.PIPE) -> None:
        argv = [sys.executable, "-m", "rport.ctl", "clients", "--watch", *more]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True, env=self.env
        )
        if self.process.stdout is not None:
            threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            self.printed += line

    def end(self) -> str:
        """By Ctrl-C: what it said of trouble."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == -signal.SIGINT
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.double.close()


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Watching]:
    one = Watching(tmp_path)
    yield one
    one.close()


def test_elsewhere_than_on_a_terminal_it_prints_what_changed(watching: Watching) -> None:
    watching.double.answers["GET", "/clients"] = page(client("aa", "web-1"))
    watching.start()
    until(lambda: "web-1" in watching.printed, "the first table")
    watching.double.answers["GET", "/clients"] = problem(503, "not now")
    until(lambda: len(watching.double.asked) >= 3, "it asks on")
    watching.double.answers["GET", "/clients"] = page(client("bb", "web-2"))
    until(lambda: "web-2" in watching.printed, "the second")
    assert "rportctl: Trying again: not now" in watching.end()
    assert watching.printed.count("NAME") == 2
    assert "\x1b" not in watching.printed


def test_as_json_each_line_is_a_document(watching: Watching) -> None:
    watching.double.answers["GET", "/clients"] = page(client("aa", "web-1"))
    watching.start("--json")
    until(lambda: "web-1" in watching.printed, "the first line")
    watching.double.answers["GET", "/clients"] = page()
    until(lambda: len(watching.printed.splitlines()) == 2, "the second")
    watching.end()
    assert [len(json.loads(line)) for line in watching.printed.splitlines()] == [1, 0]


def test_trouble_at_the_first_look_ends_it(watching: Watching) -> None:
    watching.double.answers["GET", "/clients"] = problem(503, "not now")
    watching.start()
    assert watching.process.wait(20) == 5


def test_on_a_terminal_it_stays_in_place(watching: Watching) -> None:
    master, slave = pty.openpty()
    set_size(master, 60, 10)
    terminal = Screen(60, 10)

    def read() -> None:
        try:
            while data := os.read(master, 4096):
                terminal.feed(data.decode())
        except OSError:
            pass

    threading.Thread(target=read, daemon=True).start()
    watching.double.answers["GET", "/clients"] = page(client("aa", "web-1", note="x"), client("bb", "a" * 80))
    watching.start(stdout=slave)
    os.close(slave)
    until(lambda: "web-1" in terminal.text, "the table")
    assert max(len(line) for line in terminal.text.splitlines()) < 60
    watching.double.answers["GET", "/clients"] = problem(503, "not now")
    until(lambda: "Trying again: not now" in terminal.text, "the trouble")
    assert "web-1" in terminal.text
    watching.double.answers["GET", "/clients"] = page(client("cc", "web-3"))
    until(lambda: "web-3" in terminal.text and "web-1" not in terminal.text, "the new table")
    assert terminal.text.count("NAME") == 1
    assert "Trying again" not in terminal.text
    watching.end()
    os.close(master)
