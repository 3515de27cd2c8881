"""Where a wheel is tried: nothing is installed there but what is said.

A virtual environment where this machine has the Python itself; else a directory that the interpreter imports from, and
which pip fills for another Python, C library or processor.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import pythons
from .shell import CACHE, Failure, run
from .targets import Platform

GLIBC = range(17, 37)  # 2.x: what wheels may ask for; Debian 12, the oldest that runs here, has 2.36


@dataclass(frozen=True)
class Place:
    python: Path
    platform: Platform
    version: str
    directory: Path | None = None  # nothing for a virtual environment
    beside: list[Path] = field(default_factory=list)  # directories of dependencies

    @property
    def environment(self) -> dict[str, str]:
        if self.directory is None:
            return {}
        path = ":".join(map(str, [self.directory, *self.beside]))
        return {"PYTHONPATH": path, "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": ""}

    def install(self, wheel: Path, needed: Sequence[str], extra: str, links: Path | None) -> None:
        """A wheel and what it needs, from wheels only: no compiler of this machine has a say. Raises Failure."""
        if self.directory is None:
            self._pip(f"{wheel}[{extra}]" if extra else str(wheel))
            return
        self.add(needed, links)
        self._pip("--no-deps", str(wheel), into=self.directory)

    def add(self, requirements: Sequence[str], links: Path | None = None) -> None:
        """Packages; a directory with the same ones for the same interpreter is used again."""
        if self.directory is None:
            self._pip(*requirements)
            return
        name = hashlib.sha256(" ".join(sorted(requirements)).encode()).hexdigest()[:12]
        shared = CACHE / "sites" / f"{self.platform.tag}-{self.version}-{name}"
        if not (shared / "ready").exists():
            shutil.rmtree(shared, ignore_errors=True)
            self._pip(*([f"--find-links={links}"] if links else []), *requirements, into=shared)
            (shared / "ready").touch()
        self.beside.append(shared)

    def _pip(self, *words: str, into: Path | None = None) -> None:
        words = ("install", "-q", "--only-binary", ":all:", "--disable-pip-version-check", *words)
        if into is None:
            run(self.python, "-m", "pip", *words)
            return
        words += ("--no-compile", "--target", str(into), "--upgrade", "--implementation", "cp")
        words += ("--python-version", self.version, *(f"--platform={tag}" for tag in _accepted(self.platform)))
        run(sys.executable, "-m", "pip", *words)

    def run(self, *argv: str | Path, cwd: Path) -> str:
        return run(self.python, *argv, env=self.environment, cwd=cwd)

    def script(self, name: str, *argv: str, cwd: Path) -> str:
        """A console script, as pip installed it; of another directory than its interpreter's only the text will do."""
        if self.directory is None:
            return run(self.python.with_name(name), *argv, cwd=cwd)
        return self.run(self.directory / "bin" / name, *argv, cwd=cwd)


def place(version: str, platform: Platform, at: Path) -> Place:
    """A new and empty one. Raises Failure where no such Python is to be had."""
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir(parents=True)
    own = None if platform.qemu or platform.musl else _own(version)
    if own is not None:
        run(own, "-m", "venv", at / "venv")
        return Place(at / "venv/bin/python", platform, version)
    site = at / "site"
    site.mkdir()
    return Place(pythons.interpreter(version, platform), platform, version, site)


def _own(version: str) -> str | None:
    """This machine's interpreter, if it can make environments."""
    name = f"python{version}"
    try:
        done = subprocess.run([name, "-c", "import ensurepip, ssl, sqlite3, venv"], capture_output=True)
    except FileNotFoundError:
        return None
    return name if done.returncode == 0 else None


def _accepted(platform: Platform) -> list[str]:
    if platform.musl:
        return [f"musllinux_1_{minor}_{platform.arch}" for minor in (2, 1)]
    return [f"manylinux_2_{minor}_{platform.arch}" for minor in reversed(GLIBC)] + [platform.tag]


def requirements(lines: Sequence[str], platform: Platform, version: str, extra: str) -> list[str]:
    """Those of a wheel's requirements that this platform has; pip itself would look at the machine that it runs on."""
    from packaging.requirements import Requirement

    surroundings = {
        "platform_machine": platform.arch,
        "python_version": version,
        "sys_platform": "linux",
        "extra": extra,
    }
    found = []
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(surroundings):
            requirement.marker = None
            found.append(str(requirement))
    if not found:
        raise Failure("the wheel names no dependencies")
    return found
