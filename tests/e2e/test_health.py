"""What those who watch over a server ask: health, metrics, events and the audit log of a real one."""

import contextlib
import http.client
import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support import people
from tests.support.api import ask, done
from tests.support.disks import small_disk
from tests.support.programs import Client, Server, Target, carry, echo, until
from tests.support.prom import check_metrics

Keep = Callable[[Any], Any]


def get(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@contextlib.contextmanager
def listening(server: Server, query: str = "", **headers: str) -> Iterator[Iterator[Any]]:
    """Its events, as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", f"/api/v1/events{query}", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.readline() == b"retry: 2000\n"
        yield (json.loads(line[6:]) for line in iter(answer.readline, b"") if line.startswith(b"data: "))
    finally:
        connection.close()


def add_user(state: Path, name: str, role: str) -> str:
    """By the command; a token of his."""
    people.add_user(state, name, role)
    return people.add_token(state, name)


def test_health_is_for_everybody_and_numbers_are_not(keep: Keep, tmp_path: Path) -> None:
    admin, viewer = add_user(tmp_path, "root", "admin"), add_user(tmp_path, "me", "viewer")
    server = keep(Server(tmp_path))
    assert get(server, "/healthz", Host="tunnel.example.com") == (200, "ok\n")
    assert get(server, "/healthz", "HEAD") == (200, "")
    assert get(server, "/readyz", Host="tunnel.example.com") == (200, '{"status":"ready"}')
    assert get(server, "/readyz", Authorization=f"Bearer {viewer}") == (200, '{"status":"ready"}')
    assert get(server, "/readyz", Authorization=f"Bearer {admin}") == (200, '{"status":"ready","store":"ok"}')
    assert get(server, "/healthz", "POST")[0] == 405
    assert get(server, "/metrics")[0] == 401
    status, text = get(server, "/metrics", Authorization=f"Bearer {viewer}")
    assert status == 200
    assert "rport_sessions 0.0" in text


def test_they_stay_the_servers_own_with_a_backend(keep: Keep, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        server = keep(Server(tmp_path, "--proxy", f"http://127.0.0.1:{backend.getsockname()[1]}"))
        for path in ("/healthz", "/readyz", "/metrics"):
            assert get(server, path)[0] == 200


def test_metrics_of_a_server_that_carries(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path / "server", "--auth", "me:secret"))
    client = keep(
        Client(server, "--auth", "me:secret", f"0:127.0.0.1:{target.port}", state=tmp_path / "client", host="127.0.0.1")
    )
    carry(client.tunnel_port(), 100_000)
    keep(Client(server, "--auth", "me:wrong", "--max-retry-count", "0", "1", state=tmp_path / "other", wait=False))
    until(lambda: 'rport_logins_failed_total{what="client"} 1.0' in get(server, "/metrics")[1], "a failed login")
    assert ask(server, "GET", "/clients/none")[0] == 404
    text = get(server, "/metrics")[1]
    check_metrics(text)
    for line in (
        "rport_sessions 1.0",
        'rport_clients{state="connected"} 1.0',
        "rport_tunnels 1.0",
        "rport_streams_started_total 1.0",
        'rport_events_total{type="client.connected"} 1.0',
        'rport_api_requests_total{method="GET",route="/clients/{client_id}",status="4xx"} 1.0',
        "rport_store_up 1.0",
    ):
        assert f"\n{line}\n" in text, line
    assert get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")[1].endswith("# EOF\n")


def test_events_of_real_clients_go_on_over_a_kill(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "server"))
    with listening(server) as events:
        client = keep(Client(server, "--id", "web-1", state=tmp_path / "client"))
        event = next(events)
        assert (event["type"], event["client"]) == ("client.connected", "web-1")
        assert event["data"].keys() == {"session", "address", "version"}
        last = event["id"]
    server.process.kill()
    server.process.wait()
    again = keep(Server(tmp_path / "server", port=server.port))
    with listening(again, **{"Last-Event-ID": str(last)}) as events:
        gone, back = next(events), next(events)
        assert (gone["type"], gone["client"], gone["data"]["reason"]) == (
            "client.disconnected",
            "web-1",
            "the server was restarted",
        )
        assert (back["type"], back["client"]) == ("client.connected", "web-1")
    client.stop()


def test_listening_ends_with_the_token_and_with_the_server(keep: Keep, tmp_path: Path) -> None:
    token = add_user(tmp_path, "root", "admin")
    server = keep(Server(tmp_path))
    held = {"Authorization": f"Bearer {token}"}
    (found,) = json.loads(get(server, "/api/v1/tokens", **held)[1])["items"]
    with listening(server, **held) as events:
        assert get(server, f"/api/v1/tokens/{found['id']}", "DELETE", **held)[0] == 204
        assert [event["type"] for event in events] == []  # and it ends
    other = keep(Server(tmp_path / "other"))
    with listening(other) as events:
        other.signal(signal.SIGTERM)
        assert list(events) == []
        assert other.exit_code() == 0


def test_a_server_that_stops_is_not_ready(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    server = keep(Server(tmp_path / "server"))
    client = keep(Client(server, f"0:127.0.0.1:{target.port}", state=tmp_path / "client"))
    with socket.create_connection(("127.0.0.1", client.tunnel_port())) as visitor:  # is waited for
        visitor.sendall(b"x")
        assert visitor.recv(1) == b"x"
        server.signal(signal.SIGTERM)
        until(
            lambda: get(server, "/readyz") == (503, '{"status":"draining","store":"ok"}'),
            "a server that stops",
        )
        assert get(server, "/healthz")[0] == 200


def test_a_full_disk_is_told(keep: Keep, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        server = keep(Server(tmp_path / "server", "--db", f"sqlite+aiosqlite:///{disk.path}/rportd.db"))
        with listening(server) as events:
            disk.fill()
            body = {"url": "https://h.example/" + "x" * 1900, "enabled": False}
            until(lambda: ask(server, "POST", "/webhooks", body)[0] == 507, "a disk that is full")
            event = next(event for event in events if event["type"] == "store.trouble")
            assert event["id"] == 0
            assert "\nrport_store_up 0.0\n" in get(server, "/metrics")[1]
            status, text = get(server, "/readyz")
            assert (status, json.loads(text)["status"]) == (200, "ready")
            assert "full" in json.loads(text)["store"]
            disk.free()
            types = []
            for event in events:
                types.append(event["type"])
                assert event["id"]
                if types[-1] == "store.recovered":
                    break
            assert types == ["store.trouble", "store.recovered"]
            assert "\nrport_store_up 1.0\n" in get(server, "/metrics")[1]


def test_no_secret_is_told_to_anybody(keep: Keep, tmp_path: Path) -> None:
    """A story full of secrets; then everything that the server has said, but for the answers that show one once."""
    state = tmp_path / "server"
    token = add_user(state, "root", "admin")
    log = ("--log-level", "debug", "--log-format", "json")
    server: Server = keep(Server(state, *log, "--auth", "someone:first-secret"))
    held = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), held)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status < 300, (path, answer.status, text)
        return json.loads(text) if text else None

    signing, in_path = "signing-secret-of-24-characters", "path-secret"
    secrets = ["first-secret", token, people.PASSWORD, "second-password-x", signing, in_path]
    call("POST", "/users", {"name": "two", "password": "second-password-x", "role": "viewer"})
    secrets.append(call("POST", "/tokens", {"note": "n"})["secret"])
    call("POST", "/clients", {"id": "web-1", "name": "web"})
    secrets.append(call("POST", "/clients/web-1/credentials", {"kind": "secret"})["secret"])
    codes = call("POST", "/enrolments", {"uses": 1, "expires_in": 60, "server": "https://h.example"})
    secrets += [value for value in _texts(codes) if value.startswith("rpe_")]
    hook = call("POST", "/webhooks", {"url": f"http://127.0.0.1:1/{in_path}", "secret": signing})
    call("POST", f"/webhooks/{hook['id']}/test")
    secrets.append("wrong-password-z")
    assert ask(server, "POST", "/login", {"user": "root", "password": secrets[-1]})[0] == 401
    secrets.append("guess-secret")
    guess = ("--auth", f"someone:{secrets[-1]}", "--max-retry-count", "0")
    keep(Client(server, *guess, "1", state=tmp_path / "c", wait=False))
    server.wait_for("login failed for .*someone")
    said = [server.log, get(server, "/metrics", **held)[1]]
    for path in ("audit?limit=1000", "audit/export", "clients", "users", "tokens", "enrolments"):
        said.append(get(server, f"/api/v1/{path}", **held)[1])
    hooks = get(server, "/api/v1/webhooks", **held)[1]
    assert in_path in hooks  # of whoever made it; but nowhere else
    said.append(hooks.replace(in_path, ""))
    for secret in secrets:
        assert not [text for text in said if secret in text], secret
    assert len(secrets) >= 11


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from value.replace("/", " ").replace("#", " ").split()
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def test_every_deed_is_a_line_and_an_entry(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path, "--log-format", "json"))
    done(server, "POST", "/clients", {"id": "web-1", "name": "web"})
    assert ask(server, "POST", "/clients", {"id": "web-1", "name": "web"})[0] == 409
    done(server, "DELETE", "/clients/web-1")
    until(lambda: len(done(server, "GET", "/audit")["items"]) == 3, "the entries")
    server.wait_for('"client.remove"')
    entries = done(server, "GET", "/audit")["items"][::-1]
    lines = [json.loads(line) for line in server.log.splitlines() if '"audit"' in line]
    assert [line["audit"]["action"] for line in lines] == ["client.add", "client.add", "client.remove"]
    assert sorted(entry["action"] for entry in entries) == sorted(line["audit"]["action"] for line in lines)
    assert sum(entry["result"] == "ok" for entry in entries) == 2
