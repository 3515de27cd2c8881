"""`rport enroll` as a process of its own, at a server whose enroller is the test's."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from rport import keys
from rport.client.enroll import _advise, enroll_command
from rport.client.enrolled import Place
from rport.enrolment import make_code
from rport.errors import ProtocolError, Refused
from rport.install.units import Program
from rport.server.hello import Enrolment
from rport.server.service import Service
from rport.server.session import ServerSession
from tests.support.neighbours import free_port
from tests.support.service import serving

SECRET = "secret-of-forty-characters-and-not-more-0"


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Machine:
    """A fresh one. What it is to enroll with is in `code` as soon as the server is there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "etc" / "rport.toml"
        self.state = directory / "state"
        self.identity = self.state / "identity"
        self.code = ""

    async def rport(self, *argv: str, stdin: bytes = b"", wrap: Sequence[str] = (), **env: str) -> Done:
        surroundings = {**os.environ, "RPORT_ALLOW_ROOT": "yes", **env}
        for name in ("RPORT_CONFIG", "RPORT_STATE_DIR", "STATE_DIRECTORY", "XDG_STATE_HOME"):
            surroundings.pop(name, None)
        process = await asyncio.create_subprocess_exec(
            *wrap, sys.executable, "-m", "rport.client", *argv, env=surroundings, cwd=self.directory,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        done = Done(process.returncode, out.decode(), err.decode())
        assert SECRET not in done.out + done.err
        assert "Traceback" not in done.err
        return done

    async def enroll(self, *argv: str, code: str | None = None, stdin: bytes = b"", config: str | None = None) -> Done:
        words = ("--config", config or str(self.config), "--state-dir", str(self.state), *argv)
        return await self.rport("enroll", *words, code or self.code, stdin=stdin)

    def written(self) -> dict[str, object]:
        return tomllib.loads(self.config.read_text())


class Enroller:
    """Takes SECRET, and gives each key the same answer each time."""

    def __init__(self) -> None:
        self.seen: list[Enrolment] = []

    async def __call__(self, enrolment: Enrolment) -> tuple[str, str]:
        self.seen.append(enrolment)
        if enrolment.secret == "busy":
            raise Refused("busy", "the database is away; try again")
        if enrolment.secret != SECRET:
            raise Refused("auth", "no such code, or it has expired")
        return enrolment.facts.id or "box-7", enrolment.facts.name


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def at(machine: Machine, body, enroller: Enroller | None = None) -> Enroller:  # type: ignore[no-untyped-def]
    """Run body(service) while a server is there whose code the machine has."""
    enroller = enroller or Enroller()

    async def with_code(service: Service, port: int) -> None:
        service.enroller = enroller
        machine.code = make_code(f"http://127.0.0.1:{port}", keys.fingerprint(service.key.public), SECRET)
        await body(service, port)

    serving(machine.directory, with_code)
    return enroller


def test_a_fresh_machine_becomes_a_known_one(machine: Machine) -> None:
    async def body(service: Service, port: int) -> None:
        done = await machine.enroll("--name", "Till 3", "--tag", "site=berlin", "--tag", "till")
        assert done.code == 0, done
        assert done.err == ""
        assert done.out.splitlines() == [
            f"This machine is known as box-7 (Till 3) at ws://127.0.0.1:{port}",
            f"Key pair: {machine.identity}, made",
            f"Configuration: {machine.config}, written",
            f"next: rport --config {machine.config}",
        ]
        assert machine.written() == {
            "server": f"http://127.0.0.1:{port}",
            "fingerprint": keys.fingerprint(service.key.public),
            "identity": str(machine.identity),
            "tag": ["site=berlin", "till"],
            "id": "box-7",
            "name": "Till 3",
        }
        for path in (machine.config, machine.identity):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await machine.rport("config", "check", str(machine.config))).code == 0

        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rport.client", "--config", str(machine.config), "--allow-root"
        )
        while not len(service.registry):
            await asyncio.sleep(0.01)
        process.terminate()
        assert await process.wait() == 0

    (one,) = at(machine, body).seen
    assert one.public_key == keys.load(machine.identity).public
    assert (one.facts.name, one.facts.tags, one.facts.os) == ("Till 3", ("site=berlin", "till"), "linux")
    assert SECRET not in machine.config.read_text()


def test_twice_is_once(machine: Machine) -> None:
    async def body(service: Service, port: int) -> None:
        await machine.enroll()
        before = machine.config.read_bytes(), machine.identity.read_bytes(), machine.config.stat().st_ino
        done = await machine.enroll()
        assert done.code == 0
        assert "identity, unchanged\n" in done.out
        assert "rport.toml, unchanged\n" in done.out
        assert before == (machine.config.read_bytes(), machine.identity.read_bytes(), machine.config.stat().st_ino)

    first, second = at(machine, body).seen
    assert first.public_key == second.public_key


def test_what_a_server_may_say(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(service: Service, port: int) -> None:
        server, fingerprint = f"http://127.0.0.1:{port}", keys.fingerprint(service.key.public)
        other = keys.fingerprint(bytes(32))
        nowhere = make_code(f"http://127.0.0.1:{free_port()}", other, SECRET)
        for code, exit_code, text in (
            (make_code(server, fingerprint, "wrong"), 5, "no such code, or it has expired"),
            (make_code(server, fingerprint, "busy"), 3, "the database is away; try again"),
            (
                make_code(server, other, SECRET),
                4,
                f"the server that the code is of: expected fingerprint {other}",
            ),
            (nowhere, 6, "Connection refused"),
        ):
            done = await machine.enroll(code=code)
            assert (done.code, done.out) == (exit_code, "")
            assert done.err.startswith("rport enroll: ")
            assert text in done.err
        service.enroller = None
        assert "takes no enrolments" in (await machine.enroll()).err

        def old(self: ServerSession, kind: str, message: object) -> None:
            raise ProtocolError(f"{kind!r} before hello")

        monkeypatch.setattr(ServerSession, "on_message", old)
        done = await machine.enroll()
        assert (done.code, "an older rportd, which knows no enrolments, update it" in done.err) == (6, True)

    seen = at(machine, body).seen
    assert [one.secret for one in seen] == ["wrong", "busy"]
    assert not machine.config.exists()


@pytest.mark.parametrize("answer", [("a b", ""), ("", ""), ("x" * 65, "")])
def test_an_answer_that_is_none(answer: tuple[str, str], machine: Machine) -> None:
    async def body(service: Service, port: int) -> None:
        async def enroller(enrolment: Enrolment) -> tuple[str, str]:
            return answer

        service.enroller = enroller
        done = await machine.enroll()
        assert (done.code, machine.config.exists()) == (6, False)
        assert "the server's answer: " in done.err

    at(machine, body)


def test_a_name_that_nothing_can_be_done_with_is_left_out(machine: Machine) -> None:
    async def body(service: Service, port: int) -> None:
        async def enroller(enrolment: Enrolment) -> tuple[str, str]:
            return "box", '\x1b[2J"\n\x7f' if enrolment.facts.id else " "

        service.enroller = enroller
        assert (await machine.enroll("--id", "x")).code == 0
        assert machine.written()["name"] == '?[2J"??'
        machine.config.unlink()
        assert (await machine.enroll()).code == 0
        assert "name" not in machine.written()

    at(machine, body)


def test_somebody_elses_file_is_in_the_way_before_the_code_is_used(machine: Machine) -> None:
    machine.config.parent.mkdir()

    async def body(service: Service, port: int) -> None:
        for text in ('server = "elsewhere:1"\n', 'keepalive = "5s"\n', "broken", 'sever = "x"\n'):
            machine.config.write_text(text)
            done = await machine.enroll()
            assert done.code == 1
            assert str(machine.config) in done.err
            assert machine.config.read_text() == text
        assert not enroller.seen
        assert (await machine.enroll("--force")).code == 0
        assert machine.written()["id"] == "box-7"

    enroller = Enroller()
    at(machine, body, enroller)


def test_the_same_machine_by_another_id(machine: Machine) -> None:
    async def body(service: Service, port: int) -> None:
        assert (await machine.enroll()).code == 0
        done = await machine.enroll("--id", "other")
        assert done.code == 1
        assert done.err.endswith("has the id box-7, and the server says other; --force writes that\n")
        assert (await machine.enroll("--id", "other", "--force")).code == 0
        assert machine.written()["id"] == "other"

    at(machine, body)


def test_a_file_that_sets_nothing_is_filled_in(machine: Machine) -> None:
    async def body(service: Service, port: int) -> None:
        machine.config.parent.mkdir()
        skeleton = (await machine.rport("config", "example")).out
        machine.config.write_text(skeleton)
        assert (await machine.enroll()).code == 0
        assert machine.written()["id"] == "box-7"
        assert machine.config.read_text().endswith(f"\n\n{skeleton}")
        assert (await machine.rport("config", "check", str(machine.config))).code == 0
        assert "unchanged" in (await machine.enroll()).out

    at(machine, body)


def test_the_code_from_elsewhere(machine: Machine) -> None:
    async def body(service: Service, port: int) -> None:
        (machine.directory / "code").write_text(f"{machine.code}\n")
        assert (await machine.enroll(code="@code")).code == 0
        assert (await machine.enroll(code="-", stdin=f"{machine.code}\r\nmore".encode())).code == 0
        for code, stdin in (("-", b""), ("-", b"\xff" * 9000), ("@nowhere", b""), ("rpe_x", b"")):
            done = await machine.enroll(code=code, stdin=stdin)
            assert (done.code, done.err.count("\n")) == (1, 1)

    assert len(at(machine, body).seen) == 2


def test_no_file(machine: Machine) -> None:
    async def body(service: Service, port: int) -> None:
        done = await machine.enroll(config="none")
        assert done.code == 0
        head, _, rest = done.out.partition("Configuration, written nowhere:\n\n")
        assert tomllib.loads(rest.rpartition("next: ")[0])["id"] == "box-7"
        assert f"Key pair: {machine.identity}, made" in head

    at(machine, body)
    assert not machine.config.exists()


def test_a_file_that_cannot_be_written_yet(machine: Machine) -> None:
    async def body(service: Service, port: int) -> None:
        machine.config.parent.write_text("")
        done = await machine.enroll()
        assert done.code == 1
        assert "the machine is known now: mend that, and type the same again" in done.err
        machine.config.parent.unlink()
        assert (await machine.enroll()).code == 0
        assert machine.written()["id"] == "box-7"

    at(machine, body)


def test_a_key_that_is_there_is_used_and_one_that_is_none_is_not(machine: Machine) -> None:
    async def body(service: Service, port: int) -> None:
        assert (await machine.rport("key", str(machine.identity))).code == 0
        key = machine.identity.read_bytes()
        assert "identity, unchanged" in (await machine.enroll()).out
        assert machine.identity.read_bytes() == key
        machine.identity.write_text("something else\n")
        done = await machine.enroll()
        assert (done.code, "is damaged" in done.err) == (1, True)

    assert len(at(machine, body).seen) == 1


def test_what_the_connection_needs_is_kept(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was given, but for paths, which are good from everywhere."""
    monkeypatch.chdir(machine.directory)
    monkeypatch.setenv("RPORT_TLS_CERT", "cert.pem")
    monkeypatch.setenv("RPORT_TLS_KEY", "key.pem")
    places: list[Place] = []
    monkeypatch.setattr("rport.client.enroll.run", lambda _, work: work.close() or 6)
    monkeypatch.setattr("rport.client.enroll.Place.find", lambda *words: places.append(FIND(*words)) or places[0])
    code = make_code("https://[2001:db8::1]:8443/way", keys.fingerprint(bytes(32)), SECRET)
    (machine.directory / "login").write_text("http://u:p@proxy:1")
    (machine.directory / "login").chmod(0o600)
    words = (
        *("--config", str(machine.config), "--state-dir", "state", "--proxy", "@login", "--header", 'X: a "b" \\c'),
        *("--header", "Y: é", "--tls-ca", "ca.pem", "--tls-insecure", "--hostname", "h", "--tls-server-name", "n"),
    )
    assert enroll_command([*words, code]) == 6
    assert places[0].write("box", "B\u00fcro") == "written"
    here = str(machine.directory)
    assert machine.written() == {
        "server": "https://[2001:db8::1]:8443/way",
        "fingerprint": keys.fingerprint(bytes(32)),
        "identity": f"{here}/state/identity",
        "proxy": f"@{here}/login",
        "header": ['X: a "b" \\c', "Y: é"],
        "hostname": "h",
        "tls-ca": f"{here}/ca.pem",
        "tls-cert": f"{here}/cert.pem",
        "tls-key": f"{here}/key.pem",
        "tls-server-name": "n",
        "tls-insecure": True,
        "id": "box",
        "name": "B\u00fcro",
    }
    again = enroll_command([*words, code])
    assert (again, places[1].same, places[1].write("box", "")) == (6, True, "unchanged")


FIND = Place.find


# Directories of its own in the place of the machine's.
ELSEWHERE = """
mkdir -p "$0/etc" "$0/lib" && cp /etc/passwd /etc/group /etc/hosts /etc/nsswitch.conf "$0/etc" &&
mount --bind "$0/etc" /etc && mount --bind "$0/lib" /var/lib && exec "$@"
"""


def test_roots_is_the_services(machine: Machine) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, and unshare")
    image = machine.directory / "image"
    wrap = ("unshare", "--mount", "sh", "-c", ELSEWHERE, str(image))
    image.mkdir()
    if subprocess.run([*wrap, "true"], capture_output=True).returncode:
        pytest.skip("no rights for a mount namespace")
    state = image / "lib" / "rport"
    state.mkdir()
    os.chown(state, 4321, 4322)  # as `service install` leaves it

    async def body(service: Service, port: int) -> None:
        done = await machine.rport("enroll", machine.code, wrap=wrap)
        assert done.code == 0, done
        assert "/var/lib/rport/identity, made" in done.out
        assert "/etc/rport/rport.toml, written\nnext: rport service install --now\n" in done.out
        config, identity = image / "etc" / "rport" / "rport.toml", (state / "identity").stat()
        assert tomllib.loads(config.read_text())["identity"] == "/var/lib/rport/identity"
        assert (identity.st_uid, identity.st_gid, stat.S_IMODE(identity.st_mode)) == (4321, 4322, 0o600)
        assert stat.S_IMODE(config.parent.stat().st_mode) == 0o755
        assert stat.S_IMODE(config.stat().st_mode) == 0o600

        config.write_text("# a skeleton\n")
        config.chmod(0o640)
        os.chown(config, 0, 4322)
        assert "written" in (await machine.rport("enroll", machine.code, wrap=wrap)).out
        assert (config.stat().st_gid, stat.S_IMODE(config.stat().st_mode)) == (4322, 0o640)
        assert config.read_text().endswith("\n\n# a skeleton\n")

    at(machine, body)


@pytest.mark.parametrize(
    ("unit", "said"), [(__file__, "systemctl enable --now rport"), ("/none", "rport service install --now")]
)
def test_a_packages_unit_is_only_started(
    unit: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Program, "packaged", lambda self, kind: unit)
    _advise(Place("/etc/rport/rport.toml", True, []))
    assert capsys.readouterr().out == f"next: {said}\n"


def test_a_users_is_his_own(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = machine.directory / "home"
    for name in ("RPORT_CONFIG", "RPORT_STATE_DIR", "STATE_DIRECTORY", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)

    async def body(service: Service, port: int) -> None:
        assert await asyncio.to_thread(enroll_command, [machine.code]) == 0

    at(machine, body)
    config, identity = home / ".config/rport/rport.toml", home / ".local/state/rport/identity"
    assert f"Configuration: {config}, written\nnext: rport; " in capsys.readouterr().out
    assert tomllib.loads(config.read_text())["identity"] == str(identity)
    assert identity.exists()


def test_usage(machine: Machine) -> None:
    async def body() -> None:
        for argv, text in (
            (["enroll"], "give the code, @FILE, or - for the input"),
            (["enroll", "a", "b"], "unexpected argument 'b'"),
            (["enroll", "--auth", "a:b", "c"], "unknown option --auth"),
            (["enroll", "--name", "\n", "c"], "rport enroll: this is no enrolment code"),
        ):
            done = await machine.rport(*argv)
            assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
            assert text in done.err
        code = make_code("http://h", keys.fingerprint(bytes(32)), SECRET)
        for argv, text in ((["--name", "\n"], "--name: "), (["--id", "-"], "--id: "), (["--tag", "a b"], "--tag: ")):
            done = await machine.enroll(*argv, code=code)
            assert (done.code, done.err.startswith(f"rport enroll: {text}")) == (1, True)
        done = await machine.enroll(code=make_code("ftp://h", keys.fingerprint(bytes(32)), SECRET))
        assert "the scheme must be http, https, ws or wss" in done.err

    asyncio.run(body())
    assert not machine.state.exists()
