import time
from types import SimpleNamespace
from typing import Any

import pytest

from rport.client.console import block, wanted
from rport.client.settings import Settings
from rport.client.status import Status
from rport.remote import Remote
from rport.screen import width
from rport.statistics import Counts


def agent(status: Status) -> Any:
    counts = Counts(1, 2, 3000, 4000, 5, 6)
    return SimpleNamespace(
        status=status, session=SimpleNamespace(rtt=0.0012), statistics=SimpleNamespace(counts=lambda: counts)
    )


def texts(status: Status, columns: int = 200, rows: int = 50) -> list[str]:
    return ["".join(text for _, text in line) for line in block(agent(status), columns, rows)]


def connected(*remotes: str) -> Status:
    status = Status("ws://tunnel.example.com:9999")
    status.declare(map(Remote.parse, remotes))
    status.tell(host="tunnel.example.com", version="1.2", session="0123456789abcdef")
    status.enter("connected", fingerprint="ab:" * 31 + "cd", trust="pinned")
    return status


def test_tunnels_and_what_they_are_at() -> None:
    status = connected("2222:22", "127.0.0.1:0:db:5432", "80:80")
    status.up(0, Remote.parse("2222:22"))
    status.down(2, Remote.parse("80:80"), "port 80 needs rights")
    status.up(-5, Remote.parse("[::1]:7:[::1]:8"), offered=True)
    assert texts(status)[-4:] == [
        "tunnels      tunnel.example.com:2222 => 127.0.0.1:22  up",
        "             127.0.0.1, any port     => db:5432       asked for",
        "             tunnel.example.com:80   => 127.0.0.1:80  port 80 needs rights",
        "             [::1]:7                 => [::1]:8       up, asked for by the server",
    ]
    status.drop(-5)
    assert len(texts(status)) == 7
    assert "1 now, 2 in all; in 3.0 kB (5 B/s), out 4.0 kB (6 B/s); latency 1.2 ms" in texts(status)[3]


def test_the_next_try() -> None:
    status = Status(server="ws://a:1")
    assert texts(status)[0].endswith("connecting to ws://a:1")
    status.enter("waiting", trouble="no", tries=3, next_try=time.monotonic() + 100)
    head, next_try = texts(status)
    assert head.endswith("not connected: no")
    assert next_try.startswith("next try     in 1m 4")
    assert next_try.endswith(", after 3 in vain; Ctrl-C stops")
    status.enter("connecting")
    assert texts(status)[0].endswith("not connected: no")
    status.enter("stopping")
    assert texts(status)[0].endswith("stopping")


def test_why_there_is_no_connection_is_not_cut_off() -> None:
    status = Status(server="ws://a:1")
    why = "cannot connect to tunnel.example.com:9999: Connection refused; is rportd running there?"
    status.enter("waiting", trouble=why, tries=3, next_try=time.monotonic())
    shown = texts(status, 80)
    assert " ".join(text[13:] for text in shown[:-1]) == f"not connected: {why}"
    assert all(width(text) < 80 for text in shown)
    status.tell(trouble="much to say " * 100)
    assert len(texts(status, 80)) == 5


def test_what_the_server_says_is_escaped() -> None:
    status = connected("1:1")
    status.tell(version="\x1b[2J", session="\u202e\n\r", trouble="\x9b")
    status.down(0, Remote.parse("1:1"), "a\nb\x07")
    assert all(text.isprintable() for text in texts(status))
    status.enter("waiting")
    assert all(text.isprintable() for text in texts(status))


@pytest.mark.parametrize("columns", [1, 10, 20, 40, 80, 120, 200])
def test_the_fingerprint_is_there_whole(columns: int) -> None:
    status = connected()
    shown = [text[13:] for text in texts(status, columns)]
    assert "ab:" * 31 + "cd" in "".join(text for text in shown[1:] if ":" in text or text == "cd")
    if columns >= 40:
        lines = [text for text in texts(status, columns) if "ab:" in text or "cd" in text]
        assert all(width(text) < columns for text in lines)


def test_more_tunnels_than_rows() -> None:
    status = connected(*(f"{port}:1" for port in range(1000, 1200)))
    for ref in range(5):
        status.up(ref, Remote.parse(f"{1000 + ref}:1"))
    for rows in (1, 5, 10, 24):
        lines = texts(status, rows=rows)
        assert len(lines) <= max(rows, 5)
        assert lines[-1].strip() == "... of 200 tunnels, 5 of which are up"
    assert len(texts(status, rows=300)) == 204


def test_who_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.isatty", lambda fd: fd == 2)
    terminal = {"TERM": "xterm"}
    assert wanted(Settings(), 2, terminal)
    assert wanted(Settings(log_level="error"), 2, terminal)
    assert not wanted(Settings(), 3, terminal)
    assert not wanted(Settings(), 2, {"TERM": "dumb"})
    assert not wanted(Settings(), 2, {})
    for fields in ({"verbose": True}, {"log_level": "debug"}, {"log_format": "json"}, {"log_file": "/x"}):
        assert not wanted(Settings(**fields), 2, terminal)
