"""rportctl and all that it looks after: a real rportd, real machines."""

import json
import signal

import pytest

from tests.support.programs import Client, Program, Server, until
from tests.support.site import PASSWORD, Site

pytestmark = pytest.mark.e2e


def test_who_may_what(site: Site) -> None:
    """Exit codes of the real server's refusals."""
    site.machine()
    admin = site.admin
    assert admin("user", "add", "ann", "--role", "viewer", "--tag", "shop", given=f"{PASSWORD}\n").code == 0
    ann = site.person("ann", PASSWORD)
    assert ann("clients", "--json").json == []
    assert ann("client", "show", "web-1").code == 2
    assert admin("client", "tag", "web-1", "shop").code == 0
    assert [row["id"] for row in ann("clients", "--json").json] == ["web-1"]
    for words in (("client", "note", "web-1", "x"), ("client", "rm", "web-1"), ("audit",), ("user", "list")):
        done = ann(*words)
        assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1), words
    assert admin("user", "rm", "ann").code == 0
    until(lambda: ann("clients").code == 3, "the token goes with its user")
    assert admin("user", "add", "me", "--role", "viewer", given=f"{PASSWORD}\n").code == 4
    assert admin("token", "revoke", "nonsense").code == 2
    new = PASSWORD + " staple"
    done = admin("user", "passwd", given=f"{PASSWORD}\n{new}\n")
    assert (done.code, done.err) == (0, "")
    site.person("me", new)


def test_machines_are_looked_after(site: Site) -> None:
    machine = site.machine()
    admin = site.admin
    (row,) = admin("clients", "--json").json
    assert (row["id"], row["state"], row["os"]) == ("web-1", "connected", "linux")
    assert "web-1" in admin("clients").out
    assert admin("client", "tag", "web", "shop", "berlin").code == 0
    assert admin("client", "untag", "web-1", "berlin").code == 0
    assert admin("client", "rename", "web-1", "the shop").code == 0
    assert admin("client", "note", "the shop", "second rack").code == 0
    (row,) = admin("clients", "--tag", "shop", "--state", "connected", "-q", "rack", "--json").json
    assert (row["name"], row["tags"], row["note"]) == ("the shop", ["shop"], "second rack")
    assert admin("clients", "--tag", "berlin", "--json").json == []
    assert admin("client", "disconnect", "web-1").code == 0
    machine.wait_for("Connected", 2)
    until(lambda: len(admin("client", "history", "web-1", "--json").json) == 2, "two connections")
    machine.stop()
    until(lambda: admin("clients", "--state", "disconnected", "--json").json, "it is away")
    assert admin("client", "rm", "web-1").code == 0
    assert admin("clients", "--json").json == []
    assert admin("client", "show", "web-1").code == 2


def test_a_fleet_is_enrolled(site: Site) -> None:
    admin = site.admin
    done = admin("enroll", "create", "--tag", "shop", "--server", site.url)
    code = done.out.strip()
    assert (done.code, code.startswith("rpe_")) == (0, True)
    config, state = site.path / "fresh.toml", site.path / "fresh"
    (site.path / "code").write_text(code)
    words = ("enroll", f"@{site.path}/code", "--config", str(config))
    enrolled = site.keep(Program("rport.client", *words, state=state, env={"RPORT_CONFIG": ""}))
    assert enrolled.exit_code() == 0, enrolled.log
    (row,) = admin("clients", "--json").json
    assert row["tags"] == ["shop"]
    (kept,) = admin("enroll", "list", "--json").json
    assert (kept["used"], kept["uses"]) == (1, 1)
    assert "rpe_" not in json.dumps(kept)
    assert admin("enroll", "revoke", kept["id"]).code == 0
    assert admin("enroll", "list", "--json").json == []


def test_credentials(site: Site) -> None:
    admin = site.admin
    assert admin("client", "add", "desk", "--id", "desk-7", "--tag", "shop").code == 0
    login = admin("credential", "create", "desk").out.splitlines()[-1]
    assert login.startswith("desk-7:rpc_")
    machine = site.keep(Client(site.server, state=site.path / "desk", env={"RPORT_AUTH": login}))
    (row,) = admin("credential", "list", "desk-7", "--json").json
    assert "rpc_" not in json.dumps(row)
    assert admin("credential", "rotate", "desk-7", row["id"]).out.splitlines()[-1] != login
    assert machine.exit_code() == 5
    (row,) = admin("credential", "list", "desk-7", "--json").json
    assert admin("credential", "revoke", "desk-7", row["id"]).code == 0
    assert admin("credential", "list", "desk-7", "--json").json == []


def test_events_are_followed_through_a_restart(site: Site) -> None:
    admin = site.admin
    following = admin.start("events", "--follow", "--after", "0", "--json")  # whichever of both comes first
    assert following.stdout is not None
    try:
        machine = site.machine()
        event = json.loads(following.stdout.readline())
        assert (event["type"], event["client"]) == ("client.connected", "web-1")
        site.server.signal(signal.SIGTERM)
        assert site.server.exit_code() == 0
        site.server = site.keep(Server(site.state, port=site.server.port))
        machine.wait_for("Connected", 2)
        types = [json.loads(following.stdout.readline())["type"] for _ in range(2)]
        assert types == ["client.disconnected", "client.connected"]
    finally:
        following.kill()
        following.communicate()
    past = [json.loads(line)["type"] for line in admin("events", "--json", "--client", "web-1").out.splitlines()]
    assert past == ["client.connected", "client.disconnected", "client.connected"]
    (only,) = admin("events", "--type", "client.disconnected").out.splitlines()
    assert "web-1" in only


def test_names_are_completed(site: Site) -> None:
    site.machine("--name", "the-shop")
    assert site.admin("__complete", "clients").out == "the-shop\n"
    assert site.admin("__complete", "clients", "we").out == "web-1\n"
    site.server.stop()
    assert site.admin("__complete", "clients", "we").out == "web-1\n"
    done = site.admin("clients")
    assert (done.code, "Connection refused" in done.err) == (5, True)
