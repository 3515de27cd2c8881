"""What shells are offered: quickly, from a file that is ten seconds old at most, and never with a word of trouble."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.api_double import client, page, problem
from tests.support.ctl import Ctl
from tests.support.neighbours import tool
from tests.test_pages import ROOT, complete_in_bash

LIST = ("GET", "/clients")


def offered(ctl: Ctl, *argv: str) -> list[str]:
    done = ctl("__complete", *argv)
    assert (done.code, done.err) == (0, "")
    return done.out.split()


def test_names_and_ids_of_namesakes(ctl: Ctl) -> None:
    ctl.double.answers[LIST] = page(
        client("aa", "web-1"), client("bb", "db"), client("c1", "twin"), client("c2", "twin"), client("dd", "a b"),
        client("ee", "-x"), client("ff", ""), client("gg", "$(reboot)"),
    )  # fmt: skip
    assert offered(ctl, "clients", "") == ["c1", "c2", "db", "dd", "ee", "ff", "gg", "web-1"]
    assert offered(ctl, "clients", "we") == ["web-1"]
    assert offered(ctl, "clients", "a") == ["aa"]  # an id, by who begins with one
    assert offered(ctl, "clients", "d") == ["db", "dd"]
    assert offered(ctl, "clients") == ["c1", "c2", "db", "dd", "ee", "ff", "gg", "web-1"]


def test_the_server_is_asked_every_ten_seconds(ctl: Ctl, tmp_path: Path) -> None:
    ctl.double.answers[LIST] = page(client("aa", "web-1"))
    for _ in range(3):
        assert offered(ctl, "clients", "w") == ["web-1"]
    assert len(ctl.double.asked) == 1
    path = tmp_path / "cache/rport/names.json"
    assert path.stat().st_mode & 0o077 == 0
    os.utime(path, (time.time() - 11, time.time() - 11))
    ctl.double.answers[LIST] = page(client("bb", "web-2"))
    assert offered(ctl, "clients", "w") == ["web-2"]
    assert len(ctl.double.asked) == 2


def test_what_another_server_said_is_not_used(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    ctl.double.answers[LIST] = page(client("aa", "web-1"))
    assert offered(ctl, "clients") == ["web-1"]
    monkeypatch.setenv("RPORT_URL", f"http://localhost:{ctl.double.port}")
    ctl.double.answers[LIST] = page(client("bb", "web-2"))
    assert offered(ctl, "clients") == ["web-2"]


def test_silence_in_trouble(ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctl.double.answers[LIST] = problem(401, "log in")
    assert offered(ctl, "clients", "w") == []
    for text in ("[]", "{", '{"server": 1}', "\xff"):
        (tmp_path / "cache/rport").mkdir(parents=True, exist_ok=True)
        (tmp_path / "cache/rport/names.json").write_text(text, encoding="latin-1")
        assert offered(ctl, "clients", "w") == []
    monkeypatch.setenv("RPORT_URL", "http://127.0.0.1:1")
    assert offered(ctl, "clients", "w") == []
    monkeypatch.delenv("RPORT_URL")
    assert offered(ctl, "clients", "w") == []
    monkeypatch.setenv("RPORT_URL", "ftp://x")
    assert offered(ctl, "clients", "w") == []
    assert offered(ctl) == offered(ctl, "nonsense", "x") == []


def test_profiles(ctl: Ctl) -> None:
    ctl.double.answers["GET", "/status"] = (200, {})
    ctl("login", "--anonymous", "--profile", "lab", ctl.double.url)
    assert offered(ctl, "profiles", "l") == ["lab"]


@pytest.fixture
def shell(ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with machines, and rportctl in PATH."""
    ctl.double.answers[LIST] = page(client("aa", "web-1"), client("bb", "web-2"), client("cc", "db"))
    monkeypatch.setenv("PATH", f"{ROOT}/.venv/bin:{os.environ['PATH']}")


@pytest.mark.usefixtures("shell")
def test_bash() -> None:
    assert complete_in_bash("rportctl", "ss") == {"ssh"}
    assert {"open", "list", "close"} <= complete_in_bash("rportctl", "tunnel", "")
    assert complete_in_bash("rportctl", "ssh", "we") == {"web-1", "web-2"}
    assert complete_in_bash("rportctl", "tunnel", "open", "d") == {"db"}
    assert complete_in_bash("rportctl", "clients", "--state", "dis") == {"disconnected"}


@pytest.mark.usefixtures("shell")
def test_fish() -> None:
    script = f"source {ROOT}/share/fish/vendor_completions.d/rportctl.fish; complete -C '%s'"
    for line, wanted in (("rportctl ssh we", {"web-1", "web-2"}), ("rportctl tunn", {"tunnel"})):
        done = subprocess.run([tool("fish"), "--no-config", "-c", script % line], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert {word.split("\t")[0] for word in done.stdout.splitlines()} == wanted


@pytest.mark.usefixtures("shell")
def test_zsh() -> None:
    """The function that fills in names, as the completion system calls it."""
    folder = ROOT / "share/zsh/site-functions"
    subprocess.run([tool("zsh"), "-n", folder / "_rportctl"], check=True)
    script = (
        f"fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; print -r -- $_comps[rportctl]; "
        "compadd() { print -r -- $found }; compdef() { : }; _arguments() { : }; "
        f"source {folder}/_rportctl; PREFIX=we; _rportctl_clients"
    )
    done = subprocess.run([tool("zsh"), "-fc", script], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["_rportctl", "web-1 web-2"], done.stderr


def test_the_scripts_can_be_printed(ctl: Ctl) -> None:
    for shell, path in (
        ("bash", "share/bash-completion/completions/rportctl"),
        ("zsh", "share/zsh/site-functions/_rportctl"),
        ("fish", "share/fish/vendor_completions.d/rportctl.fish"),
    ):
        assert ctl("completion", shell).out == (ROOT / path).read_text()
    assert json.loads(ctl("completion", "bash", "--json").out)["shell"] == "bash"
    assert ctl("completion", "tcsh").code == 1
