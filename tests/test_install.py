"""`service install|uninstall|status` on images, that is below a directory; tests/e2e/test_service.py has a systemd."""

import os
import plistlib
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rport import install
from rport.client.options import TABLE as CLIENT
from rport.config import Table, check
from rport.install.units import PROGRAMS, quoted, service_unit, socket_unit
from rport.server.options import TABLE as SERVER
from rport.server.settings import build
from tests.support.neighbours import tool

BOTH = pytest.mark.parametrize("table", [CLIENT, SERVER], ids=["rport", "rportd"])
EXPOSURE_MAX = 20  # tenths; systemd-analyze calls this OK

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make users")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """With the programs in it, and nothing else."""
    root = tmp_path / "image"
    (root / "etc").mkdir(parents=True)
    for name in PROGRAMS:
        path = root / "usr/bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
    return root


def run(table: Table, image: Path, *argv: str) -> int:
    where = ["--exec", f"/usr/bin/{table.prog}"] if argv[0] == "install" else []
    return install.main(table, [*argv, "--root", str(image), *where])


def everything(image: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(image)): (
            path.lstat().st_mode,
            path.lstat().st_gid,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in image.rglob("*")
    }


# --- the units ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["rport", "rportd", "rportd without a socket"])
def units(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory of units of a program that is there, for a user that is there."""
    program = PROGRAMS[request.param.split()[0]]
    socket = request.param == "rportd"
    text = service_unit(program, shutil.which("true") or "/bin/true", "daemon", socket=socket)
    (tmp_path / f"{program.name}.service").write_text(text)
    if socket:
        (tmp_path / f"{program.name}.socket").write_text(socket_unit(program, "::", 8080))
    return tmp_path


def test_units_verify(units: Path) -> None:
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", *map(str, units.iterdir())], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_units_are_hardened(units: Path) -> None:
    unit = next(units.glob("*.service"))
    argv = [tool("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager"]
    done = subprocess.run([*argv, str(unit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exposure level for" in done.stdout


def test_nothing_of_a_path_is_syntax() -> None:
    assert quoted("/usr/bin/rport") == "/usr/bin/rport"
    assert quoted('/o p/%n/$x/"q"\\') == r'"/o p/%%n/$$x/\"q\"\\"'


# --- install ------------------------------------------------------------------------------------------------------


@needs_root
@BOTH
def test_install_and_uninstall(table: Table, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool("systemd-sysusers"), tool("systemctl")
    before = everything(image)
    assert run(table, image, "status") == 4
    assert run(table, image, "install") == 0
    name = table.prog
    first = capsys.readouterr().out
    for line in (
        f"user {name}: created",
        f"/etc/rport/{name}.toml: created",
        f"/etc/systemd/system/{name}.service: created",
    ):
        assert line in first.splitlines()
    after = everything(image)
    config, state = image / f"etc/rport/{name}.toml", image / f"var/lib/{name}"
    users = dict(line.split(":", 1) for line in (image / "etc/passwd").read_text().splitlines())
    uid, gid = map(int, users[name].split(":")[1:3])
    assert users[name].endswith("/nologin")
    assert (config.stat().st_mode & 0o777, config.stat().st_uid, config.stat().st_gid) == (0o640, 0, gid)
    assert (state.stat().st_mode & 0o777, state.stat().st_uid, state.stat().st_gid) == (0o700, uid, gid)
    assert stat.S_IMODE((image / "etc/rport").stat().st_mode) == 0o755
    unit = (image / f"etc/systemd/system/{name}.service").read_text()
    assert f"ExecStart=/usr/bin/{name} --config /etc/rport/{name}.toml\n" in unit
    assert (image / f"etc/systemd/system/multi-user.target.wants/{name}.service").is_symlink()
    assert run(table, image, "status") == 3
    capsys.readouterr()

    assert run(table, image, "install") == 0
    assert everything(image) == after
    said = capsys.readouterr().out.splitlines()
    assert all(line.endswith(": unchanged") for line in said[:-1])
    assert said[-1].startswith("systemd is not running here; ")

    config.write_text("# mine\n")
    assert run(table, image, "install") == 0
    assert config.read_text() == "# mine\n"
    assert run(table, image, "uninstall") == 0
    assert config.read_text() == "# mine\n"
    assert not [path for path in everything(image) if path.endswith((".service", ".socket"))]
    assert run(table, image, "uninstall", "--purge") == 0
    assert run(table, image, "uninstall", "--purge") == 0
    left = set(everything(image)) - set(before)
    assert not [path for path in left if name in path]
    assert name not in (image / "etc/passwd").read_text()


@BOTH
def test_dry_run_changes_nothing(table: Table, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(image)
    assert run(table, image, "install", "--dry-run") == 0
    assert run(table, image, "uninstall", "--purge", "--dry-run") == 0
    assert everything(image) == before
    out = capsys.readouterr().out
    assert f"user {table.prog}: would be created\n" in out
    assert f"    ExecStart=/usr/bin/{table.prog} " in out
    assert "    ProtectSystem=strict\n" in out


@needs_root
def test_the_skeleton_is_a_configuration_without_problems(image: Path) -> None:
    assert run(SERVER, image, "install") == 0
    assert check(SERVER, str(image / "etc/rport/rportd.toml"), build) == []


@needs_root
def test_the_socket_follows_the_configuration(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, socket = image / "etc/rport/rportd.toml", image / "etc/systemd/system/rportd.socket"
    assert run(SERVER, image, "install") == 0
    assert "ListenStream=0.0.0.0:8080\n" in socket.read_text()
    config.write_text('host = "::1"\nport = 99\n')
    capsys.readouterr()
    assert run(SERVER, image, "install") == 0
    assert "/etc/systemd/system/rportd.socket: updated\n" in capsys.readouterr().out
    assert "ListenStream=[::1]:99\n" in socket.read_text()
    config.write_text("prot = 1\n")
    assert run(SERVER, image, "install") == 1
    assert "rportd.toml:1: prot: unknown key; did you mean port?; see rportd config check" in capsys.readouterr().err
    config.write_text("port = 0\n")
    assert run(SERVER, image, "install") == 1
    assert "a socket unit needs a port" in capsys.readouterr().err
    assert run(SERVER, image, "install", "--no-socket") == 0
    assert not socket.exists()
    assert not (image / "etc/systemd/system/sockets.target.wants/rportd.socket").is_symlink()
    assert "rportd.socket" not in (image / "etc/systemd/system/rportd.service").read_text()


@BOTH
def test_a_package_s_unit_counts_for_status(table: Table, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = table.prog
    unit = image / f"usr/lib/systemd/system/{name}.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(service_unit(PROGRAMS[name], f"/usr/bin/{name}", name, socket=False, mark="# Of the package"))
    assert unit.read_text().startswith("# Of the package; what you want otherwise: systemctl edit")
    assert run(table, image, "status") == 3
    assert f"unit: /usr/lib/systemd/system/{name}.service\n" in capsys.readouterr().out


@needs_root
def test_units_of_others_stay(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = image / "etc/systemd/system/rportd.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/usr/bin/rportd -p 9999\n")
    before = everything(image)
    for verb in ("install", "uninstall"):
        assert run(SERVER, image, verb) == 1
        assert "/etc/systemd/system/rportd.service is not from here, and stays" in capsys.readouterr().err
    assert everything(image) == before


@needs_root
def test_a_user_that_is_there(image: Path) -> None:
    (image / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:1234:4321::/:/bin/false\n")
    assert run(SERVER, image, "install", "--user", "web") == 0
    assert "User=web\n" in (image / "etc/systemd/system/rportd.service").read_text()
    assert (image / "etc/rport/rportd.toml").stat().st_gid == 4321
    assert (image / "var/lib/rportd").stat().st_uid == 1234
    assert "rportd" not in (image / "etc/passwd").read_text()


def test_root_only_when_told(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SERVER, image, "install", "--dry-run", "--user", "root") == 1
    assert "--user root: nothing here needs root; --allow-root" in capsys.readouterr().err
    assert run(SERVER, image, "install", "--dry-run", "--user", "root", "--allow-root") == 0
    out = capsys.readouterr().out
    assert "    User=root\n" in out
    assert "    Environment=RPORT_ALLOW_ROOT=yes\n" in out


# --- what cannot be: nothing of it is syntax of a unit, or somebody else -------------------------------------------


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--exec", "rportd"], "give an absolute path"),
        (["--exec", "/nothing/rportd"], "no program is there"),
        (["--exec", "/home/rportd"], "a service sees nothing of /home"),
        (
            ["--exec", "/home/rportd"],
            "from a clone: python3 -m venv /opt/rport && /opt/rport/bin/pip install '.[",
        ),
    ],
)
def test_programs_that_a_service_cannot_start(
    argv: list[str], text: str, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image / "home").mkdir()
    (image / "home/rportd").touch(0o755)
    assert install.main(SERVER, ["install", "--dry-run", "--root", str(image), *argv]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rportd service: ")
    assert text in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("user", ["", "0", "x 0", "x\nExecStartPre=/bin/sh", "%u", "\udcff"])
def test_users_that_are_none(user: str, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SERVER, image, "install", "--dry-run", "--user", user) == 1
    assert "give a user's name" in capsys.readouterr().err


def test_root_by_another_name(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (image / "etc/passwd").write_text("rportd:x:a:b::/:\nrportd:x:0:0::/:/bin/sh\n")
    assert run(SERVER, image, "install", "--dry-run") == 1
    assert "--user rportd: this is root by another name" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a\nb", "\udcff"])
def test_programs_that_a_unit_cannot_name(name: str, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (image / "usr/bin" / name).touch(0o755)
    argv = ["install", "--dry-run", "--root", str(image), "--exec", f"/usr/bin/{name}"]
    assert install.main(SERVER, argv) == 1
    assert "a unit cannot name it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("localhost", "ListenStream=127.0.0.1:8080\n"),
        ("fe80::1%eth0", "ListenStream=[fe80::1%%eth0]:8080\n"),
        ("example.com", None),
        ("fe80::1%\\nAccept=yes", None),
    ],
)
def test_a_socket_needs_an_address(
    host: str, line: str | None, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image / "etc/rport").mkdir()
    (image / "etc/rport/rportd.toml").write_text(f'host = "{host}"\n')
    assert run(SERVER, image, "install", "--dry-run") == (line is None)
    said = capsys.readouterr()
    assert "a socket unit needs an address" in said.err if line is None else line in said.out


@needs_root
@pytest.mark.parametrize("place", ["etc/rport", "etc/systemd", "var/lib"])
def test_an_image_s_links_do_not_lead_out_of_it(
    place: str, image: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (image / place).parent.mkdir(parents=True, exist_ok=True)
    (image / place).symlink_to(victim)
    for argv in (["install"], ["uninstall", "--purge"]):
        assert run(SERVER, image, *argv) == 1
        assert "a symbolic link on the way leads out of" in capsys.readouterr().err
    assert not list(victim.iterdir())


def test_others_than_root_are_told(
    image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(SERVER, image, "install") == 1
    assert capsys.readouterr().err == (
        "rportd service: only root can do that: sudo rportd service install; --dry-run shows what it would do\n"
    )


@BOTH
@pytest.mark.parametrize("argv", [[], ["instal"], ["status", "more"], ["--bogus"]])
def test_usage_errors(table: Table, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        install.main(table, argv)
    assert caught.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


@needs_root
def test_without_systemd_the_files_are_written(
    image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """useradd makes the user then, and somebody else the links."""
    (tmp_path / "bin").mkdir()
    for name in ("useradd", "userdel"):
        (tmp_path / "bin" / name).symlink_to(tool(name))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("passwd", "group"):
        (image / "etc" / name).touch()
    assert run(CLIENT, image, "install") == 0
    out = capsys.readouterr().out
    assert "user rport: created\n" in out
    assert out.endswith("systemctl is not here; where systemd runs, type: systemctl enable --now rport.service\n")
    assert (image / "etc/systemd/system/rport.service").exists()
    assert run(CLIENT, image, "uninstall", "--purge") == 0
    assert "rport" not in (image / "etc/passwd").read_text()


@BOTH
@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
def test_elsewhere(
    table: Table, platform: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert install.main(table, ["install"]) == 1
    out = capsys.readouterr().out
    if platform == "darwin":
        plist = plistlib.loads(out[out.index("<?xml") : out.index("</plist>") + len("</plist>")].encode())
        assert plist["ProgramArguments"][1:] == ["--config", f"/etc/rport/{table.prog}.toml"]
    elif platform == "win32":
        assert f"nssm install {table.prog} " in out
    else:
        assert out.count("\n") == 1


@needs_root
def test_the_service_can_read_what_enroll_wrote(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = image / "etc/rport/rport.toml"
    config.parent.mkdir(parents=True)
    config.write_text('server = "x"\n')
    config.chmod(0o600)
    assert run(CLIENT, image, "install", "--dry-run") == 0
    assert config.stat().st_mode & 0o777 == 0o600
    assert run(CLIENT, image, "install") == 0
    status = config.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o640)
    assert status.st_gid == (image / "var/lib/rport").stat().st_gid != 0
    assert "/etc/rport/rport.toml: given to the group of the service\n" in capsys.readouterr().out
    assert run(CLIENT, image, "install") == 0
    assert "given to the group" not in capsys.readouterr().out
    for mode in (0o640, 0o644):  # its owner thought about it
        config.chmod(mode)
        os.chown(config, 0, 0)
        assert run(CLIENT, image, "install") == 0
        assert (config.stat().st_gid, config.stat().st_mode & 0o777) == (0, mode)
