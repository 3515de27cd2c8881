"""Server-sent events, as lines; and the audit log, followed."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rport.ctl.events import parse
from tests.support.api_double import Asked, page
from tests.support.ctl import Ctl
from tests.support.programs import Target, closing_all, until


def event(number: int, type: str = "tunnel.opened", **data: Any) -> bytes:
    body = {"id": number, "at": "2026-01-31T12:00:00Z", "type": type, "client": "aa", "data": data}
    return f"id: {number}\nevent: {type}\ndata: {json.dumps(body)}\n\n".encode()


def test_parsing() -> None:
    lines = [
        ": hello",
        "id: 1",
        "event: x",
        'data: {"id":1,',
        'data:"a":2}',
        "",
        "",
        ": keep-alive",
        "",
        "data: []",
        "",
    ]
    assert list(parse(iter(lines))) == [{"id": 1, "a": 2}, []]
    assert list(parse(iter(['data: {"id":1}']))) == []  # cut off: it comes again


class Source:
    """An API that streams `chunks` at each connection, one list after the other, and then is silent or hangs up."""

    def __init__(self, *chunks: list[bytes], hang_up: bool = False) -> None:
        self.chunks = list(chunks)
        self.requests: list[str] = []
        self.hang_up = hang_up
        self.over = threading.Event()

    def serve(self, sock: socket.socket) -> None:
        self.requests.append(sock.recv(65536).decode())
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for chunk in self.chunks.pop(0) if self.chunks else []:
            sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if self.chunks and self.hang_up:
            return
        self.over.wait(20)


def test_those_of_the_past(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing_all() as keep:
        second = event(2, reason="\x1b[2J\r\nx")
        source = Source([event(1, port=2222), b": keep-alive\n\n", second[:40], second[40:]])
        monkeypatch.setenv("RPORT_URL", f"http://127.0.0.1:{keep(Target(source.serve)).port}")
        done = ctl("events", "--type", "tunnel.opened", "--type", "x")
        source.over.set()
        assert (done.code, done.err) == (0, "")
        first, last = done.out.splitlines()
        assert first.endswith("tunnel.opened         aa                port=2222")
        assert last.endswith("reason=\\x1b[2J\\r\\nx")
        assert source.requests[0].startswith("GET /api/v1/events?type=tunnel.opened&type=x HTTP/1.1\r\n")
        assert "Last-Event-ID: 0\r\n" in source.requests[0]


def test_following_goes_on_behind_the_last(tmp_path: Path) -> None:
    with closing_all() as keep:
        source = Source([event(7), event(8)], [event(9)], hang_up=True)
        url = f"http://127.0.0.1:{keep(Target(source.serve)).port}"
        process = subprocess.Popen(
            [sys.executable, "-m", "rport.ctl", "events", "--follow", "--json"],
            env={**os.environ, "RPORT_URL": url, "XDG_CONFIG_HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        numbers = [json.loads(process.stdout.readline())["id"] for _ in range(3)]
        process.terminate()
        source.over.set()
        process.communicate(timeout=10)
        assert numbers == [7, 8, 9]
        assert "Last-Event-ID" not in source.requests[0]
        assert "Last-Event-ID: 8\r\n" in source.requests[1]


def entry(number: int) -> dict[str, Any]:
    return {
        "id": number, "at": "2026-01-31T12:00:00Z", "actor": "user me", "source": "192.0.2.1", "action": "tunnel.open",
        "subject": f"client {number}", "result": "ok",
    }  # fmt: skip


def test_the_audit_log_has_the_newest_last(ctl: Ctl) -> None:
    ctl.double.answers["GET", "/audit"] = page(entry(3), entry(2), entry(1))
    words = ("audit", "--since", "2026-01-31T12:00:00Z", "--actor", "user me", "--limit", "3")
    lines = ctl(*words).out.splitlines()
    assert [line.split()[-2:] for line in lines] == [["ON", "RESULT"], ["1", "ok"], ["2", "ok"], ["3", "ok"]]
    assert [row["id"] for row in json.loads(ctl(*words, "--json").out)] == [1, 2, 3]
    assert ctl.double.asked[0].query == {"since": ["2026-01-31T12:00:00Z"], "actor": ["user me"], "limit": ["3"]}


def test_the_audit_log_is_followed(ctl: Ctl, tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [entry(1)]

    def newest_first(asked: Asked) -> tuple[int, Any]:
        return page(*entries[::-1])

    ctl.double.answers["GET", "/audit"] = newest_first
    process = subprocess.Popen(
        [sys.executable, "-m", "rport.ctl", "audit", "--follow", "--json"],
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == 1
        entries += [entry(2), entry(3)]
        assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == [2, 3]
        before = len(ctl.double.asked)
        until(lambda: len(ctl.double.asked) > before, "it looks again")
    finally:
        process.kill()
        assert process.communicate()[0] == ""
