"""What packages of the system do as root before the first start, in a mount namespace with accounts of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TRIAL = ["unshare", "--mount", "true"]
possible = os.geteuid() == 0 and shutil.which("unshare") is not None and subprocess.run(TRIAL).returncode == 0
pytestmark = pytest.mark.skipif(not possible, reason="needs root, and rights for a mount namespace")

SCRIPT = Path(__file__).parents[1] / "wheels/system/user.sh"
VALUES = {"@NAME@": "rportx", "@TITLE@": "Some service"}
# /etc is a copy: useradd replaces the files of accounts.
NAMESPACE = 'mount -t tmpfs none "$1" && cp -a /etc "$1/etc" && mount --bind "$1/etc" /etc && cd "$2" && eval "$3"'


def tried(at: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """`ready` when these commands went before it; prints owners and modes of configuration and state."""
    config, state, private = at / "rportx.toml", at / "state", at / "private"
    config.write_text("")
    config.chmod(0o640)
    private.mkdir()
    text = SCRIPT.read_text()
    for name, value in (VALUES | {"@CONFIG@": str(config), "@STATE@": str(state)}).items():
        text = text.replace(name, value)
    (at / "script").write_text(f"{text}\nready\n")
    shown = "stat -L -c '%a %U %G' rportx.toml state"
    commands = " && ".join([*before, "sh script", shown])
    words = ["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", str(private), str(at), commands]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def outcome(at: Path, *before: str) -> list[str]:
    done = tried(at, *before)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("before", ["true", "groupadd rportx"])
def test_a_user_is_made_also_where_his_group_is_there(tmp_path: Path, before: str) -> None:
    assert outcome(tmp_path, before) == ["640 root rportx", "700 rportx rportx"]


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    assert outcome(tmp_path, "sh script", "chmod 600 rportx.toml") == ["600 root rportx", "700 rportx rportx"]


def test_a_file_that_is_somebodys_stays_his(tmp_path: Path) -> None:
    """Also behind a link, which is root's own."""
    theirs = ("echo > theirs", "chmod 600 theirs", "chown nobody theirs", "ln -sf theirs rportx.toml")
    assert outcome(tmp_path, *theirs) == ["600 nobody root", "700 rportx rportx"]


def test_a_user_whose_group_is_shared_gets_nothing(tmp_path: Path) -> None:
    done = tried(tmp_path, "useradd --gid users rportx")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "rportx: there is a user rportx already, of the group users, which would read its secrets"
    )
    assert (tmp_path / "rportx.toml").group() == "root"
