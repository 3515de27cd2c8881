"""Scripts of shells: no mistake that shellcheck knows is in them or what they source, and `--help` works."""

import subprocess
from pathlib import Path

import pytest

from tests.support.lint import clean

ROOT = Path(__file__).parents[1]
SCRIPTS = [
    path
    for folder in (".ci", "ci", "wheels")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))
]
WORDS = ("--external-sources", "--source-path=SCRIPTDIR", "--source-path=.", "--severity=warning")


def test_shellcheck_has_no_complaint() -> None:
    clean("shellcheck", *WORDS, *SCRIPTS)


def test_a_mistake_is_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("#!/bin/sh\ncd $1\nrm *\n")
    with pytest.raises(AssertionError):
        clean("shellcheck", *WORDS, bad)


# Those whose options are not Python's own affair, and which have no environment to set up first.
HELPFUL = ("audit", "docs", "image", "install-docs", "lint", "lock", "openapi", "pages", "release", "sanitize", "test",
           "old-python", "packages", "standalone")  # fmt: skip


@pytest.mark.parametrize("name", HELPFUL)
def test_help_is_told_from_any_directory_and_nothing_is_done(name: str) -> None:
    (script,) = [path for path in SCRIPTS if path.name == name]
    done = subprocess.run([f"./{name}", "--help"], cwd=script.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
