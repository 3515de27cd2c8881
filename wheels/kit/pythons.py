"""Headers and interpreters of every Python on every platform, from Debian and, for 3.12, from Maven Central.

No Debian release has 3.12; JavaCPP's build of CPython has it, whole, for two processors.
"""

import shlex
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from . import musl
from .debian import Depot
from .shell import CACHE, Failure, run
from .targets import PLATFORMS, Platform

SUITES = {"3.11": "bookworm", "3.13": "trixie", "3.14": "sid"}
MAVEN = {"3.12": "org.bytedeco:cpython:3.12.1-1.5.10:jar:linux-"}
MAVEN_ARCHS = {"amd64": "x86_64", "arm64": "arm64"}
BASE = "3.13"  # those from Maven run with what this one asks of its system
SYSTEM = ("libc6", "libgcc-s1", "libstdc++6")  # what manylinux wheels may expect


@dataclass(frozen=True)
class Headers:
    """Where they are, and what they are called in a bill of materials."""

    at: Path
    name: str
    version: str
    purl: str


def headers(python: str, platform: Platform) -> Headers:
    """Raises Failure where there are none. They say nothing of the C library, so musl takes them as well."""
    if python in MAVEN:
        at = _maven(python, platform) / f"include/python{python}"
        _, name, version, *_ = MAVEN[python].split(":")
        return Headers(at, f"org.bytedeco:{name}", version, f"pkg:maven/org.bytedeco/{name}@{version}")
    depot = Depot(SUITES[python], platform.debian)
    package = f"libpython{python}-dev"
    version = depot.version(package)
    include = depot.unpack(package, needs=False) / "usr/include"
    at = depot.at / f"include/python{python}"
    if not at.exists():
        shutil.copytree(include / f"python{python}", at)
        (own,) = include.glob(f"*/python{python}/pyconfig.h")
        shutil.copy(own, at / "pyconfig.h")  # over one that leads to it
    return Headers(at, package, version, f"pkg:deb/debian/{package}@{version}?arch={platform.debian}")


def _maven(python: str, platform: Platform) -> Path:
    arch = MAVEN_ARCHS.get(platform.debian)
    if arch is None:
        raise Failure(f"no package with CPython {python} for {platform.arch} is known")
    at = CACHE / "maven"
    inside = at / f"{python}-{arch}"
    if not (inside / "ready").exists():
        artifact = MAVEN[python] + arch
        plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
        run("mvn", "-B", "-q", f"{plugin}:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={at}")
        (jar,) = at.glob(f"cpython-{python}.*-linux-{arch}.jar")
        with zipfile.ZipFile(jar) as archive:
            archive.extractall(inside)
        (inside / "ready").touch()
    return next(inside.glob("org/bytedeco/cpython/linux-*"))


def interpreter(python: str, platform: Platform) -> Path:
    """A command that runs it on this machine, under qemu where that is needed. Raises Failure."""
    command = CACHE / "pythons" / f"python{python}-{platform.tag}"
    if command.exists():
        return command
    if platform.musl:
        words, environment = musl.interpreter(on_musl(python, platform), platform)
    else:
        words, environment = _glibc(python, platform)
    command.parent.mkdir(parents=True, exist_ok=True)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    command.write_text(f'#!/bin/sh\n{exports}exec {shlex.join(map(str, words))} "$@"\n')
    command.chmod(0o755)
    return command


def on_musl(python: str, platform: Platform) -> Path:
    """The root that it is compiled into. Raises Failure."""
    if python not in SUITES:
        raise Failure(f"no Debian release has the source of Python {python}, to compile it on musl")
    try:
        source = Depot(SUITES[python], "amd64").source(f"python{python}")
    except Failure:
        raise Failure(f"the mirror of Debian {SUITES[python]} lacks the source of Python {python}") from None
    return musl.compiled(python, source, interpreter(python, PLATFORMS[0]), platform)


def _glibc(python: str, platform: Platform) -> tuple[list[str | Path], dict[str, str]]:
    of = BASE if python in MAVEN else python
    root = Depot(SUITES[of], platform.debian).unpack(f"python{of}", *SYSTEM, needs=True)
    home = _maven(python, platform) if python in MAVEN else root / "usr"
    program = home / f"bin/python{python}"
    program.chmod(0o755)
    libraries = f"{root}/usr/lib/{platform.triplet}:{home}:{home}/lib"
    environment = {"PYTHONHOME": str(home)}
    if platform.qemu:
        return [*musl.emulator(platform, root), "-E", f"LD_LIBRARY_PATH={libraries}", program], environment
    loader = next(root.glob("usr/lib64/ld-linux-*.so.2"), None) or next(root.glob("usr/lib/*/ld-linux-x86-64.so.2"))
    return [loader, "--library-path", libraries, program], environment


def main() -> None:
    """`python -m kit.pythons 3.11 musllinux_1_2_x86_64` prints the root of a Python on musl."""
    python, tag = sys.argv[1:]
    try:
        print(on_musl(python, next(platform for platform in PLATFORMS if platform.tag == tag)))
    except Failure as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
