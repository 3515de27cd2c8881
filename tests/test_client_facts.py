"""What the client finds out about its machine."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from rport.client import facts
from rport.client.settings import Settings
from rport.facts import ADDRESSES_MAX, Facts
from tests.support.programs import Machine


def found(settings: Settings) -> Facts:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return facts.gather(settings, sock)


def test_what_the_kernel_says_and_what_the_user_says() -> None:
    own = os.uname()
    plain = found(Settings())
    assert (plain.id, plain.tags) == ("", ())
    assert (plain.name, plain.hostname) == (own.nodename, own.nodename)
    assert (plain.os, plain.kernel, plain.arch) == ("linux", own.release, own.machine)
    told = found(Settings(id="a", name="Web", tag=("x", "y", "x")))
    assert (told.id, told.name, told.tags, told.hostname) == ("a", "Web", ("x", "y"), own.nodename)
    assert Facts.from_wire(told.to_wire()) == told


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n', "Debian GNU/Linux 12 (bookworm)"),
        ("PRETTY_NAME='Alpine Linux v3.20'\r\n", "Alpine Linux v3.20"),
        ("PRETTY_NAME=Void\n", "Void"),
        ('PRETTY_NAME="a \\"b\\" \\$c"\n', 'a "b" $c'),
        ("NAME=x\n", ""),
        ("", ""),
    ],
)
def test_the_systems_own_name(text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "os-release").write_text(text)
    monkeypatch.setattr(facts, "OS_RELEASE", (str(tmp_path / "none"), str(tmp_path / "os-release")))
    assert facts.os_version() == name


def test_another_systems_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v").write_text(
        "<dict>\n<key>ProductName</key>\n\t<string>macOS</string>\n"
        "<key>ProductVersion</key>\n\t<string>14.5</string>\n</dict>\n"
    )
    monkeypatch.setattr(facts, "OS_RELEASE", ())
    monkeypatch.setattr(facts, "_MAC_VERSION", str(tmp_path / "v"))
    assert facts.os_version() == "macOS 14.5"


def test_a_file_that_is_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "os-release").write_bytes(b'PRETTY_NAME="\xff\x00\x1b"\n' + os.urandom(1 << 20))
    monkeypatch.setattr(facts, "OS_RELEASE", (str(tmp_path / "os-release"),))
    assert found(Settings()).os_version.isprintable()


def machine(*addresses: str, own: str = "127.0.0.1") -> tuple[str, ...]:
    """What a client tells of on a machine with those addresses, its way to the server beginning at `own`."""
    if shutil.which("ip") is None:
        pytest.skip("iproute2 is not installed")
    try:
        other = Machine()
    except PermissionError:
        pytest.skip("no rights for a network namespace")

    def there() -> tuple[str, ...]:
        batch = "".join(f"addr add {address} dev lo{' nodad' * (':' in address)}\n" for address in addresses)
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
        with socket.create_server((own, 0), family=socket.AF_INET6 if ":" in own else socket.AF_INET) as sock:
            return facts.addresses(sock)

    try:
        return other.run(there)
    finally:
        other.close()


ADDRESSES = ("192.0.2.7/24", "192.0.2.8/24", "10.0.0.1/8", "169.254.1.1/16", "2001:db8::7/128", "fe80::7/64")


def test_a_machine_of_its_own_has_none() -> None:
    assert machine() == ()


def test_the_addresses_of_all_interfaces() -> None:
    found = machine(*ADDRESSES)
    assert sorted(found) == ["10.0.0.1", "192.0.2.7", "192.0.2.8", "2001:db8::7"]
    assert found[-1] == "2001:db8::7"


@pytest.mark.parametrize("own", ["10.0.0.1", "2001:db8::7"])
def test_the_way_to_the_server_comes_first(own: str) -> None:
    found = machine(*ADDRESSES, own=own)
    assert found[0] == own
    assert len(set(found)) == len(found) == 4


def test_there_is_a_limit() -> None:
    assert len(machine(*(f"10.0.{n}.1/8" for n in range(250)), *(f"10.1.{n}.1/8" for n in range(250)))) == ADDRESSES_MAX


def test_a_carrier_without_an_address() -> None:
    """Behind TLS to a proxy it is one of a pair of Unix sockets."""
    near, far = socket.socketpair()
    with near, far:
        assert "" not in facts.addresses(near)
