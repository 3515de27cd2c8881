"""booted.py TREE RPORT.deb RPORTD.deb RPORTD-NEXT.deb: the packages in a Debian that has booted, with its own systemd.

TREE: the files of one, which stay as they are. The last package is rportd of a higher version. Prints a line for each
step, and the journal where one fails. The units forbid nearly everything: here it is seen that the services can work.
"""

import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.booted import Booted
from tests.support.programs import until


class Machine:
    """Commands in it."""

    def __init__(self, booted: Booted) -> None:
        self.booted = booted

    def type(self, line: str, code: int = 0) -> str:
        done = self.booted.run("sh", "-c", line)
        assert done.returncode == code, (
            f"{line}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.booted.journal()}"
        )
        return done.stdout.strip()

    def shown(self, unit: str, name: str) -> str:
        return self.type(f"systemctl show --property={name} --value {unit}")

    def put(self, package: str, to: str) -> None:
        """A file of ours."""
        Path(f"/proc/{self.booted.leader}/root{to}").write_bytes(Path(package).read_bytes())


def ok(step: str) -> None:
    print(f"ok  {step}")


def prove(machine: Machine, rport: str, rportd: str, following: str) -> None:
    for package, to in ((rport, "/var/rport.deb"), (rportd, "/var/rportd.deb"), (following, "/var/next.deb")):
        machine.put(package, to)
    installs(machine)
    serves(machine)
    connects(machine)
    upgrades(machine)
    is_purged(machine)
    print("5 steps")


def installs(machine: Machine) -> None:
    machine.type("dpkg --install /var/rportd.deb /var/rport.deb")
    for name in ("rport", "rportd"):
        assert machine.shown(name, "ActiveState") == "inactive"
        assert machine.type(f"systemctl is-enabled {name} || true") == "disabled"
        assert f"unit: /usr/lib/systemd/system/{name}.service" in machine.type(f"{name} service status", 3)
    ok("installed; neither starts unasked")


def serves(machine: Machine) -> None:
    machine.type("systemctl enable --now rportd")
    pid = machine.shown("rportd", "MainPID")
    facts = dict(line.split(":\t", 1) for line in machine.type(f"cat /proc/{pid}/status").splitlines() if ":\t" in line)
    assert facts["Uid"].split()[0] == machine.type("id -u rportd") != "0", facts["Uid"]
    assert (facts["CapEff"], facts["NoNewPrivs"], facts["Seccomp"]) == (f"{1 << 10:016x}", "1", "2")
    assert machine.type("stat -c '%a %U' /var/lib/rportd/key") == "600 rportd"
    ok("the unit starts rportd as the user rportd, with one capability")


def connects(machine: Machine) -> None:
    """A tunnel on a port that is root's elsewhere."""
    machine.type("""printf 'server = "127.0.0.1:8080"\\nremotes = ["443:22"]\\n' >/etc/rport/rport.toml""")
    machine.type("systemctl enable --now rport")
    until(lambda: machine.shown("rport", "StatusText") == "Connected to ws://127.0.0.1:8080", "the client is connected")
    until(lambda: machine.shown("rportd", "StatusText") == "Serving, 1 session", "the server says so")
    until(lambda: ":443 " in machine.type("ss -ltn"), "the tunnel's port is open")
    client = machine.type(f"stat -c %U /proc/{machine.shown('rport', 'MainPID')}")
    assert client == "rport", client
    ok("the unit starts rport as the user rport; it connects, and its tunnel listens on 443")


def upgrades(machine: Machine) -> None:
    pid = machine.shown("rportd", "MainPID")
    machine.type("systemctl reload rportd rport")
    until(lambda: machine.booted.journal().count("Reload: no change") == 2, "both read their configuration again")
    assert machine.shown("rportd", "MainPID") == pid
    fingerprint = machine.type("cat /var/lib/rportd/key | sha256sum")
    machine.type("echo '# mine' >>/etc/rport/rportd.toml; dpkg --force-confold --install /var/next.deb </dev/null")
    until(lambda: machine.shown("rportd", "MainPID") not in ("0", pid), "an upgrade restarts it")
    until(lambda: machine.shown("rportd", "StatusText") == "Serving, 1 session", "the client is back")
    assert machine.type("cat /var/lib/rportd/key | sha256sum") == fingerprint
    machine.type("grep -x '# mine' /etc/rport/rportd.toml")
    ok("reload; an upgrade restarts what runs, the client is back, key and configuration are the same")


def is_purged(machine: Machine) -> None:
    machine.type("dpkg --remove rport rportd")
    for name in ("rport", "rportd"):
        assert machine.shown(name, "ActiveState") == "inactive"
    machine.type("test -e /etc/rport/rport.toml -a -e /var/lib/rportd/key -a -e /var/lib/rport")
    machine.type("dpkg --purge rport rportd")
    machine.type(
        "test ! -e /etc/rport/rport.toml -a ! -e /etc/rport/rportd.toml -a ! -e /var/lib/rportd -a ! -e /var/lib/rport"
    )
    assert "rport" not in machine.type("systemctl list-unit-files; systemctl --failed; ls /etc/systemd/system/*.wants")
    ok("removed: both have stopped; purged: nothing of them is left to systemd")


def main() -> int:
    tree, *packages = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        try:
            booted = Booted(Path(scratch) / "machine", Path(tree).resolve())
        except pytest.skip.Exception as reason:
            print(f"no machine can be booted here: {reason}")
            return 1
        try:
            prove(Machine(booted), *packages)
        except AssertionError as error:
            print(f"FAILED  {error}\n{booted.journal()}")
            return 1
        finally:
            booted.close()
    return 0


sys.exit(main())
