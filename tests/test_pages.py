"""What is made of the options' tables: it is up to date, and the programs that read it take it."""

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.neighbours import tool

ROOT = Path(__file__).parent.parent
MANUALS = ["share/man/man1/rport.1", "share/man/man8/rportd.8"]


def load() -> Any:
    spec = importlib.util.spec_from_file_location("pages", ROOT / "ci/pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_pages_are_up_to_date() -> None:
    stale = [path for path, text in load().pages().items() if (ROOT / path).read_text() != text]
    assert not stale, f"run ci/pages: {stale}"


@pytest.mark.parametrize("path", MANUALS)
def test_manuals_are_sound(path: str) -> None:
    done = subprocess.run([tool("mandoc"), "-Tlint", "-Werror", ROOT / path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    shown = subprocess.run([tool("mandoc"), "-Tutf8", ROOT / path], capture_output=True, text=True, check=True).stdout
    assert "RPORT_LOG_LEVEL" in shown


def complete_in_bash(program: str, *words: str) -> set[str]:
    """What Tab offers behind these words."""
    script = f"""
source /usr/share/bash-completion/bash_completion 2>/dev/null
source {ROOT}/share/bash-completion/completions/{program}
COMP_WORDS=({" ".join(f"'{word}'" for word in (program, *words))})
COMP_CWORD={len(words)}
COMP_LINE="${{COMP_WORDS[*]}}"
COMP_POINT=${{#COMP_LINE}}
function=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function {program} '{words[-1]}' '{words[-2] if len(words) > 1 else program}'
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return set(subprocess.run([tool("bash"), "-c", script], capture_output=True, text=True).stdout.split())


def test_bash_completes() -> None:
    assert {"--tls-ca", "--tls-cert", "--tls-key"} <= complete_in_bash("rport", "--tls")
    assert {"debug"} == complete_in_bash("rportd", "--log-level", "de")
    assert "config" in complete_in_bash("rport", "con")
    assert {"--host"} <= complete_in_bash("rportd", "--ho")


@pytest.mark.parametrize("program", ["rport", "rportd"])
def test_zsh_takes_its_completions(program: str) -> None:
    folder = ROOT / "share/zsh/site-functions"
    subprocess.run([tool("zsh"), "-n", folder / f"_{program}"], check=True)
    script = f"fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; print -r -- $_comps[{program}]"
    done = subprocess.run([tool("zsh"), "-fc", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"_{program}\n", "")


@pytest.mark.parametrize("program", ["rport", "rportd"])
def test_fish_completes(program: str) -> None:
    script = f"source {ROOT}/share/fish/vendor_completions.d/{program}.fish; complete -C '{program} --log-l'"
    done = subprocess.run([tool("fish"), "--no-config", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--log-level" in done.stdout
