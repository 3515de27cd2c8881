"""The log and the statistics of the real programs: rotation, JSON, hostile names, SIGUSR2 at all times."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_life import exchange
from tests.support.neighbours import free_port, tool
from tests.support.programs import Client, Program, Server, Target, echo, until
from tests.support.wire import CONTROL, connect

Keep = Callable[[Any], Any]

HOSTILE = "x\n2026-01-01T00:00:00Z INFO forged\x1b[2J\u202e\x9b\r"


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def server_with_log(keep: Keep, path: Path, *argv: str) -> int:
    """Its port. It says nothing on stderr."""
    program = keep(
        Program("rport.server", "--host=127.0.0.1", "-p0", "--log-file", str(path), *argv, state=path.parent)
    )
    until(lambda: program.process.poll() is not None or any("Listening" in line for line in lines(path)), "it listens")
    assert program.log == ""
    return int(re.search(r"Listening on 127\.0\.0\.1:(\d+)", path.read_text()).group(1))  # type: ignore[union-attr]


def make_a_line(port: int) -> None:
    """Something that is refused, which the log tells."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        sock.recv(4096)


def refusals(path: Path) -> int:
    return sum("refused" in line for line in lines(path))


def test_a_log_file_is_rotated_by_others(keep: Keep, tmp_path: Path) -> None:
    path, moved = tmp_path / "rportd.log", tmp_path / "rportd.log.1"
    port = server_with_log(keep, path)
    assert path.stat().st_mode & 0o137 == 0
    path.rename(moved)
    make_a_line(port)
    until(lambda: refusals(path) == 1, "a new file")
    assert refusals(moved) == 0
    os.truncate(path, 0)
    make_a_line(port)
    until(lambda: refusals(path) == 1, "the same file")
    assert b"\0" not in path.read_bytes()


@pytest.mark.parametrize("how", ["create 0640", "copytruncate", "nocreate"])
def test_logrotate(how: str, keep: Keep, tmp_path: Path) -> None:
    logrotate = tool("logrotate")
    path, config = tmp_path / "rportd.log", tmp_path / "conf"
    port = server_with_log(keep, path)
    config.write_text(f"{path} {{\n  rotate 9\n  {how}\n  su {os.getuid()} {os.getgid()}\n}}\n")
    os.chmod(config, 0o644)
    os.chmod(tmp_path, 0o755)
    for count in range(1, 4):
        make_a_line(port)
        until(lambda: refusals(path) == 1, "the line is there")
        done = subprocess.run(
            [logrotate, "--force", "--state", str(tmp_path / "state"), str(config)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert sum(refusals(file) for file in tmp_path.glob("rportd.log.*")) == count


def test_what_cannot_be_written_is_named_and_ends_it(keep: Keep, tmp_path: Path) -> None:
    for module, *argv in (["rport.server", "-p0"], ["rport.client", "127.0.0.1:1"]):
        program = keep(Program(module, *argv, "--log-file", str(tmp_path / "no" / "log"), state=tmp_path))
        assert program.exit_code() == 1
        assert program.lines == [
            f"{argv and module.replace('rport.server', 'rportd').replace('rport.client', 'rport')}: "
            f"log file {tmp_path}/no/log cannot be written: No such file or directory"
        ]


def test_a_full_disk_stops_nothing(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    client = keep(
        Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", "--log-file=/dev/full", state=tmp_path, wait=False)
    )
    session = until(server.sessions, "the client is there")[0]
    until(lambda: server.sessions()[0]["remotes"], "its tunnel")
    assert exchange(int(server.sessions()[0]["remotes"][0]["lport"])) == b"ping"
    client.signal(signal.SIGTERM)
    assert client.exit_code() == 0
    assert client.lines == ["log file /dev/full: No space left on device; lines are left out until it can be written"]
    assert session


@pytest.mark.parametrize("form", ["text", "json"])
def test_hostile_names_stay_on_their_line(form: str, keep: Keep, tmp_path: Path) -> None:
    path = tmp_path / "log"
    port = server_with_log(keep, path, "-v", "--log-format", form, "--auth", "me:secret")
    hello = {"type": "hello", "identity": "0", "remotes": []}
    messages = [
        {**hello, "version": HOSTILE, "user": "me", "password": "secret"},
        {**hello, "version": "\u202e" * 1000, "user": "me", "password": "secret"},
        {**hello, "version": "1", "user": HOSTILE * 10, "password": "wrong"},
        {**hello, "version": "1", "user": "\U000e0001" * 1000, "password": "wrong"},
        {"type": HOSTILE},
        {**hello, "version": "1", "remotes": [{"lhost": HOSTILE, "lport": 1, "rhost": HOSTILE, "rport": 1}]},
    ]
    for message in messages:
        with contextlib.closing(connect(port)) as peer:
            peer.control(**message)
            with contextlib.suppress(EOFError):
                peer.wait_for(CONTROL)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(f"GET /{HOSTILE} HTTP/1.1\r\n\r\n".encode())
        sock.recv(4096)
    until(lambda: sum("login failed" in line for line in lines(path)) >= 2, "all is told")
    for line in path.read_bytes().decode().split("\n")[:-1]:
        assert line.isprintable()
        assert len(line) < 13_000
        if form == "json":
            item = json.loads(line)
            assert item["message"].isprintable()
            assert item.get("user", "").isprintable()
            assert len(item.get("user", "")) < 210
            assert item["level"] in {"debug", "info", "warning", "error"}
        else:
            assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (DEBUG|INFO|WARNING|ERROR) (?!forged)", line)
    assert "secret" not in path.read_text()


def test_json_lines_have_what_they_speak_of(keep: Keep, tmp_path: Path) -> None:
    path = tmp_path / "log"
    port = server_with_log(keep, path, "--log-format=json", "--auth=me:secret")
    client = keep(Client(port, "127.0.0.1:0:9", "--log-format=json", "--auth=me:secret", state=tmp_path))
    client.wait_for("Tunnel")
    client.signal(signal.SIGTERM)
    assert client.exit_code() == 0
    until(lambda: any("Closed" in line for line in lines(path)), "the server knows")
    assert all(json.loads(line)["level"] in {"info", "warning"} for line in client.lines)
    items = [json.loads(line) for line in lines(path)]
    for text in ("Open", "Listening", "Closed"):
        (item,) = (item for item in items if text in item["message"] and "session" in item)
        assert (item["session"], item["user"]) == ("session#1", "me")
        assert item["client"].startswith("127.0.0.1:")
    assert any(item.get("tunnel", "").endswith(":9") for item in items)


def test_lines_that_a_stranger_causes_have_a_bound(keep: Keep, tmp_path: Path) -> None:
    path = tmp_path / "log"
    port = server_with_log(keep, path)
    for _ in range(100):
        make_a_line(port)
    assert 20 <= refusals(path) < 100


def test_lines_that_visitors_cause_have_a_bound(keep: Keep, tmp_path: Path) -> None:
    """Of a tunnel that leads nowhere."""
    server = keep(Server(tmp_path))
    client = keep(Client(server, "127.0.0.1:0:127.0.0.1:9", state=tmp_path))
    port = client.tunnel_port()
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.recv(1)
    server.signal(signal.SIGUSR2)
    server.wait_for("Statistics")
    assert 20 <= server.log.count("cannot be reached") < 100
    assert client.log.count("cannot be reached") == 1


def test_statistics_on_both_sides(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", "--log-format=json", state=tmp_path))
    port = int(client.wait_for(r"Tunnel 127\.0\.0\.1:(\d+)").group(1))
    assert exchange(port, b"x" * 100_000) == b"x" * 100_000
    server.signal(signal.SIGUSR2)
    server.wait_for(
        r"INFO Statistics: up \d+s; 1 sessions, 1 with \w+ \(1 in all\), 1 tunnels; \d streams \(1 in all\)"
    )
    server.wait_for(r"in 100 kB \([^)]* on the wire\); out 100 kB \([^)]*\); memory .*; descriptors \d+ of \d+")
    client.signal(signal.SIGUSR2)
    client.wait_for("Statistics: up")
    (numbers,) = (item["statistics"] for line in client.lines if "statistics" in (item := json.loads(line)))
    assert (numbers["bytes_in"], numbers["bytes_out"], numbers["tunnels"]) == (100_000, 100_000, 1)
    assert numbers["session"] == server.sessions()[0]["id"]
    status, api = server.api("/api/v1/statistics")
    assert status == 200
    assert (api["sessions"], api["streams_total"], api["bytes_in"]) == (1, 1, 100_000)
    assert numbers.keys() - api.keys() == {"server", "connected_seconds", "session", "latency_ms", "cipher"}


def read_exactly(sock: socket.socket, size: int) -> bytes:
    parts = []
    while size and (data := sock.recv(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def test_a_storm_of_sigusr2_harms_no_transfer(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    done = threading.Event()

    def storm() -> None:
        while not done.is_set():
            for program in (server, client):
                program.signal(signal.SIGUSR2)
            done.wait(0.001)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        with socket.create_connection(("127.0.0.1", client.tunnel_port()), timeout=20) as sock:
            block, left = os.urandom(1 << 20), 30
            sender = threading.Thread(target=lambda: [sock.sendall(block) for _ in range(left)])
            sender.start()
            for _ in range(left):
                assert read_exactly(sock, len(block)) == block
            sender.join()
        for program in (server, client):
            program.wait_for("Statistics", 2)
            program.signal(signal.SIGTERM)
        assert [server.exit_code(), client.exit_code()] == [0, 0]
    finally:
        done.set()
        thread.join()
    assert "Traceback" not in server.log + client.log


def test_a_log_that_nobody_reads_holds_up_nobody(keep: Keep, tmp_path: Path) -> None:
    """As with Ctrl-S in a terminal, or a pager that waits."""
    target = keep(Target(echo))
    server = keep(Server(tmp_path))
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb", closefd=False):
        fill = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(fill, bytes(4096))
    client = keep(
        Client(
            server,
            f"127.0.0.1:0:127.0.0.1:{target.port}",
            "-v",
            state=tmp_path,
            wait=False,
            wrap=("sh", "-c", f'exec "$@" 2>/proc/{os.getpid()}/fd/{writer}', "sh"),
        )
    )
    try:
        until(lambda: [entry["remotes"] for entry in server.sessions()] not in ([], [[]]), "its tunnel")
        assert exchange(int(server.sessions()[0]["remotes"][0]["lport"])) == b"ping"
        client.signal(signal.SIGTERM)
        assert client.exit_code() == 0
    finally:
        for fd in (reader, writer, fill):
            os.close(fd)


def test_a_reload_moves_the_log_and_changes_its_level(keep: Keep, tmp_path: Path) -> None:
    """Also for sessions that are there."""
    target = keep(Target(echo))
    paths = [tmp_path / "one.log", tmp_path / "two.log"]
    config = tmp_path / "rportd.toml"
    config.write_text(f'log-file = "{paths[0]}"\n')
    server = keep(Program("rport.server", "--config", str(config), "--host=127.0.0.1", "-p0", state=tmp_path))
    until(lambda: any("Listening" in line for line in lines(paths[0])), "it listens")
    port = int(re.search(r"Listening on 127\.0\.0\.1:(\d+)", paths[0].read_text()).group(1))  # type: ignore[union-attr]
    client = keep(Client(port, f"127.0.0.1:0:127.0.0.1:{target.port}", state=tmp_path))
    config.write_text(f'log-file = "{paths[1]}"\nlog-format = "json"\nlog-level = "debug"\n')
    server.signal(signal.SIGHUP)
    until(lambda: any("changed log-level, log-format, log-file" in line for line in lines(paths[1])), "it is told")
    assert exchange(client.tunnel_port()) == b"ping"
    until(lambda: any("ended, 4 octets in, 4 out" in line for line in lines(paths[1])), "the stream is told of")
    config.write_text(f'log-file = "{tmp_path}/no/log"\n')
    server.signal(signal.SIGHUP)
    until(lambda: any("everything stays as it was" in line for line in lines(paths[1])), "that is told, too")
    assert server.log == ""


@pytest.mark.parametrize("words", [["--log-format=json"], ["--log-file"]])
def test_the_last_words_are_in_the_log(words: list[str], keep: Keep, tmp_path: Path) -> None:
    path = tmp_path / "log"
    argv = [*words, str(path)] if words == ["--log-file"] else words
    client = keep(Client(free_port(), "--max-retry-count=0", *argv, state=tmp_path, wait=False))
    assert client.exit_code() == 6
    if words == ["--log-file"]:
        assert client.lines == [f"rport: {lines(path)[-1].partition(' ERROR ')[2]}"]
    else:
        items = [json.loads(line) for line in client.lines]
        assert items[-1]["level"] == "error"
        assert "is rportd running there?" in items[-1]["message"]
