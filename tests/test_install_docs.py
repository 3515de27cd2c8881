"""docs/install.md, as far as that costs nothing; `ci/install-docs` types its commands."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from rport import __version__
from tests.support.installing import PAGE, blocks

ROOT = PAGE.parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BLOCKS = [
    pytest.param(text, id=f"{heading}-{n}") for heading, texts in blocks().items() for n, text in enumerate(texts)
]
every_block = pytest.mark.parametrize("block", BLOCKS)
# What a release has in dist/ but wheels, whose names nobody types: by wheels/packages, standalone and build.
MADE = {
    f"{name}{rest}"
    for name in ("rport", "rportd")
    for rest in (f"_{__version__}-1_amd64.deb", f"-{__version__}-1.x86_64.rpm", f"-{__version__}-linux-x86_64.tar.gz")
} | {f"rport-{__version__}.tar.gz", f"rport-{__version__}-armv7l-dependencies.tar.gz"}
OTHERS = {"apk", "apt", "dnf", "docker", "ln", "pipx", "python3", "sha256sum", "tar", "uv"}


@every_block
def test_commands_parse(block: str) -> None:
    for shell in filter(shutil.which, ("bash", "dash")):
        done = subprocess.run([shell, "-n"], input=block, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@every_block
def test_programs_are_ours_or_the_systems(block: str) -> None:
    first = {line.removeprefix("sudo ").split()[0].rpartition("/")[2] for line in block.splitlines()}
    assert first <= {*PROJECT["scripts"], *OTHERS, "pip"}


@every_block
def test_files_are_what_a_release_has(block: str) -> None:
    assert set(re.findall(r"\brportd?[-_]\d[\w.+-]*\.(?:deb|rpm|tar\.gz)", block)) <= MADE


def test_every_file_of_a_release_but_the_sums_is_told() -> None:
    assert set(re.findall(r"\brportd?[-_]\d[\w.+-]*\.(?:deb|rpm|tar\.gz)", PAGE.read_text())) == MADE


def test_the_version_is_the_present_one() -> None:
    of_ours = r"\brportd?(?:\[\w+\])?(?:[-_:]|==)(\d+(?:\.\d+|(?:a|b|rc|\.post|\.dev)\d+)*)"
    assert set(re.findall(of_ours, PAGE.read_text())) == {__version__}


def test_what_is_asked_of_pip_is_there() -> None:
    asked = re.findall(r"rport(\[\w+\])?==(\S+?)['\s]", PAGE.read_text())
    assert {version for _, version in asked} == {__version__}
    assert {extra.strip("[]") for extra, _ in asked if extra} <= set(PROJECT["optional-dependencies"])


def test_what_is_typed_is_on_the_page() -> None:
    """`ci/install-docs` asks for blocks by heading."""
    script = Path(ROOT / "ci/install-docs").read_text()
    asked = re.findall(r'type_(?:in_root|at_home) "([^"]+)"(?: (\d))?', script)
    assert len(asked) >= 5
    for heading, number in asked:
        assert len(blocks()[heading]) >= int(number or 1)
