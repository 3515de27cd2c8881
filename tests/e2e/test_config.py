"""Configuration files, as both programs use them."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Client, Program, Server, Target, echo, until

Keep = Callable[[Any], Any]


def check(module: str, *argv: str) -> tuple[int, str, list[str]]:
    done = subprocess.run([sys.executable, "-m", module, "config", *argv], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize("module", ["rport.client", "rport.server"])
def test_a_sound_file(module: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('log-level = "debug"\n')
    assert check(module, "check", str(file)) == (0, f"{file}: no problems\n", [])


@pytest.mark.parametrize("module", ["rport.client", "rport.server"])
def test_the_example_is_a_sound_file(module: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(check(module, "example")[1])
    assert check(module, "check", str(file)) == (0, f"{file}: no problems\n", [])
    file.write_text(file.read_text().replace("#keepalive", "keepalive").replace("#port =", "port ="))
    assert not re.search(r'= "-?[0-9]+"', file.read_text()), "a number in quotes"
    assert check(module, "check", str(file)) == (0, f"{file}: no problems\n", [])


def test_every_problem_of_a_clients_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        'sever = "h:1"\nremotes = ["2222:22", "0:x"]\nkeepalive = 25\nfingerprint = "zz"\nauth = "me:secret"\n'
    )
    file.chmod(0o644)
    code, out, problems = check("rport.client", "check", str(file))
    assert (code, out) == (1, "")
    assert problems == [
        f"{file}:1: sever: unknown key; did you mean server?",
        f"{file}:5: auth: everybody can read this file; chmod o-r {file}, or give @FILE",
        f"{file}:2: remotes: remote '0:x': there must be a port behind the host 'x'",
        f"{file}:4: fingerprint: fingerprint 'zz' is not hexadecimal: copy it from the server's log",
        f"{file}:3: keepalive: duration '25' cannot be read: it needs a unit, such as \"25s\"",
    ]


def test_problems_of_a_servers_file(tmp_path: Path) -> None:
    file = tmp_path / "d.toml"
    file.write_text('tls_cert = "c"\nport = 99999\nhost = true\n')
    code, _, problems = check("rport.server", "check", str(file))
    assert code == 1
    assert problems[:2] == [
        f"{file}:1: tls_cert: unknown key; did you mean tls-cert?",
        f"{file}:2: port: port '99999': give a number from 0 to 65535",
    ]


@pytest.mark.parametrize(
    ("module", "key", "text"),
    [
        ("rport.server", "authfile", "authfile"),
        ("rport.server", "authorized-keys", "authorized"),
        ("rport.client", "identity", "key file"),
        ("rport.client", "tls-ca", "--tls-ca"),
    ],
)
def test_the_files_that_a_file_names_are_looked_into(module: str, key: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("{")
    (tmp_path / "broken").chmod(0o600)
    (tmp_path / "c.toml").write_text(f'{key} = "{tmp_path}/broken"\n')
    code, _, problems = check(module, "check", str(tmp_path / "c.toml"))
    assert (code, len(problems)) == (1, 1)
    assert f"{tmp_path}/broken" in problems[0]
    assert text in problems[0]


def test_one_broken_file_does_not_hide_another(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        "".join(f'{key} = "/nowhere/{key}"\n' for key in ("authfile", "authorized-keys", "tls-cert", "tls-key"))
    )
    code, _, problems = check("rport.server", "check", str(tmp_path / "c.toml"))
    assert code == 1
    assert [problem.rpartition("/nowhere/")[2] for problem in problems] == [
        "authfile: No such file or directory",
        "authorized-keys: No such file or directory",
        "tls-cert cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["check", "/nowhere"], "configuration file /nowhere: No such file or directory"),
        (["chek", "x"], "rport config: give `check FILE` or `example`; see rport config --help"),
        (["check"], "rport config: give `check FILE` or `example`; see rport config --help"),
        (["example", "x"], "rport config: give `check FILE` or `example`; see rport config --help"),
        ([], "rport config: the following arguments are required: check|example"),
    ],
)
def test_a_wrong_check(argv: list[str], text: str) -> None:
    code, _, problems = check("rport.client", *argv)
    assert code == 1
    assert len(problems) == 1
    assert problems[0].startswith(text)


def test_both_programs_run_from_files_alone(keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    secret = tmp_path / "secret"
    secret.write_text("me:hush\n")
    (tmp_path / "rportd.toml").write_text(f'host = "127.0.0.1"\nport = 0\nauth = "@{secret}"\n')
    server = keep(Program("rport.server", state=tmp_path, env={"RPORT_CONFIG": str(tmp_path / "rportd.toml")}))
    port = server.wait_for(r"Listening on 127\.0\.0\.1:(\d+)").group(1)
    (tmp_path / "rport.toml").write_text(
        f'server = "127.0.0.1:{port}"\nremotes = ["127.0.0.1:0:{target.port}"]\nauth = "@{secret}"\n'.replace(
            ":0:", ":0:127.0.0.1:"
        )
    )
    client = keep(Program("rport.client", "--config", str(tmp_path / "rport.toml"), state=tmp_path))
    client.wait_for("Tunnel 127.0.0.1:")
    assert "hush" not in server.log + client.log


def test_sighup_reads_the_servers_file_again(keep: Keep, tmp_path: Path) -> None:
    file = tmp_path / "rportd.toml"
    file.write_text("")
    server = keep(Server(tmp_path, "--config", str(file)))
    file.write_text('log-level = "debug"\nkey = "another"\n')
    file.chmod(0o600)
    server.signal(signal.SIGHUP)
    server.wait_for("WARNING Reload: needs a restart: key")
    server.wait_for("INFO Reload: changed log-level")
    file.write_text("prot = 1\n")
    server.signal(signal.SIGHUP)
    server.wait_for(r"ERROR Reload: \S+rportd.toml:1: prot: unknown key; did you mean port\?; everything stays as it")
    assert server.api("/api/v1/status")[0] == 200


def test_signals_count_from_the_first_line_on(keep: Keep, tmp_path: Path) -> None:
    for _ in range(5):
        server = keep(Program("rport.server", "--host", "127.0.0.1", "-p", "0", state=tmp_path, cold=False))
        while not server.lines:  # no pause: what follows is to come as early as it can
            assert server.process.poll() is None
        server.signal(signal.SIGHUP)
        server.wait_for("Reload: no change")
        server.signal(signal.SIGTERM)
        assert server.exit_code() == 0


def test_a_client_takes_a_new_login_for_its_next_try(keep: Keep, tmp_path: Path) -> None:
    file = tmp_path / "rport.toml"
    file.write_text('auth = "me:wrong"\nmax-retry-count = 1000\n')
    file.chmod(0o600)
    server = keep(Server(tmp_path, "--auth", "me:right"))
    client = keep(Client(server, "--config", str(file), state=tmp_path, wait=False))
    client.wait_for("login failed")
    file.write_text('auth = "me:right"\nmax-retry-count = 1000\n')
    client.signal(signal.SIGHUP)
    client.wait_for("Reload: changed auth")
    client.wait_for("Connected")
    until(lambda: server.sessions(), "the session is there")
