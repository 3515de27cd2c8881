"""`rport` in a real terminal: what is on it after what happens."""

import contextlib
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_hostile import HostileServer
from tests.e2e.test_life import exchange
from tests.support.neighbours import free_port
from tests.support.programs import Program, Server, Target, echo, until
from tests.support.terminal import InTerminal
from tests.support.wire import CLOSE, CONTROL, WirePeer, frame

Keep = Callable[[Any], Any]


def start(keep: Keep, server: int, *argv: str, state: Path, **options: Any) -> InTerminal:
    columns = options.pop("columns", 160)
    program = InTerminal("rport.client", f"127.0.0.1:{server}", *argv, state=state, columns=columns, **options)
    terminal: InTerminal = keep(program)
    return terminal


def test_connected_with_a_tunnel_and_one_that_is_refused(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path / "server"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        remotes = (f"127.0.0.1:0:127.0.0.1:{target.port}", f"127.0.0.1:{taken}:127.0.0.1:9")
        terminal = start(keep, server.port, *remotes, state=tmp_path / "client")
        terminal.wait_for(
            rf"^rport \S+ +connected to ws://127\.0\.0\.1:{server.port} since \d\d:\d\d:\d\d$",
            rf"^fingerprint +{server.fingerprint} seen for the first time, and remembered$",
            r"^server +rportd \S+, session [0-9a-f]{8}$",
            rf"^(tunnels)? +127\.0\.0\.1:\d+ +=> 127\.0\.0\.1:{target.port} +up$",
            rf"^(tunnels)? +127\.0\.0\.1:{taken} +=> 127\.0\.0\.1:9 +.*port {taken} is in use by another program",
            r"^\d\d:\d\d:\d\d Tunnel .*; trying again$",
        )
    terminal.wait_for(rf"^(tunnels)? +127\.0\.0\.1:{taken} +=> 127\.0\.0\.1:9 +up$")
    match = re.search(rf"(\d+) +=> 127\.0\.0\.1:{target.port} ", terminal.screen.text)
    assert match is not None
    port = int(match.group(1))
    assert exchange(port, b"x" * 5000) == b"x" * 5000
    text = terminal.wait_for(
        r"^connections +0 now, 1 in all; in 5\.0 kB \(.*/s\), out 5\.0 kB \(.*; latency [\d.]+ ms$"
    )
    assert text.count("connected to") == 1  # rewritten in place, however often
    assert "INFO" not in text
    terminal.type("\x03")
    assert terminal.exit_code() == 0
    assert "connected to" not in terminal.screen.text
    assert terminal.screen.text.endswith("Stopping")


def test_a_server_that_dies_and_comes_back(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    terminal = start(keep, server.port, "127.0.0.1:0:9", state=tmp_path)
    terminal.wait_for(r"=> 127\.0\.0\.1:9 +up$")
    server.stop()
    text = terminal.wait_for(
        r"^\d\d:\d\d:\d\d Disconnected: ",
        r"^rport \S+ +not connected: cannot connect to 127\.0\.0\.1:\d+: Connection refused",
        r"^next try +in \d+s",
        r"after \d+ in vain; Ctrl-C stops$",
    )
    assert "up" not in text
    assert text.count("is rportd running there?") == 2  # said once, however often it was tried, and in the block
    keep(Server(tmp_path, port=server.port))
    terminal.process.send_signal(signal.SIGHUP)
    text = terminal.wait_for(r"connected to ws", r"as the last time$", r"=> 127\.0\.0\.1:9 +up$")
    assert "not connected:" not in text
    assert "next try" not in text


def test_an_error_that_ends_it_stands_alone(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    terminal = start(keep, server.port, "--fingerprint", "00" * 16, state=tmp_path)
    assert terminal.exit_code() == 4
    assert re.fullmatch(r"rport: this is not the expected server: [^~]*", terminal.screen.text)


def test_a_tunnel_that_the_server_asks_for(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    terminal = start(keep, server.port, "--fingerprint", server.fingerprint, state=tmp_path)
    terminal.wait_for(r"tunnels +none; they can be asked for", r"as given with --fingerprint$")
    session = server.sessions()[0]["id"]
    assert server.api(f"/api/v1/sessions/{session}/tunnels?local=127.0.0.1:0&remote=9", "PUT")[0] == 200
    terminal.wait_for(r"^tunnels +127\.0\.0\.1:\d+ +=> 127\.0\.0\.1:9 +up, asked for by the server$")
    assert server.api(f"/api/v1/sessions/{session}/tunnels?local=127.0.0.1:0&remote=192.0.2.1:9", "PUT")[0] == 403
    terminal.wait_for(r"^\d\d:\d\d:\d\d The server asked for a tunnel to 192\.0\.2\.1:9: refused, ")


def test_what_the_block_does_not_tell_is_said_above_it(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    terminal = start(keep, server.port, "127.0.0.1:0:9", state=tmp_path)
    port = int(re.search(r"(\d+) +=> ", terminal.wait_for(r"9 +up$")).group(1))  # type: ignore[union-attr]
    with contextlib.suppress(OSError):
        exchange(port)
    terminal.process.send_signal(signal.SIGUSR2)
    terminal.process.send_signal(signal.SIGHUP)
    text = terminal.wait_for(
        r"^\d\d:\d\d:\d\d Target 127\.0\.0\.1:9 cannot be reached", r"Statistics: up", r"Reload: no change", r"9 +up$"
    )
    assert "INFO" not in text
    assert len(re.findall(r"^rport ", text, re.MULTILINE)) == 1


def test_a_server_does_not_fill_the_terminal(keep: Keep, tmp_path: Path) -> None:
    def script(peer: WirePeer) -> None:
        peer.wait_for(CONTROL)
        peer.control(type="welcome", version="x", session="0" * 64)
        for number in range(1, 501):
            remote = {"lhost": "0.0.0.0", "lport": 1, "rhost": "192.0.2.1", "rport": number}
            peer.control(type="offer", id=number, remote=remote)
            peer.wait_for(CONTROL)
        peer.send(frame(0, CLOSE, b"\x03enough"))
        peer.drain()

    terminal = start(keep, keep(HostileServer(script)).port, state=tmp_path)
    text = terminal.wait_for(r"Disconnected: enough")
    assert 0 < text.count("asked for a tunnel to 192.0.2.1") < 250


def test_a_small_terminal_and_one_that_changes(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    remotes = [f"127.0.0.1:0:127.0.0.1:{port}" for port in range(1000, 1020)]
    terminal = start(keep, server.port, *remotes, state=tmp_path, columns=40, rows=14)
    text = terminal.wait_for(r"\.\.\. of 20 tunnels, 20 o\.\.\.$")
    block = text[text.rindex("\nrport ") + 1 :].splitlines()
    assert len(block) == 13
    assert all(len(line) < 40 for line in block)
    terminal.resize(100, 40)
    terminal.wait_for(r"127\.0\.0\.1:1019 +up$")
    terminal.resize(60, 30)
    until(lambda: terminal.screen.text.count("127.0.0.1:1019") == 2, "drawn anew below")
    assert all(len(line) < 60 for line in terminal.screen.lines[-20:])


def test_keys_and_a_stop_do_not_spoil_it(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    terminal = start(keep, server.port, "127.0.0.1:0:9", state=tmp_path)
    terminal.wait_for(r"9 +up$")
    terminal.type("abc")
    server.stop()
    text = terminal.wait_for(r"not connected")
    assert not re.search(r"^abc", text, re.MULTILINE)
    os.kill(terminal.process.pid, signal.SIGSTOP)
    os.waitpid(terminal.process.pid, os.WUNTRACED)
    terminal.screen.feed("\r\n[1]+  Stopped\r\n$ fg\r\n")
    os.kill(terminal.process.pid, signal.SIGCONT)
    terminal.wait_for(r"^\$ fg\n(\d\d:.*\n)*rport \S+ +(not )?connect")
    assert "[1]+  Stopped" in terminal.screen.text


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (["-v"], {}),
        (["--log-format", "json"], {}),
        ([], {"TERM": "dumb"}),
        ([], {"RPORT_LOG_LEVEL": "debug"}),
    ],
)
def test_log_lines_where_they_are_asked_for(argv: list[str], env: dict[str, str], keep: Keep, tmp_path: Path) -> None:
    terminal = start(keep, free_port(), "--max-retry-count=0", *argv, state=tmp_path, env=env, columns=300)
    assert terminal.exit_code() == 6
    assert "Connecting to ws://127.0.0.1:" in terminal.screen.text
    assert terminal.screen.colours == 0


def test_a_log_file_leaves_the_terminal_alone(keep: Keep, tmp_path: Path) -> None:
    path = tmp_path / "log"
    terminal = start(keep, free_port(), "--max-retry-count=0", "--log-file", str(path), state=tmp_path, columns=200)
    assert terminal.exit_code() == 6
    assert re.fullmatch(r"rport: cannot connect to .*", terminal.screen.text)
    assert "Connecting to" in path.read_text()


def test_no_colour(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    terminal = start(keep, server.port, "127.0.0.1:0:9", state=tmp_path, env={"NO_COLOR": "1"})
    terminal.wait_for(r"9 +up$")
    assert terminal.screen.colours == 0


def test_elsewhere_than_in_a_terminal_there_are_log_lines(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    client = keep(Program("rport.client", f"127.0.0.1:{server.port}", "127.0.0.1:0:9", state=tmp_path))
    for text in (r"Connecting to ws://", "Fingerprint [0-9a-f:]+", r"Connected \(Latency [\d.]+ms\)", "Tunnel "):
        client.wait_for(rf"INFO {text}")
    server.stop()
    client.wait_for(r"INFO Retrying in [\d.]+m?s\.\.\.")
    assert "\x1b" not in client.log
