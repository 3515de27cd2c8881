"""A systemd that runs, in a container with this machine's programs and a network of its own; root is needed."""

import contextlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.neighbours import tool
from tests.support.programs import until

TREE = Path(__file__).parent.parent.parent
# Where the container has the tree, what it is installed with, and Python, which may well be in somebody's home.
HERE, SITE, PYTHON = "/opt/rport", "/opt/site", "/opt/python"

# Everything that is written goes to a tmpfs above this machine's files. /etc/machine-id must be the container's own.
_BOOT = """
set -e
for group in $GROUPS_MADE; do echo $$ > "$group/cgroup.procs"; done
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
rm -f "$1/root/etc/machine-id"
cd "$1/root/etc/systemd/system"
for unit in systemd-networkd-wait-online NetworkManager-wait-online; do ln -sf /dev/null $unit.service; done
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --directory="$1/root" --machine=rport-test \
    $BINDS --boot systemd.unit=basic.target
"""


class Booted:
    """Skips the test where no such container can be had. `tree`: another system's files, instead of this machine's."""

    def __init__(self, directory: Path, tree: Path = Path("/")) -> None:
        tool("systemd-nspawn")
        if os.geteuid() != 0:
            pytest.skip("only root can boot a container")
        directory.mkdir()
        self._groups = [group for group in map(_own_group, ("unified", "systemd", "")) if group is not None]
        ours = {HERE: TREE, SITE: sysconfig.get_path("purelib"), PYTHON: sys.base_prefix}
        binds = ours if tree == Path("/") else {}
        self._process = subprocess.Popen(
            # the first process of a namespace: with it all in there ends, whatever becomes of the test
            [
                *(tool("setpriv"), "--pdeathsig", "KILL"),
                *(tool("unshare"), "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"),
                *("sh", "-c", _BOOT, "sh", directory, tree),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "GROUPS_MADE": " ".join(self._groups),
                "BINDS": " ".join(f"--bind-ro={there}:{here}" for here, there in binds.items()),
            },
            text=True,
        )
        try:
            self.leader = until(self._find_leader, "systemd runs")
            until(lambda: self.run("systemctl", "is-active", "basic.target").stdout == "active\n", "it has booted")
        except AssertionError as error:  # of the machine that the tests run on, not of what they test
            self.close()
            pytest.skip(f"no container boots here: {error}")
        except BaseException:
            self.close()
            raise

    def _find_leader(self) -> int | None:
        if self._process.poll() is not None:
            assert self._process.stdout is not None
            pytest.skip(f"no container can be booted here: {self._process.stdout.read().strip()[-200:]}")
        with contextlib.suppress(OSError):  # one that has ended meanwhile
            return next(
                (pid for child in _children(self._process.pid) for pid in _children(child) if _is_first(pid)), None
            )
        return None

    def run(self, *argv: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """A command inside."""
        enter = ["nsenter", f"--target={self.leader}", "--all", "--root", "--wd"]
        return subprocess.run([*enter, *argv], capture_output=True, text=True, check=check, stdin=subprocess.DEVNULL)

    def put_programs(self) -> None:
        """Into /usr/local/bin, as a package would."""
        python = f"LD_LIBRARY_PATH={PYTHON}/lib PYTHONPATH={HERE}:{SITE} exec {PYTHON}/bin/python3"
        for name, module in (("rport", "rport.client"), ("rportd", "rport.server")):
            self.write(f"/usr/local/bin/{name}", f'#!/bin/sh\n{python} -m {module} "$@"\n', "755")

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager").stdout

    def write(self, path: str, text: str, mode: str = "644") -> None:
        self.run("sh", "-c", 'printf %s "$2" >"$1" && chmod "$3" "$1"', "sh", path, text, mode, check=True)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        until(self._groups_gone, "all in it has ended")

    def _groups_gone(self) -> bool:
        for group in self._groups:
            for directory, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
        return not any(map(os.path.exists, self._groups))


def _children(pid: int) -> list[int]:
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _is_first(pid: int) -> bool:
    """Of its namespace, and its name says that it is no longer the one that makes the container."""
    return Path(f"/proc/{pid}/comm").read_text() == "systemd\n"


def _own_group(hierarchy: str) -> str | None:
    """A new control group below ours, since systemd makes groups beside the one that it is started in."""
    mount = Path("/sys/fs/cgroup", hierarchy)
    name = "name=systemd" if hierarchy == "systemd" else ""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == name and (mount / "cgroup.procs").exists():
            group = mount / path.lstrip("/") / f"rport-test-{os.getpid()}"
            with contextlib.suppress(OSError):
                group.mkdir()
                return str(group)
    return None
