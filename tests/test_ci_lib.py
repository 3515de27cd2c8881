"""What the scripts share."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "ci/lib.sh"


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg")
def test_packages_of_what_comes_before_a_release_sort_below_it(tmp_path: Path) -> None:
    def packaged(version: str) -> str:
        (tmp_path / "rport").mkdir(exist_ok=True)
        (tmp_path / "rport/__init__.py").write_text(f'__version__ = "{version}"\n')
        script = f'. "{LIBRARY}"; cd "{tmp_path}"; package_version'
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.strip()

    versions = ("0.2.0.dev1", "0.2.0a2", "0.2.0b1", "0.2.0rc1.dev3", "0.2.0rc1", "0.2.0rc10", "0.2.0")
    order = [packaged(version) for version in versions]
    assert order[-1] == "0.2.0"
    for lower, higher in itertools.pairwise(order):
        subprocess.run(["dpkg", "--compare-versions", f"{lower}-1", "lt", f"{higher}-1"], check=True)
