"""The programs of an earlier version, compiled from git once and kept in build/earlier."""

import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build/earlier"
# Until there is a release to compare with: the oldest commit that speaks today's wire. Those before it send 16 KiB
# behind an OPEN, where 4 KiB are allowed since (EARLY_WINDOW), so that a newer peer ends the session.
FIRST = "755d2c6a21e97ffa02bd91cd969dcbea9519904d"
BUILD_SECONDS = 240  # takes 5 to 20 on an idle machine


def commit() -> str:
    """The last release before this one; FIRST where there is none. Skips the test where git does not have it."""
    tagged = _git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^")
    found = _git("rev-parse", "--verify", "--quiet", f"{tagged or FIRST}^{{commit}}")
    if not found:
        pytest.skip(f"no git, or a clone without {tagged or FIRST[:10]}: git fetch --unshallow --tags")
    return found


def _git(*words: str) -> str:
    """What it printed; nothing where it failed."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def tree(of: str) -> Path:
    """Its package `rport`, compiled for this interpreter, in a directory to import from."""
    at = KEPT / f"{of[:12]}-{sys.implementation.cache_tag}"
    if not at.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as scratch:
            _compile(of, Path(scratch) / "tree")
            os.rename(Path(scratch) / "tree", at)  # whole or not at all
    return at


def _compile(of: str, at: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", of, "rport", "setup.py", "pyproject.toml", "README.md", "LICENSE"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(at, filter="data")
    compiler = at / "cc"  # whether it is fast does not matter here, and that costs the most
    compiler.write_text(f'#!/bin/sh\nexec {sysconfig.get_config_var("CC")} "$@" -O0\n')
    compiler.chmod(0o755)
    words = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    environment = {**os.environ, "CC": str(compiler)}
    done = subprocess.run(words, cwd=at, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(at / "build")
