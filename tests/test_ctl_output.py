"""What each command asks of the API, and prints of the answer; for people, and as JSON."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.api_double import page, problem
from tests.support.ctl import Ctl

CLIENT = {
    "id": "aa11", "name": "web-1", "state": "connected", "managed": True, "owner": "managed", "tags": ["shop"],
    "own_tags": ["rack-7"], "note": "", "listen": None, "os": "linux", "os_version": "Debian 12", "kernel": "6.1",
    "arch": "x86_64", "hostname": "web-1", "addresses": ["10.0.0.7"], "version": "0.1.0", "address": "192.0.2.7:4000",
    "created_at": "2026-01-31T12:00:00Z", "first_seen": None, "last_seen": "2026-01-31T12:00:00Z", "cloned_at": None,
    "session": "0f" * 32, "connected_since": "2026-01-31T12:00:00Z", "rtt_ms": 12.3,
}  # fmt: skip
TUNNEL = {
    "id": "ab12", "client_id": "aa11", "declared": False, "stored": True, "state": "open", "error": None,
    "lhost": "::", "lport": 2222, "target": "db.internal:5432", "scheme": "tcp", "proxy_protocol": None,
    "sources": ["192.0.2.0/24"], "idle_timeout": 3600.0, "expires_at": None, "connection_limit": 5,
    "rate_to_target": None, "rate_to_visitor": 500000, "note": "for Ann", "created_at": "2026-01-31T12:00:00Z",
    "created_by": "me", "figures": {
        "connections": 2, "connections_total": 17, "denied": 3, "rejected": 0, "bytes_in": 1234, "bytes_out": 5678900,
        "rate_in": 0, "rate_out": 1000, "last_used_at": "2026-01-31T12:00:00Z", "last_error": "connection refused",
    },
}  # fmt: skip
HERE = "/clients/aa11"


@pytest.fixture
def asked(ctl: Ctl) -> Ctl:
    ctl.double.answers["GET", "/clients"] = page(CLIENT)
    ctl.double.answers["GET", HERE] = (200, CLIENT)
    ctl.double.answers["PATCH", HERE] = lambda asked: (200, {**CLIENT, **asked.body})
    ctl.double.answers["GET", f"{HERE}/tunnels"] = page(TUNNEL)
    return ctl


def last(ctl: Ctl) -> tuple[str, str, Any]:
    asked = ctl.double.asked[-1]
    return asked.method, asked.path.removeprefix("/api/v1"), asked.body


def test_clients(asked: Ctl) -> None:
    done = asked(
        "clients", "--tag", "a", "--tag", "b", "--os", "linux", "--state", "Connected", "-q", "x", "--sort=-rtt"
    )
    assert [line.split() for line in done.out.splitlines()] == [
        ["NAME", "ID", "STATE", "OS", "ADDRESS", "RTT", "SEEN", "TAGS"],
        ["web-1", "aa11", "connected", "linux", "192.0.2.7:4000", "12.3", "ms", "now", "shop,", "rack-7"],
    ]
    assert asked.double.asked[0].query == {
        "tag": ["a", "b"], "os": ["linux"], "state": ["connected"], "q": ["x"], "sort": ["-rtt"], "limit": ["1000"],
    }  # fmt: skip
    assert json.loads(asked("clients", "--json").out) == [CLIENT]


def test_a_client(asked: Ctl) -> None:
    lines = asked("client", "show", "aa11").out.splitlines()
    assert lines[:3] == ["name             web-1", "id               aa11", "state            connected"]
    assert "rtt              12.3 ms" in lines
    assert "own tags         rack-7" in lines
    assert not [line for line in lines if line.startswith(("note", "cloned", "listen", "first"))]


def test_a_client_that_two_machines_are(asked: Ctl) -> None:
    twins = {**CLIENT, "cloned_at": "2026-01-31T12:00:00Z"}
    asked.double.answers["GET", "/clients"] = page(twins)
    asked.double.answers["GET", HERE] = (200, twins)
    assert "connected (cloned)" in asked("clients").out
    assert "cloned           two machines use this identity, seen " in asked("client", "show", "aa11").out


def test_tags_are_added_and_taken(asked: Ctl) -> None:
    asked("client", "tag", "aa11", "new", "shop")
    assert last(asked) == ("PATCH", HERE, {"tags": ["new", "shop"]})
    asked("client", "untag", "aa11", "shop", "other")
    assert last(asked) == ("PATCH", HERE, {"tags": []})
    asked("client", "rename", "aa11", "new name")
    assert last(asked) == ("PATCH", HERE, {"name": "new name"})
    asked("client", "note", "aa11", "")
    assert last(asked) == ("PATCH", HERE, {"note": ""})


def test_a_check(asked: Ctl) -> None:
    asked.double.answers["POST", f"{HERE}/check"] = (200, {"ok": True, "ms": 12.3, "error": None})
    done = asked("check", "aa11", "db:5432")
    assert (done.code, done.out) == (0, "db:5432 answers from web-1 in 12 ms\n")
    assert last(asked)[2] == {"target": "db:5432"}
    asked.double.answers["POST", f"{HERE}/check"] = (200, {"ok": False, "ms": None, "error": "refused"})
    done = asked("check", "aa11", "db:5432", "--json")
    assert (done.code, json.loads(done.out)["ok"]) == (5, False)
    assert done.err == "rportctl: db:5432 does not answer from web-1: refused\n"


def test_a_tunnel_is_opened_as_said(asked: Ctl) -> None:
    asked.double.answers["POST", f"{HERE}/tunnels"] = (201, TUNNEL)
    done = asked("tunnel", "open", "aa11", "db.internal:5432")
    assert done.out == "tunnel ab12: [::]:2222 => db.internal:5432 of web-1\n"
    asked.double.answers["POST", f"{HERE}/tunnels"] = (201, {**TUNNEL, "state": "waiting"})
    assert asked("tunnel", "open", "aa11", "db.internal:5432").out.endswith(" of web-1, once it is connected\n")
    asked.double.answers["POST", f"{HERE}/tunnels"] = (201, TUNNEL)
    assert last(asked)[2] == {"target": "db.internal:5432"}
    words = (
        "--lport", "2222", "--lhost", "::", "--passing", "--proxy-protocol", "v2", "--source", "caller", "--source",
        "10.0.0.0/8", "--idle", "1h", "--expires", "8h", "--connections", "5", "--rate-to-target", "1M",
        "--rate-to-visitor", "none", "--scheme", "rdp", "--note", "for Ann",
    )  # fmt: skip
    assert json.loads(asked("tunnel", "open", "aa11", "22", *words, "--json").out) == TUNNEL
    assert last(asked)[2] == {
        "target": "22", "stored": False, "lport": 2222, "lhost": "::", "proxy_protocol": "v2",
        "sources": ["caller", "10.0.0.0/8"], "idle_timeout": 3600, "expires_in": 28800, "connection_limit": 5,
        "rate_to_target": 1000000, "rate_to_visitor": None, "scheme": "rdp", "note": "for Ann",
    }  # fmt: skip


def test_tunnels_are_listed(asked: Ctl) -> None:
    asked.double.answers["GET", "/tunnels"] = page(TUNNEL)
    first, second = asked("tunnel", "list").out.splitlines()
    assert first.split() == ["CLIENT", "ID", "STATE", "LISTENS", "TARGET", "FROM", "NOW", "TOTAL", "IN", "OUT", "NOTE"]
    assert second.split()[:6] == ["aa11", "ab12", "open", "[::]:2222", "db.internal:5432", "192.0.2.0/24"]
    assert asked("tunnel", "list", "web-1").out.startswith("ID ")
    assert asked.double.asked[-1].query["client"] == ["aa11"]


def test_a_tunnel(asked: Ctl) -> None:
    lines = asked("tunnel", "show", "aa11", "ab").out.splitlines()
    assert "connections  2 of 5 now, 17 in all, 3 denied" in lines
    assert "to visitor   1.2 kB, 0 B/s now, at most 500 kB/s" in lines
    assert "idle         closed after 1h 0m" in lines
    assert "last error   connection refused" in lines


def test_a_tunnel_is_changed(asked: Ctl) -> None:
    path = f"{HERE}/tunnels/ab12"
    asked.double.answers["PATCH", path] = (200, TUNNEL)
    asked("tunnel", "change", "aa11", "ab12", "--source", "any", "--idle", "none", "--note", "")
    assert last(asked) == ("PATCH", path, {"sources": [], "idle_timeout": None, "note": ""})
    done = asked("tunnel", "change", "aa11", "ab12")
    assert (done.code, done.err) == (
        1, "rportctl: nothing to change: give an option; see rportctl tunnel change --help\n",
    )  # fmt: skip


def test_connections(asked: Ctl) -> None:
    path = f"{HERE}/tunnels/ab12/connections"
    asked.double.answers["GET", path] = page(
        {"id": 7, "address": "192.0.2.9:5000", "since": "2026-01-31T12:00:00Z", "bytes_in": 1, "bytes_out": 2}
    )
    asked.double.answers["DELETE", f"{path}/7"] = (204, b"")
    assert "192.0.2.9:5000" in asked("tunnel", "connections", "aa11", "ab12").out
    assert asked("tunnel", "cut", "aa11", "ab12", "7").out == "ended connection 7\n"


def test_secrets_are_printed_once_and_alone(asked: Ctl) -> None:
    made = {"id": "c1", "kind": "secret", "secret": "rpc_x", "public": None}
    asked.double.answers["POST", f"{HERE}/credentials"] = (201, made)
    assert asked("credential", "create", "aa11").out.splitlines()[-1] == "aa11:rpc_x"
    asked.double.answers["POST", "/tokens"] = (201, {"id": "t1", "secret": "rpt_x", "user": "me"})
    assert asked("token", "create", "--role", "viewer", "--tag", "a", "--expires", "none").out == "rpt_x\n"
    assert last(asked)[2] == {"note": "", "role": "viewer", "tags": ["a"]}
    asked.double.answers["POST", "/enrolments"] = (201, {"items": [{"id": "e1", "code": "rpe_1"}, {"code": "rpe_2"}]})
    assert asked("enroll", "create", "--count", "2", "--tag", "a").out == "rpe_1\nrpe_2\n"
    assert last(asked)[2] == {"tags": ["a"], "uses": 1, "expires_in": 86400, "count": 2, "note": ""}
    asked.double.answers["POST", "/enrolments"] = problem(422, "server: ... or start rportd with --public-url")
    assert asked("enroll", "create").err.startswith("rportctl: give --server URL")  # here its address is no use
    asked.double.answers["POST", "/webhooks"] = (201, {"id": "w1", "secret": "s3cret"})
    assert asked("webhook", "add", "https://a.example").out.splitlines()[-1] == "s3cret"


def test_webhooks(asked: Ctl) -> None:
    hook = {"id": "w1", "url": "https://a.example", "types": None, "note": "", "enabled": True, "waiting": 2, "dead": 1}
    asked.double.answers["GET", "/webhooks"] = page({**hook, "last_error": "it answered 500"})
    assert asked("webhook", "list").out.splitlines()[1].split() == (
        ["w1", "https://a.example", "all", "yes", "2", "1", "it", "answered", "500", "-"]
    )
    test = {"delivered": True, "status": 204, "error": None, "seconds": 0.1234}
    asked.double.answers["POST", "/webhooks/w1/test"] = (200, test)
    assert asked("webhook", "test", "w1").out == "delivered in 0.123 s, and answered with 204\n"
    asked.double.answers["POST", "/webhooks/w1/test"] = (200, {**test, "delivered": False, "error": "it answered 500"})
    done = asked("webhook", "test", "w1")
    assert (done.code, done.err) == (5, "rportctl: the test was not delivered: it answered 500\n")
    row = {"id": "17", "event": 9, "type": "tunnel.opened", "state": "dead", "attempts": 3, "status": 500}
    asked.double.answers["GET", "/webhooks/w1/deliveries"] = page({**row, "due_at": None, "error": "x"})
    out = asked("webhook", "deliveries", "w1", "--state", "dead").out
    assert out.splitlines()[1].split() == ["17", "9", "tunnel.opened", "dead", "3", "-", "500", "x"]
    assert asked.double.asked[-1].query["state"] == ["dead"]
    asked.double.answers["POST", "/webhooks/w1/deliveries/17/retry"] = (200, row)
    assert asked("webhook", "retry", "w1", "17").code == 0


def test_users(asked: Ctl, tmp_path: Any) -> None:
    (tmp_path / "p").write_text("geheim\n")
    user = {"name": "ann", "role": "operator", "tags": ["a"], "totp": False, "created_at": "2026-01-31T12:00:00Z"}
    asked.double.answers["POST", "/users"] = (201, user)
    done = asked("user", "add", "ann", "--role", "operator", "--tag", "a", "--password", f"@{tmp_path}/p")
    assert done.out == "user ann, operator, for clients with a\n"
    assert last(asked)[2] == {"name": "ann", "role": "operator", "tags": ["a"], "password": "geheim"}
    asked.double.answers["PATCH", "/users/ann"] = (200, {**user, "tags": None})
    assert asked("user", "role", "ann", "viewer").code == 0
    assert last(asked)[2] == {"role": "viewer", "tags": None}
    asked.double.answers["GET", "/users"] = page(user)
    assert asked("user", "list").out.splitlines()[1].split()[:4] == ["ann", "operator", "a", "no"]


def test_letters_that_a_terminal_does_not_know(asked: Ctl) -> None:
    asked.double.answers["GET", "/clients"] = page({**CLIENT, "name": "日本 ü"})
    for more, shown in (((), "\\u65e5\\u672c \\xfc"), (("--json",), '"\\u65e5\\u672c \\u00fc"')):
        done = subprocess.run(
            [sys.executable, "-m", "rport.ctl", "clients", *more],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr, shown in done.stdout) == (0, "", True)


def test_what_the_server_says_moves_no_cursor(asked: Ctl) -> None:
    asked.double.answers["GET", "/clients"] = problem(409, "\x1b[2Jevil\nrportctl: all is well", "x")
    done = asked("clients")
    assert (done.code, done.err) == (4, "rportctl: \\x1b[2Jevil\\nrportctl: all is well\n")
    evil = {**CLIENT, "name": "\x1b]0;x\x07", "note": "a\nb", "os": "\u202e"}
    asked.double.answers["GET", "/clients"] = page(evil)
    asked.double.answers["GET", HERE] = (200, evil)
    asked.double.answers["DELETE", HERE] = (204, b"")
    for words in (("clients",), ("client", "show", "aa11"), ("client", "rm", "aa11")):
        out = asked(*words).out
        assert out.replace("\n", "").isprintable()
        assert "\u202e" not in out
        out = asked(*words, "--json").out
        assert out.isascii()
        assert "\x1b" not in out


@pytest.mark.parametrize("answer", [{}, {"items": 7}, [], {"items": [7]}, {"items": [{"id": "x"}]}, None, "x"])
def test_answers_of_another_kind_are_one_line(ctl: Ctl, answer: Any) -> None:
    for words in (("clients",), ("tunnel", "list"), ("user", "list"), ("client", "show", "aa11"), ("status",)):
        for path in ("/clients", "/tunnels", "/users", "/statistics", HERE):
            ctl.double.answers["GET", path] = (200, answer)
        done = ctl(*words)
        assert done.code in (0, 2, 5)
        assert len(done.err.splitlines()) == (done.code != 0)
    ctl.double.untrue.clear()  # that is what it is about
