"""Tunnels that last as long as a program: what it is started with, and that the tunnel goes with it however it ends."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rport.ctl.programs import alias
from tests.support.api_double import ApiDouble, Asked, client, page, problem
from tests.support.programs import until
from tests.support.terminal import InTerminal

SSH = """#!/bin/sh
[ "$SSH_DOES" != wait ] || trap 'exit 7' TERM
printf '%s\\n' "$@" > "$SEEN.part"
mv "$SEEN.part" "$SEEN"
case "$SSH_DOES" in
  wait) while :; do sleep 0.05; done ;;
  die) kill -KILL $$ ;;
esac
exit "${SSH_DOES:-0}"
"""


class Run:
    """A server with one client, and rportctl in a process of its own whose PATH has our programs."""

    def __init__(self, tmp_path: Path) -> None:
        self.double = ApiDouble()
        self.seen = tmp_path / "seen"
        self.bin = tmp_path / "bin"
        self.bin.mkdir()
        self.tmp = tmp_path
        self.processes: list[subprocess.Popen[str]] = []
        self.tunnel: dict[str, Any] | None = None
        answers = self.double.answers
        answers["GET", "/clients/web-1"] = (200, client("aa:11", "web-1"))
        answers["POST", "/clients/aa%3A11/tunnels"] = self._open
        answers["DELETE", "/clients/aa%3A11/tunnels/t1"] = self._close
        answers["GET", "/clients/aa%3A11/tunnels/t1"] = lambda asked: (
            (200, {**self.tunnel, "figures": {"connections": 0}}) if self.tunnel else problem(404, "gone")
        )

    def _open(self, asked: Asked) -> tuple[int, Any]:
        self.tunnel = {**asked.body, "id": "t1", "client_id": "aa:11", "lport": 40001}
        return 201, self.tunnel

    def _close(self, asked: Asked) -> tuple[int, Any]:
        self.tunnel = None
        return 204, b""

    def program(self, name: str, text: str = SSH) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def env(self, **more: str) -> dict[str, str]:
        surroundings = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
        surroundings |= {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "SEEN": str(self.seen),
            "RPORT_URL": self.double.url,
            "XDG_CONFIG_HOME": str(self.tmp / "config"),
            "TMPDIR": str(self.tmp),
            **more,
        }
        return surroundings

    def start(self, *argv: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "rport.ctl", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env(**env),
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def run(self, *argv: str, **env: str) -> tuple[int, str, str]:
        process = self.start(*argv, **env)
        out, err = process.communicate(timeout=20)
        return process.returncode, out, err

    def argv(self) -> list[str]:
        """What our program was started with."""
        until(self.seen.exists, "the program is started")
        return self.seen.read_text().splitlines()

    def close(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and the program that it started
            process.communicate()
        self.double.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    one = Run(tmp_path)
    one.program("ssh")
    yield one
    one.close()


def test_ssh_is_told_where_and_whose_key_it_is(run: Run) -> None:
    code, out, err = run.run("ssh", "web-1", "--user", "me", "--", "-L", "8080:localhost:80", "echo", "a b")
    assert (code, out, err) == (0, "", "")
    assert run.argv() == [
        "-p", "40001", "-o", "HostKeyAlias=rport-aa_3a_11", "-o", "CheckHostIP=no", "-l", "me", "127.0.0.1",
        "-L", "8080:localhost:80", "echo", "a b",
    ]  # fmt: skip
    opened = next(asked.body for asked in run.double.asked if asked.method == "POST")
    assert opened == {
        "target": "22", "lhost": "127.0.0.1", "scheme": "ssh", "stored": False, "sources": ["caller"],
        "idle_timeout": 3600, "connection_limit": 8, "note": f"rportctl ssh on {os.uname().nodename}",
    }  # fmt: skip
    assert run.tunnel is None


def test_a_machine_that_is_away_is_not_asked_for_a_tunnel(run: Run) -> None:
    run.double.answers["GET", "/clients/web-1"] = (200, client("aa:11", "web-1", state="disconnected", last_seen=None))
    assert run.run("ssh", "web-1") == (4, "", "rportctl: web-1 is not connected; last seen: -\n")
    assert run.tunnel is None


def test_what_was_said_of_the_tunnel_counts(run: Run) -> None:
    words = ("--port", "2022", "--lhost", "0.0.0.0", "--at", "gate.example", "--source", "192.0.2.0/24")
    assert run.run("ssh", "web-1", *words)[0] == 0
    opened = next(asked.body for asked in run.double.asked if asked.method == "POST")
    assert (opened["target"], opened["lhost"], opened["sources"]) == ("2022", "0.0.0.0", ["192.0.2.0/24"])
    assert run.argv()[-1] == "gate.example"


@pytest.mark.parametrize(("does", "code"), [("0", 0), ("3", 3), ("255", 255), ("die", 128 + signal.SIGKILL)])
def test_its_exit_code_is_ours(run: Run, does: str, code: int) -> None:
    assert run.run("ssh", "web-1", SSH_DOES=does)[0] == code
    assert run.tunnel is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_program_first_and_the_tunnel_then(run: Run, number: signal.Signals) -> None:
    process = run.start("ssh", "web-1", SSH_DOES="wait")
    run.argv()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == (7 if number == signal.SIGTERM else 128 + number)
    assert (out, err, run.tunnel) == ("", "", None)


def test_ctrl_c_in_a_terminal_goes_to_the_program_once(run: Run, tmp_path: Path) -> None:
    run.program("ssh", SSH.replace("exit 7' TERM", "echo got >> \"$SEEN.int\"' INT; trap 'exit 7' TERM"))
    terminal = InTerminal("rport.ctl", "ssh", "web-1", state=tmp_path, env=run.env(SSH_DOES="wait"))
    try:
        run.argv()
        terminal.type("\x03")
        until(lambda: Path(f"{run.seen}.int").exists(), "it was told")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.exit_code() == 7
        assert Path(f"{run.seen}.int").read_text() == "got\n"
        assert run.tunnel is None
    finally:
        terminal.stop()


def test_a_terminal_that_is_closed_closes_the_tunnel(run: Run) -> None:
    """The system sends SIGHUP, and takes no more output."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rport.ctl", "http", "web-1"],
        stdin=slave, stdout=slave, stderr=slave, env=run.env(), start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while b"http://127.0.0.1:40001/\r\n" not in shown:  # what a terminal does not take is another matter
        shown += os.read(master, 4096)
    os.close(master)
    try:
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert run.tunnel is None


def test_what_is_ignored_stays_so(run: Run) -> None:
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = run.start("ssh", "web-1", SSH_DOES="wait")
    finally:
        signal.signal(signal.SIGHUP, before)
    run.argv()
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 7


def test_a_tunnel_that_cannot_be_closed_is_told_of(run: Run) -> None:
    run.double.answers["DELETE", "/clients/aa%3A11/tunnels/t1"] = problem(503, "not now")
    code, _, err = run.run("ssh", "web-1", SSH_DOES="3")
    assert code == 3
    assert err == "rportctl: the tunnel on port 40001 could not be closed and stays for up to an hour: not now\n"


def test_one_that_is_gone_already_is_none_to_close(run: Run) -> None:
    run.double.answers["DELETE", "/clients/aa%3A11/tunnels/t1"] = problem(404, "gone")
    assert run.run("ssh", "web-1")[2] == ""


def test_no_tunnel_without_the_program(run: Run) -> None:
    (run.bin / "ssh").unlink()
    code, _, err = run.run("ssh", "web-1", PATH=str(run.bin))
    assert (code, err) == (1, "rportctl: ssh is not installed, or not in PATH\n")
    assert run.double.asked == []


def test_a_refusal_starts_nothing(run: Run) -> None:
    run.double.answers["POST", "/clients/aa%3A11/tunnels"] = problem(403, "the client allows no such target")
    assert run.run("ssh", "web-1") == (3, "", "rportctl: the client allows no such target\n")
    assert not run.seen.exists()


def test_a_program_that_cannot_be_run_closes_the_tunnel(run: Run) -> None:
    run.program("ssh", "no program of any kind\0")
    code, _, err = run.run("ssh", "web-1")
    assert (code, len(err.splitlines())) == (1, 1)
    assert "ssh cannot be started: Exec format error" in err
    assert run.tunnel is None


def test_http_prints_the_url_and_waits(run: Run) -> None:
    process = run.start("http", "web-1", "8080", "--https")
    assert process.stdout is not None
    assert process.stdout.readline() == "https://127.0.0.1:40001/\n"
    assert run.tunnel is not None
    assert (run.tunnel["target"], run.tunnel["scheme"]) == ("8080", "https")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert (process.returncode, run.tunnel) == (0, None)


def test_http_opens_the_browser(run: Run) -> None:
    run.program("browse", '#!/bin/sh\nprintf "%s" "$1" > "$SEEN"\n')
    process = run.start("http", "web-1", BROWSER="browse %s")
    until(lambda: run.seen.exists() and run.seen.read_text(), "the browser is started")
    assert run.seen.read_text() == "http://127.0.0.1:40001/"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert (process.returncode, run.tunnel) == (0, None)


def test_http_ends_with_its_tunnel(run: Run) -> None:
    process = run.start("http", "web-1", "--json")
    until(lambda: run.tunnel, "it is open")
    run.tunnel = None
    out, err = process.communicate(timeout=20)
    assert (process.returncode, json.loads(out)["lport"]) == (5, 40001)
    assert err == "rportctl: the tunnel is there no more: it was closed, or nobody used it for an hour\n"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("xfreerdp", ["/v:127.0.0.1:40001", "/u:me", "/f"]),
        ("mstsc", ["/v:127.0.0.1:40001", "/f"]),
        ("someviewer", ["127.0.0.1:40001", "/f"]),
    ],
)
def test_rdp_starts_what_there_is(run: Run, program: str, words: list[str]) -> None:
    run.program(program)
    chosen = ("--program", program) if program == "someviewer" else ()
    assert run.run("rdp", "web-1", "--user", "me", *chosen, "--", "/f", SSH_DOES="9")[0] == 9
    assert run.argv() == words
    opened = next(asked.body for asked in run.double.asked if asked.method == "POST")
    assert (opened["target"], opened["scheme"]) == ("3389", "rdp")


def test_rdp_waits_for_what_goes_on_in_the_background(run: Run) -> None:
    """remmina hands its work to the one that runs already."""
    run.program("remmina")
    counts = iter([1, 1, 0])
    run.double.answers["GET", "/clients/aa%3A11/tunnels/t1"] = lambda asked: (
        200, {"figures": {"connections": next(counts)}},
    )  # fmt: skip
    assert run.run("rdp", "web-1", "--user", "a b")[0] == 0
    assert run.argv() == ["-c", "rdp://a%20b@127.0.0.1:40001"]
    assert list(counts) == []
    assert run.tunnel is None


def test_rdp_writes_a_file_where_there_is_no_program(run: Run) -> None:
    path = run.tmp / "desk.rdp"
    process = run.start("rdp", "web-1", "--file", str(path), "--user", "me")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == f"Open {path}, or connect to 127.0.0.1:40001. Ctrl-C closes the tunnel.\n"
    assert path.read_bytes() == b"full address:s:127.0.0.1:40001\r\nusername:s:me\r\nprompt for credentials:i:1\r\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert (process.returncode, run.tunnel, path.exists()) == (0, None, False)


def test_a_file_that_is_there_stays(run: Run) -> None:
    path = run.tmp / "desk.rdp"
    path.write_text("mine")
    code, _, err = run.run("rdp", "web-1", "--file", str(path))
    assert (code, err) == (1, f"rportctl: {path} cannot be written: File exists\n")
    assert (path.read_text(), run.tunnel) == ("mine", None)


def test_aliases_are_plain_and_differ() -> None:
    names = ["a:1", "a_3a_1", "a 1", "é", "-x", "a=b\n"]
    assert len({alias(name) for name in names}) == len(names)
    assert all(alias(name).isascii() and " " not in alias(name) for name in names)


def test_nothing_is_open_before_the_client_is_known(run: Run) -> None:
    run.double.answers["GET", "/clients"] = page()
    assert run.run("ssh", "nobody")[0] == 2
    assert [asked.method for asked in run.double.asked] == ["GET", "GET"]
