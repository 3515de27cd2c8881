"""Tunnels by the API: real clients, real visitors, and what becomes of them when anybody goes."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rport.server.tunnels.pool import TUNNELS_MAX
from tests.support.api import ask, done, insist
from tests.support.asking import ask as ask_as
from tests.support.asking import basic
from tests.support.disks import small_disk
from tests.support.neighbours import free_port
from tests.support.postgres import database_url
from tests.support.programs import Client, Server, Target, carry, echo, until
from tests.support.visitors import carries, is_reset, refused, visit
from tests.support.wire import connect

Keep = Callable[[Any], Any]

WEB = "/clients/web-1/tunnels"


def machine(keep: Keep, server: Server, state: Path, *argv: str, id: str = "web-1") -> Client:
    client: Client = keep(Client(server, "--id", id, *argv, state=state / id))
    until(lambda: ask(server, "GET", f"/clients/{id}")[1].get("state") == "connected", f"{id} is connected")
    return client


def opened(server: Server, target: Target, path: str = WEB, **fields: Any) -> Any:
    return done(server, "POST", path, {"target": str(target.port)} | fields)


def one(server: Server, tunnel: Any) -> Any:
    """As it is now."""
    return done(server, "GET", path_of(tunnel))


def path_of(tunnel: Any) -> str:
    return f"/clients/{tunnel['client_id']}/tunnels/{tunnel['id']}"


def is_now(server: Server, tunnel: Any, state: str) -> Any:
    return until(lambda: (now := one(server, tunnel))["state"] == state and now, f"the tunnel is {state}")


def events(server: Server, type: str) -> list[Any]:
    """The data of those that were saved until now."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(f"GET /api/v1/events?after=0&type={type} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        sock.settimeout(0.5)
        text = b""
        with contextlib.suppress(TimeoutError):
            while part := sock.recv(65536):
                text += part
    data = [json.loads(line[5:]) for line in text.decode().splitlines() if line.startswith("data:")]
    return [item["data"] for item in data]


def told(server: Server, type: str, **wanted: Any) -> Any:
    """An event with that data."""
    return until(
        lambda: next((found for found in events(server, type) if wanted.items() <= found.items()), None),
        f"{type} {wanted}",
    )


def turned_away(port: int) -> bool:
    """Whoever comes now is reset before anything is carried."""
    try:
        with visit(port) as sock:
            return not carries(sock)
    except ConnectionResetError:  # so soon that connect() tells it
        return True


def audited(server: Server, action: str) -> list[Any]:
    return list(done(server, "GET", f"/audit?action={action}")["items"])


# --- open, look, close -----------------------------------------------------------------------------------------------


def test_a_tunnel_from_its_opening_to_its_end(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    client = machine(keep, server, tmp_path)
    tunnel = opened(server, target, note="for an hour", scheme="ssh")
    assert (tunnel["state"], tunnel["lhost"], tunnel["stored"], tunnel["declared"]) == (
        "open",
        "127.0.0.1",
        True,
        False,
    )
    assert (tunnel["target"], tunnel["note"], tunnel["scheme"]) == (f"127.0.0.1:{target.port}", "for an hour", "ssh")
    assert tunnel["figures"]["last_used_at"] is None
    port = tunnel["lport"]
    carry(port, 1 << 20)
    with visit(port) as kept, visit(port) as cut:
        assert carries(kept)
        assert carries(cut)
        items = done(server, "GET", f"{path_of(tunnel)}/connections")["items"]
        (mine,) = (item for item in items if item["address"].endswith(f":{cut.getsockname()[1]}"))
        assert (mine["bytes_in"], mine["bytes_out"]) == (5, 5)
        done(server, "DELETE", f"{path_of(tunnel)}/connections/{mine['id']}")
        assert is_reset(cut)
        assert carries(kept)
        figures = one(server, tunnel)["figures"]
        assert (figures["connections"], figures["connections_total"]) == (1, 3)
        assert figures["bytes_in"] == figures["bytes_out"] == (1 << 20) + 15
        assert figures["rate_in"] > 0
        assert figures["last_used_at"] is not None
        assert ask(server, "DELETE", path_of(tunnel)) == (204, None)
        assert is_reset(kept)
    assert refused(port)
    client.wait_for("WARNING The server closed its tunnel to .*: closed through the API")
    assert ask(server, "GET", path_of(tunnel))[0] == ask(server, "DELETE", path_of(tunnel))[0] == 404
    told(server, "tunnel.opened", tunnel=tunnel["id"], lport=port, lhost="127.0.0.1", by="local local")
    told(server, "tunnel.closed", tunnel=tunnel["id"], lport=port, reason="closed through the API")
    actions = {item["action"] for item in done(server, "GET", "/audit?client=web-1")["items"]}
    assert {"tunnel.open", "connection.close", "tunnel.close"} <= actions


def test_the_clients_word_is_the_last(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "server"))
    client = machine(keep, server, tmp_path)
    port = free_port()
    status, answer = ask(server, "POST", WEB, {"target": "192.0.2.1:5432", "lport": port})
    assert status == 403
    assert "the client refuses: " in answer["error"]
    assert "give the client --allow 192.0.2.1:5432" in answer["error"]
    assert not done(server, "GET", WEB)["items"]
    assert refused(port)
    client.wait_for("refused, no --allow rule covers")
    (entry,) = until(lambda: audited(server, "tunnel.open"), "the refusal is in the audit log, behind its answer")
    assert entry["result"] in answer["error"]


def test_where_it_may_not_lead_or_listen(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "server"))
    machine(keep, server, tmp_path)
    for fields, status in (
        ({"lport": server.port}, 409),
        ({"lhost": "192.0.2.1"}, 409),
        ({"lhost": "example.com"}, 409),
        ({"lhost": "x y"}, 422),
        ({"target": "2222:22"}, 422),
        ({"target": "99999"}, 422),
        ({"target": "unix:no/path"}, 422),
        ({"sources": ["10.0.0.1/8"]}, 422),
        ({"sources": ["nowhere"]}, 422),
        ({"lport": 0}, 400),
        ({"lport": 65536}, 400),
        ({"lport": True}, 400),
        ({"lport": "22"}, 400),
        ({"connection_limit": 0}, 400),
        ({"rate_to_target": 10**30}, 400),
        ({"rate_to_target": 1.5}, 400),
        ({"idle_timeout": 0}, 400),
        ({"idle_timeout": -1}, 400),
        ({"expires_in": 1e300}, 400),
        ({"stored": "yes"}, 400),
        ({"note": "\0"}, 400),
        ({"note": "x" * 501}, 400),
        ({"scheme": "SSH!"}, 400),
        ({"proxy_protocol": "v3"}, 400),
        ({"sources": ["10.0.0.0/8"] * 257}, 400),
        ({"more": 1}, 400),
    ):
        answer = ask(server, "POST", WEB, {"target": "22"} | fields)
        assert answer[0] == status, (fields, answer)
        assert answer[1]["error"]
    assert not done(server, "GET", WEB)["items"]


def test_ids_that_are_none(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    machine(keep, server, tmp_path)
    machine(keep, server, tmp_path, id="web-2")
    tunnel = opened(server, target)
    for method, path in (
        ("GET", "/clients/none/tunnels"),
        ("POST", "/clients/none/tunnels"),
        ("GET", f"/clients/web-2/tunnels/{tunnel['id']}"),
        ("DELETE", f"/clients/web-2/tunnels/{tunnel['id']}"),
        ("PATCH", f"/clients/web-2/tunnels/{tunnel['id']}"),
        ("GET", f"{WEB}/d1"),
        ("GET", f"{WEB}/%00"),
        ("GET", f"{WEB}/%E2%98%83"),
        *(("DELETE", f"{path_of(tunnel)}/connections/{id}") for id in ("0", "-1", "1e3", "%D9%A3", "9" * 20, "x")),
        ("POST", "/clients/none/check"),
    ):
        body = {"target": "22"} if method == "POST" else {} if method == "PATCH" else None
        assert ask(server, method, path, body)[0] == 404, (method, path)
    for id in ("x" * 65, "x" * 4000, "..%2F..%2Fstatus", ".."):
        assert ask(server, "GET", f"{WEB}/{id}")[0] in (400, 404)
    assert ask(server, "GET", f"{WEB}?cursor=x")[0] == ask(server, "GET", f"{WEB}?cursor=WzFd")[0] == 422
    assert one(server, tunnel)["state"] == "open"


def test_lists_of_one_and_of_all_a_page_at_a_time(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    machine(keep, server, tmp_path, f"0:{target.port}")
    machine(keep, server, tmp_path, id="web-2")
    made = [opened(server, target, note=f"number {n}")["id"] for n in range(3)]
    other = opened(server, target, "/clients/web-2/tunnels", scheme="rdp")
    found, cursor = [], ""
    while cursor is not None:
        page = done(server, "GET", f"{WEB}?limit=2" + (f"&cursor={cursor}" if cursor else ""))
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert sorted(found) == sorted(["d1", *made])

    def ids(query: str) -> set[str]:
        return {item["id"] for item in done(server, "GET", f"/tunnels?{query}")["items"]}

    assert ids("") == {"d1", *made, other["id"]}
    assert ids("client=web-2") == ids(f"port={other['lport']}") == ids("q=RDP") == {other["id"]}
    assert ids("q=number%201") == {made[1]}
    assert ids("q=none") == ids("client=none") == set()


# --- whose a port is -------------------------------------------------------------------------------------------------


def test_of_a_hundred_who_want_one_port_one_gets_it(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    names = ["web-1", "web-2", "web-3"]
    for name in names:
        machine(keep, server, tmp_path, id=name)
    port = free_port()

    def want(number: int) -> tuple[int, Any]:
        path = f"/clients/{names[number % 3]}/tunnels"
        return insist(server, "POST", path, {"target": str(target.port), "lport": port, "note": str(number)})

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(want, range(100)))
    (winner,) = (answer for status, answer in answers if status == 201)
    losers = [answer["error"] for status, answer in answers if status == 409]
    assert len(losers) == 99
    assert all(f"tunnel {winner['id']} of client {winner['client_id']}" in text for text in losers), set(losers)
    assert [item["id"] for item in done(server, "GET", "/tunnels")["items"]] == [winner["id"]]
    carry(port, 1000)


def a_peer_that_never_answers_has_no_more_than_others(keep: Keep, state: Path) -> None:
    """What it was asked counts while it is asked; and it ends. Its ports are at an address of their own: they are many,
    and others look whether theirs are free."""
    asked_for = {"target": "22", "lhost": "127.0.0.3"}
    server = keep(Server(state / "server"))
    with contextlib.closing(connect(server.port)) as peer:
        peer.control(type="hello", version="x", identity="00" * 32, id="mute", remotes=[], caps=[])
        until(server.sessions, "the hello is accepted")
        with ThreadPoolExecutor(TUNNELS_MAX + 10) as pool:
            asked = [
                pool.submit(insist, server, "POST", "/clients/mute/tunnels", asked_for) for _ in range(TUNNELS_MAX + 10)
            ]
            answers = [one.result() for one in asked]
    refusals = [answer["error"] for status, answer in answers if status == 409]
    assert refusals == [f"this client has {TUNNELS_MAX} tunnels already"] * 10
    silent = [answer["error"] for status, answer in answers if status == 503]
    assert silent == ["the client did not answer within 10 s; try again"] * TUNNELS_MAX
    assert not done(server, "GET", "/tunnels")["items"]


def test_ports_that_the_server_picks_and_those_that_nobody_gets(keep: Keep, tmp_path: Path) -> None:
    ports = [free_port() for _ in range(2)]
    low, high = min(ports), max(ports)
    spread = "--port-range", f"{low}-{high}", "--exclude-ports", f"{low},{high}"
    if high - low < 20:
        pytest.skip("the kernel gave two ports side by side")
    server, target = keep(Server(tmp_path / "server", *spread)), keep(Target(echo))
    client = machine(keep, server, tmp_path, f"127.0.0.1:0:127.0.0.1:{target.port}", f"127.0.0.1:{low}:127.0.0.1:1")
    client.wait_for(f"port {low} is not for tunnels: the server's --exclude-ports has it")
    assert low < client.tunnel_port() < high
    picked = [opened(server, target)["lport"] for _ in range(5)]
    assert all(low < port < high for port in picked)
    assert len({*picked, client.tunnel_port()}) == 6
    assert ask(server, "POST", WEB, {"target": "22", "lport": high})[0] == 403
    outside = free_port()
    if not low <= outside <= high:
        assert opened(server, target, lport=outside)["lport"] == outside  # the range is for those that are picked


def test_where_tunnels_listen_is_the_servers_choice(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server", "--tunnel-host", "127.0.0.7")), keep(Target(echo))
    machine(keep, server, tmp_path)
    tunnel = opened(server, target)
    assert tunnel["lhost"] == "127.0.0.7"
    with visit(tunnel["lport"], "127.0.0.7") as sock:
        assert carries(sock)
    assert refused(tunnel["lport"])


# --- coming back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_stored_tunnel_comes_back_after_anybodys_end(keep: Keep, tmp_path: Path, kind: str) -> None:
    target, db = keep(Target(echo)), ("--db", database_url(kind, tmp_path))
    server = keep(Server(tmp_path / "server", *db))
    client = machine(keep, server, tmp_path)
    tunnel = opened(server, target, sources=["127.0.0.0/8", "::1"], connection_limit=7, rate_to_visitor=10**9, note="n")
    passing = opened(server, target, stored=False)
    carry(tunnel["lport"], 1000)
    client.stop()
    away = is_now(server, tunnel, "waiting")
    assert away["figures"]["bytes_in"] == 1000
    assert ask(server, "GET", path_of(passing))[0] == 404
    assert refused(tunnel["lport"])
    client = machine(keep, server, tmp_path)
    back = is_now(server, tunnel, "open")
    carry(tunnel["lport"], 1000)
    assert one(server, tunnel)["figures"]["bytes_in"] == 2000
    server.signal(signal.SIGKILL)
    server.exit_code()
    server = keep(Server(tmp_path / "server", *db, port=server.port))
    again = is_now(server, tunnel, "open")
    same = ("id", "lport", "lhost", "target", "sources", "connection_limit", "rate_to_visitor", "note", "created_at")
    assert [again[name] for name in same] == [back[name] for name in same] == [tunnel[name] for name in same]
    carry(tunnel["lport"], 1000)
    assert ask(server, "GET", path_of(passing))[0] == 404


def test_a_port_is_kept_for_who_is_away(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    client = machine(keep, server, tmp_path)
    tunnel = opened(server, target)
    port = tunnel["lport"]
    client.stop()
    is_now(server, tunnel, "waiting")
    other = machine(keep, server, tmp_path, f"127.0.0.1:{port}:127.0.0.1:{target.port}", id="web-2")
    other.wait_for(f"port {port} is reserved for another tunnel of another client")
    for path in ("/clients/web-2/tunnels", WEB):
        status, answer = ask(server, "POST", path, {"target": "22", "lport": port, "lhost": "0.0.0.0"})
        assert (status, answer["error"]) == (409, f"port {port} is reserved for tunnel {tunnel['id']} of client web-1")
    session = next(item["id"] for item in server.sessions())
    put = f"/sessions/{session}/tunnels?local=127.0.0.1:{port}&remote=22"
    assert ask(server, "PUT", put)[0] == 409
    done(server, "DELETE", path_of(tunnel))
    assert other.tunnel_port() == port
    with visit(port) as sock:
        assert carries(sock)


def test_a_tunnel_for_a_client_that_is_not_there(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    machine(keep, server, tmp_path).stop()
    until(lambda: not server.sessions(), "it is gone")
    assert ask(server, "POST", WEB, {"target": "22", "stored": False})[0] == 409
    tunnel = opened(server, target)
    assert tunnel["state"] == "waiting"
    assert tunnel["lport"]
    assert refused(tunnel["lport"])
    assert ask(server, "POST", "/clients/web-1/check", {"target": "22"})[0] == 409
    machine(keep, server, tmp_path)
    is_now(server, tunnel, "open")
    carry(tunnel["lport"], 1000)


def test_a_client_that_is_a_stranger_each_time(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    client = keep(Client(server, state=tmp_path / "client"))
    (session,) = until(server.sessions, "it is there")
    path = f"/clients/{session['client_id']}/tunnels"
    status, answer = ask(server, "POST", path, {"target": "22", "stored": True})
    assert status == 409
    assert "give it --id or --identity" in answer["error"]
    tunnel = opened(server, target, path)
    assert not tunnel["stored"]
    carry(tunnel["lport"], 1000)
    client.stop()
    until(lambda: refused(tunnel["lport"]), "its port is free")


def test_a_tunnel_that_the_client_wants_no_more(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "server"))
    client = machine(keep, server, tmp_path, "--allow", "192.0.2.1:80")
    tunnel = done(server, "POST", WEB, {"target": "192.0.2.1:80"})
    client.stop()
    is_now(server, tunnel, "waiting")
    client = machine(keep, server, tmp_path)
    failed = is_now(server, tunnel, "failed")
    assert "give the client --allow 192.0.2.1:80" in failed["error"]
    told(server, "tunnel.failed", tunnel=tunnel["id"], reason=failed["error"])
    assert refused(tunnel["lport"])
    client.stop()
    machine(keep, server, tmp_path, "--allow", "192.0.2.1:80")
    assert is_now(server, tunnel, "open")["error"] is None


def test_what_was_removed_with_its_client_is_free(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    machine(keep, server, tmp_path)
    machine(keep, server, tmp_path, id="web-2")
    tunnel = opened(server, target)
    done(server, "DELETE", "/clients/web-1")
    until(lambda: refused(tunnel["lport"]), "nobody listens")
    told(server, "tunnel.closed", tunnel=tunnel["id"])
    taken = done(server, "POST", "/clients/web-2/tunnels", {"target": "22", "lport": tunnel["lport"]})
    assert taken["lport"] == tunnel["lport"]


# --- limits ----------------------------------------------------------------------------------------------------------


def test_limits_change_while_it_is_open(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    machine(keep, server, tmp_path)
    tunnel = opened(server, target, sources=["caller"])
    assert tunnel["sources"] == ["127.0.0.1/32"]
    path, port = path_of(tunnel), tunnel["lport"]
    with visit(port) as sock:
        assert carries(sock)
        changed = done(server, "PATCH", path, {"connection_limit": 1, "note": "one"})
        assert (changed["connection_limit"], changed["sources"]) == (1, ["127.0.0.1/32"])
        assert turned_away(port)
        assert one(server, tunnel)["figures"]["rejected"] == 1
        assert carries(sock)
        done(server, "PATCH", path, {"sources": ["10.0.0.0/8"], "connection_limit": None})
        assert is_reset(sock)
    assert turned_away(port)
    assert one(server, tunnel)["figures"]["denied"] == 1
    changed = done(server, "PATCH", path, {"sources": None})
    assert (changed["sources"], changed["connection_limit"], changed["note"]) == ([], None, "one")
    carry(port, 1000)
    for name in ("lport", "lhost", "target", "proxy_protocol", "stored"):
        status, answer = ask(server, "PATCH", path, {name: None})
        assert (status, f"{name} of a tunnel does not change" in answer["error"]) == (400, True)
    assert ask(server, "PATCH", path, {"sources": ["x"]})[0] == 422
    assert [entry["details"] for entry in audited(server, "tunnel.change")][-1] == {"connections": 1, "note": "one"}


def test_a_rate_that_is_not_exceeded(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    machine(keep, server, tmp_path)
    tunnel = opened(server, target, rate_to_visitor=1_000_000)
    began = time.monotonic()
    carry(tunnel["lport"], 2_000_000)
    assert time.monotonic() - began > 1.0  # whatever a burst lets through at once
    done(server, "PATCH", path_of(tunnel), {"rate_to_visitor": None})
    assert one(server, tunnel)["rate_to_visitor"] is None


def it_ends_when_its_time_has_come(keep: Keep, state: Path) -> None:
    server, target = keep(Server(state / "server")), keep(Target(echo))
    client = machine(keep, server, state)
    expiring = opened(server, target, expires_in=1)
    assert expiring["expires_at"] > expiring["created_at"]
    idle = opened(server, target, idle_timeout=1, stored=False)
    postponed = opened(server, target, expires_in=2)
    assert done(server, "PATCH", path_of(postponed), {"expires_in": None})["expires_at"] is None
    with visit(idle["lport"]) as sock:
        assert carries(sock)
        assert is_reset(sock)  # it stays open, and nothing comes through it
    for tunnel, reason in ((expiring, "it expired"), (idle, "nothing came through it for 1 s")):
        told(server, "tunnel.closed", tunnel=tunnel["id"], reason=reason)
        assert ask(server, "GET", path_of(tunnel))[0] == 404
        assert refused(tunnel["lport"])
        client.wait_for(f"The server closed its tunnel to .*: {reason}")
    until(lambda: {entry["actor"] for entry in audited(server, "tunnel.close")} == {"rportd"}, "the audit log has it")
    until(lambda: time.time() > _unix(postponed["created_at"]) + 3, "its time has passed")
    carry(postponed["lport"], 1000)


def what_is_used_is_not_idle(keep: Keep, state: Path) -> None:
    server, target = keep(Server(state / "server")), keep(Target(echo))
    machine(keep, server, state)
    tunnel = opened(server, target, idle_timeout=2)
    with visit(tunnel["lport"]) as sock:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert carries(sock)
            time.sleep(0.05)
    assert one(server, tunnel)["state"] == "open"


def it_expires_while_no_server_is_there(keep: Keep, state: Path) -> None:
    server, target = keep(Server(state / "server")), keep(Target(echo))
    machine(keep, server, state)
    tunnel = opened(server, target, expires_in=2)
    server.signal(signal.SIGKILL)
    server.exit_code()
    until(lambda: time.time() > _unix(tunnel["expires_at"]), "its time has passed")
    server = keep(Server(state / "server", port=server.port))
    told(server, "tunnel.closed", tunnel=tunnel["id"], reason="it expired while the server was down")
    assert ask(server, "GET", path_of(tunnel))[0] == 404
    until(server.sessions, "the client is back")
    assert refused(tunnel["lport"])


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# --- others' tunnels, and who sees what ------------------------------------------------------------------------------


def test_what_the_client_declared_is_its_own(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    client = machine(keep, server, tmp_path, f"127.0.0.1:0:127.0.0.1:{target.port}")
    port = client.tunnel_port()
    (tunnel,) = done(server, "GET", WEB)["items"]
    assert (tunnel["id"], tunnel["declared"], tunnel["stored"], tunnel["lport"]) == ("d1", True, False, port)
    carry(port, 1000)
    with visit(port) as sock:
        assert carries(sock)
        assert one(server, tunnel)["figures"]["connections_total"] == 2
        assert len(done(server, "GET", f"{WEB}/d1/connections")["items"]) == 1
        assert done(server, "PATCH", f"{WEB}/d1", {"sources": ["10.0.0.0/8"]})["sources"] == ["10.0.0.0/8"]
        assert is_reset(sock)
    assert one(server, tunnel)["sources"] == ["10.0.0.0/8"]
    for method, body in (("DELETE", None), ("PATCH", {"expires_in": 5}), ("PATCH", {"idle_timeout": 5})):
        status, answer = ask(server, method, f"{WEB}/d1", body)
        assert (status, "is declared by the client" in answer["error"]) == (409, True)
    status, answer = ask(server, "POST", WEB, {"target": "1", "lport": port})
    assert (status, answer["error"]) == (409, f"port {port} is taken by tunnel d1 of client web-1")
    told(server, "tunnel.opened", tunnel="d1", by="its client", lport=port)
    client.stop()
    told(server, "tunnel.closed", tunnel="d1", lport=port)
    assert not done(server, "GET", WEB)["items"]


def test_the_originals_way_is_in_the_book(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    client = machine(keep, server, tmp_path)
    path = f"/sessions/{server.sessions()[0]['id']}/tunnels"
    answer = done(server, "PUT", f"{path}?local=0&remote={target.port}")
    assert (answer["success"], answer["lhost"]) == (1, "0.0.0.0")
    (tunnel,) = done(server, "GET", WEB)["items"]
    assert (tunnel["lport"], tunnel["stored"], tunnel["declared"]) == (int(answer["lport"]), False, False)
    assert ask(server, "PUT", f"{path}?local={answer['lport']}&remote={target.port}") == (204, None)
    assert len(done(server, "GET", WEB)["items"]) == 1
    status, refusal = ask(
        server, "POST", WEB, {"target": str(target.port), "lport": tunnel["lport"], "lhost": "0.0.0.0"}
    )
    assert (status, f"leads there already: tunnel {tunnel['id']} of client web-1" in refusal["error"]) == (409, True)
    assert {entry["result"] for entry in audited(server, "tunnel.open")} >= {"ok"}
    assert ask(server, "PUT", f"/sessions/{'0' * 64}/tunnels?local=0&remote=22")[0] == 404
    client.stop()
    until(lambda: not done(server, "GET", WEB)["items"], "it goes with its session")


def test_who_does_not_see_a_client_hears_nothing_of_its_tunnels(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    machine(keep, server, tmp_path)
    machine(keep, server, tmp_path, id="web-2")
    mine = opened(server, target)
    theirs = opened(server, target, "/clients/web-2/tunnels")
    done(server, "PATCH", "/clients/web-1", {"tags": ["red"]})
    word = "correct horse battery"
    done(server, "POST", "/users", {"name": "root", "password": word, "role": "admin"})
    root, ann = basic("root", word), basic("ann", word)
    made = {"name": "ann", "password": word, "role": "operator", "tags": ["red"]}
    assert ask_as(server.port, "POST", "/api/v1/users", root, json_body=made).status == 201

    def as_ann(method: str, path: str, body: Any = None) -> Any:
        return ask_as(server.port, method, f"/api/v1{path}", ann, json_body=body)

    assert [item["id"] for item in as_ann("GET", "/tunnels").json["items"]] == [mine["id"]]
    assert [item["client_id"] for item in as_ann("GET", "/sessions").json] == ["web-1"]
    assert as_ann("GET", path_of(mine)).status == 200
    others = path_of(theirs)
    for method, path, body in (
        ("GET", "/clients/web-2/tunnels", None),
        ("POST", "/clients/web-2/tunnels", {"target": "22"}),
        ("POST", "/clients/web-2/check", {"target": "22"}),
        ("GET", others, None),
        ("PATCH", others, {"note": "x"}),
        ("DELETE", others, None),
        ("GET", f"{others}/connections", None),
        ("DELETE", f"{others}/connections/2", None),
    ):
        assert as_ann(method, path, body).status == 404, (method, path)
    sessions = ask_as(server.port, "GET", "/api/v1/sessions", root).json
    session = next(item["id"] for item in sessions if item["client_id"] == "web-2")
    assert as_ann("PUT", f"/sessions/{session}/tunnels?local=0&remote=22").status == 404
    refusal = as_ann("POST", WEB, {"target": "22", "lport": theirs["lport"]})
    assert refusal.status == 409
    assert "web-2" not in refusal.error
    assert theirs["id"] not in refusal.error


# --- when the store is in trouble ------------------------------------------------------------------------------------


def test_a_full_disk_leaves_nothing_half_done(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    with small_disk(tmp_path / "disk") as disk:
        server = Server(disk.path)
        try:
            client = machine(keep, server, tmp_path)
            there = opened(server, target)
            disk.fill()
            made = [there["id"]]
            while True:
                port = free_port()
                status, answer = ask(
                    server, "POST", WEB, {"target": str(target.port), "lport": port, "note": "x" * 500}
                )
                if status != 201:
                    break
                made.append(answer["id"])  # pages of the database that were there
            assert (status, answer["type"]) == (507, "urn:rport:store-full")
            assert refused(port)
            client.wait_for("The server closed its tunnel to .*: the server could not save it")
            assert [item["id"] for item in done(server, "GET", WEB)["items"]] == made
            assert ask(server, "DELETE", path_of(there))[0] == 507
            assert ask(server, "PATCH", path_of(there), {"sources": ["10.0.0.0/8"]})[0] == 507
            assert one(server, there)["sources"] == []
            carry(there["lport"], 1000)
            disk.free()
            again = until(lambda: ask(server, "POST", WEB, {"target": "22", "lport": port})[0] == 201, "there is room")
            assert again
            done(server, "DELETE", path_of(there))
            assert refused(there["lport"])
        finally:
            server.stop()


# --- targets ---------------------------------------------------------------------------------------------------------


def test_does_the_target_answer(keep: Keep, tmp_path: Path) -> None:
    server, target = keep(Server(tmp_path / "server")), keep(Target(echo))
    machine(keep, server, tmp_path)
    path = "/clients/web-1/check"
    good = done(server, "POST", path, {"target": str(target.port)})
    assert good["ok"]
    assert good["ms"] >= 0
    assert done(server, "POST", path, {"target": str(free_port())}) == {
        "ok": False,
        "ms": None,
        "error": "Connection refused",
    }
    assert "--allow 192.0.2.1:80" in done(server, "POST", path, {"target": "192.0.2.1:80"})["error"]
    for bad in ("", "x" * 301):
        assert ask(server, "POST", path, {"target": bad})[0] == 400
    assert ask(server, "POST", path, {"target": "a b:22"})[0] == 422


def test_what_was_last_wrong_with_the_target(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "server"))
    client = machine(keep, server, tmp_path)
    tunnel = done(server, "POST", WEB, {"target": str(free_port())})
    assert turned_away(tunnel["lport"])
    until(lambda: one(server, tunnel)["figures"]["last_error"] == "Connection refused", "the error is kept")
    client.stop()
    assert is_now(server, tunnel, "waiting")["figures"]["last_error"] == "Connection refused"


SCENARIOS = [
    a_peer_that_never_answers_has_no_more_than_others,
    it_ends_when_its_time_has_come,
    what_is_used_is_not_idle,
    it_expires_while_no_server_is_there,
]


def test_after_a_wait(scenario: Future[None]) -> None:
    scenario.result()
