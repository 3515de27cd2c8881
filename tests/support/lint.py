"""Programs that ci/lint gets, since tests have no network."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "build/tools/lint/bin"


def clean(name: str, *argv: str | Path) -> None:
    """The program finds nothing to complain of. Skips the test where it is not there."""
    program = TOOLS / name
    if not program.exists():
        pytest.skip(f"{name} is not there: run ci/lint")
    done = subprocess.run([program, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
