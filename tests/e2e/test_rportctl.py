"""rportctl at a real rportd: logins, certificates, and what becomes of its output."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.programs import Server, Target, until
from tests.support.site import PASSWORD, Admin, Site
from tests.support.terminal import InTerminal

pytestmark = pytest.mark.e2e


def test_a_server_without_users_answers_on_its_own_machine(keep: Any, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "s"))
    admin = Admin(tmp_path / "home", f"http://127.0.0.1:{server.port}")
    done = admin("status")
    assert (done.code, done.err) == (0, "")
    assert "sessions     0 now, 0 in all" in done.out
    assert admin("status", "--json").json["sessions"] == 0
    assert admin("login", "--anonymous", f"127.0.0.1:{server.port}").code == 0
    del admin.env["RPORT_URL"]
    assert admin("status").code == 0


def test_certificates(keep: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("DNS:localhost", "IP:127.0.0.1")
    server = keep(Server(tmp_path / "s", "--tls-cert", str(cert), "--tls-key", str(key)))
    admin = Admin(tmp_path / "home", f"https://127.0.0.1:{server.port}")
    done = admin("status")
    assert (done.code, done.out) == (5, "")
    assert "the certificate is not trusted: unable to get local issuer certificate; give --ca FILE" in done.err
    assert admin("status", "--ca", str(authority.ca)).code == 0
    done = admin("status", "--insecure")
    assert (done.code, len(done.err.splitlines())) == (0, 1)
    assert done.err.startswith("rportctl: --insecure: whoever is on the way to the server can read and change all")
    assert admin("status", RPORT_INSECURE="yes").code == 0
    assert "TLS failed" in admin("status", "--url", f"https://127.0.0.1:{plain_port(keep, tmp_path)}").err
    done = admin("status", "--url", f"http://127.0.0.1:{server.port}")
    assert (done.code, len(done.err.splitlines())) == (5, 1)
    # What login was told of the certificate is remembered, wherever the next command is called.
    assert admin("login", "--anonymous", "--ca", "ca.pem", admin.env["RPORT_URL"]).code == 1
    assert admin("login", "--anonymous", "--ca", str(authority.ca), admin.env["RPORT_URL"]).code == 0
    assert admin("status").code == 0


def plain_port(keep: Any, tmp_path: Path) -> int:
    port: int = keep(Server(tmp_path / "plain")).port
    return port


def test_output_that_nobody_reads(keep: Any, tmp_path: Path) -> None:
    server = keep(Server(tmp_path / "s"))
    admin = Admin(tmp_path / "home", f"http://127.0.0.1:{server.port}")
    process = admin.start("status")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == 1
    assert process.stderr is not None
    assert process.stderr.read() == ""  # whoever read has seen enough, as head does
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rport.ctl", "status"], env=admin.env, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_ctrl_c_while_it_waits_for_an_answer(keep: Any, tmp_path: Path) -> None:
    server = keep(Target(lambda sock: sock.recv(1) and sock.recv(1 << 16) and sock.recv(1)))
    process = Admin(tmp_path / "home", f"http://127.0.0.1:{server.port}").start("status")
    until(lambda: server.accepted, "it asks")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (-signal.SIGINT, "", "")


def test_a_login_is_a_token_that_logout_revokes(site: Site) -> None:
    admin = site.admin
    path = admin.home / ".config/rport/credentials.json"
    assert path.stat().st_mode & 0o777 == 0o600
    kept = path.read_text()
    assert PASSWORD not in kept
    (token,) = admin("token", "list", "--json").json
    assert (token["user"], token["role"], token["note"]) == ("me", "admin", f"rportctl on {os.uname().nodename}")
    done = admin("login", site.url, "--user", "me", given=f"{PASSWORD}\n")  # once more, in place of the first
    assert (done.code, done.err) == (0, "")
    (other,) = admin("token", "list", "--json").json
    assert other["id"] != token["id"]
    kept = path.read_text()
    assert admin("logout").code == 0
    path.write_text(kept)  # as a thief would
    done = admin("clients")
    assert (done.code, done.out) == (3, "")
    assert admin("login", site.url, "--user", "me", given="wrong\n").code == 3
    assert PASSWORD not in site.server.log


def test_a_person_is_asked_and_the_password_not_shown(site: Site) -> None:
    terminal = InTerminal("rport.ctl", "login", site.url, state=site.path, env={**site.admin.env, "RPORT_CONFIG": ""})
    try:
        terminal.wait_for("User:")
        terminal.type("me\n")
        terminal.wait_for("Password:")
        terminal.type(f"{PASSWORD}\n")
        terminal.wait_for("profile .*, as me")
        assert terminal.exit_code() == 0
        assert PASSWORD not in terminal.screen.text
    finally:
        terminal.stop()


def test_a_second_factor(site: Site) -> None:
    import base64

    import pyotp

    basic = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()

    def ask(method: str, body: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=20)
        fields = {"Authorization": basic, "Content-Type": "application/json"}
        connection.request(method, "/api/v1/me/totp", body, fields)
        return json.loads(connection.getresponse().read())

    otp = pyotp.TOTP(ask("POST", "")["secret"])
    # Each counts once, and the next ones are for later; this one is too old where its successor's time ends on the way.
    until(lambda: ask("PUT", json.dumps({"code": otp.at(time.time() - 30)})).get("totp"), "the code before is taken")
    other = Admin(site.path / "other", site.url)
    done = other("login", site.url, "--user", "me", given=f"{PASSWORD}\n{otp.now()}\n")
    assert (done.code, done.err) == (0, "")
    assert len(other("token", "list", "--json").json) == 2
    assert other("login", site.url, "--user", "me", given=f"{PASSWORD}\nnone\n").code == 1
    assert other("login", site.url, "--user", "me", given=f"{PASSWORD}\n000000\n").code == 3


def test_secrets_are_in_no_arguments(site: Site) -> None:
    """What `ps` shows while somebody logs in."""
    process = site.admin.start("login", site.url, "--user", "me")
    arguments = until(lambda: Path(f"/proc/{process.pid}/cmdline").read_text(), "it runs")
    process.communicate(f"{PASSWORD}\n", timeout=20)
    assert (process.returncode, PASSWORD in arguments) == (0, False)
    done = site.admin("login", site.url, "--user", "me", "--password", PASSWORD)
    assert (done.code, PASSWORD in done.err) == (1, False)
