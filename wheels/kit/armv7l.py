"""The client's dependencies that have no wheels for 32-bit ARM: PyNaCl with its libsodium, cffi and msgpack.

From their own source distributions, by the compiler that makes our wheels.
"""

import re
import shutil
import sys
import tarfile
from pathlib import Path

from . import cross, make, pythons, zig
from .debian import Depot
from .shell import ROOT, Failure, commit_time, run, say
from .targets import OLDEST, PLATFORMS, PYTHONS, Target
from .verify import consistent

ARM = next(platform for platform in PLATFORMS if platform.arch == "armv7l")
HOST = "arm-linux-gnueabihf"
# Exact versions, those of ci/locks/frozen.txt. PyNaCl keeps to the limited API, so one wheel of it serves all.
PYNACL, CFFI, MSGPACK = "pynacl==1.6.2", "cffi==2.1.1", "msgpack==1.2.4"


def dependencies(out: Path) -> None:
    """All of them into directory `out`, each looked at by auditwheel. Raises Failure."""
    work = make.work_directory("armv7l")
    out.mkdir(parents=True, exist_ok=True)
    sodium = libsodium(unpacked(PYNACL, work), work)
    wheel(PYNACL, OLDEST, work, out, {**sodium, "SODIUM_INSTALL": "system"})
    ffi = libffi(work)
    for python in PYTHONS:
        try:
            pythons.headers(python, ARM)
        except Failure as error:
            say(f"armv7l, Python {python}: {error}")
            continue
        wheel(CFFI, python, work, out, ffi)
        wheel(MSGPACK, python, work, out, {})


def hashed(requirement: str, work: Path) -> Path:
    """A file for pip, which takes hashes from files alone."""
    lock = (ROOT / "ci/locks/frozen.txt").read_text()
    entry = re.search(rf"(?m)^{re.escape(requirement)} .*\n( +--hash=.*\n)+", lock)
    if entry is None:
        raise Failure(f"{requirement} is not what ci/locks/frozen.txt has: set the version here to that")
    file = work / f"{requirement}.txt"
    file.write_text(entry[0])
    return file


def unpacked(requirement: str, work: Path) -> Path:
    """The source distribution."""
    at = work / requirement
    if not at.exists():
        at.mkdir()
        words = ("--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--require-hashes", "-d", at)
        run(sys.executable, "-m", "pip", "download", "-q", *words, "-r", hashed(requirement, work))
        (archive,) = at.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(at, filter="data")
    return next(path for path in at.iterdir() if path.is_dir())


def libsodium(pynacl: Path, work: Path) -> dict[str, str]:
    """PyNaCl's own, static; its tests need the processor, ours follow with the wheel."""
    source, at = pynacl / "src/libsodium", work / "sodium"
    environment = {**zig.commands(ARM, work / "bin" / ARM.tag), **zig.caches(work / "zig"), "CFLAGS": "-O2 -g0"}
    words = [f"--host={HOST}", f"--prefix={at}", "--disable-shared", "--enable-static", "--with-pic", "--disable-debug"]
    run("sh", "./configure", "-q", *words, "--disable-dependency-tracking", cwd=source, env=environment)
    run("make", "-s", "install", cwd=source, env=environment)
    return {"CFLAGS": f"-I{at}/include", "LDFLAGS": f"-L{at}/lib"}


def libffi(work: Path) -> dict[str, str]:
    """Debian's, static."""
    root = Depot("bookworm", ARM.debian).unpack("libffi-dev", needs=False)
    at = work / "ffi"
    at.mkdir()
    shutil.copy(root / f"usr/lib/{HOST}/libffi.a", at)
    return {"CFLAGS": f"-I{root}/usr/include/{HOST}", "LDFLAGS": f"-L{at}", "PKG_CONFIG": "false"}


def wheel(requirement: str, python: str, work: Path, out: Path, environment: dict[str, str]) -> None:
    source = unpacked(requirement, work)
    shutil.rmtree(source / "build", ignore_errors=True)
    target = Target(python, ARM)
    include = pythons.headers(python, ARM).at
    crossing = cross.environment(target, include, source, work, commit_time())
    at = work / f"{requirement}-{python}"
    flags = {name: environment.get(name, "") for name in ("CFLAGS", "LDFLAGS")}
    flags = {**environment, "CFLAGS": f"-O2 -g0 {flags['CFLAGS']}", "LDFLAGS": f"{flags['LDFLAGS']} -s"}
    words = ("--wheel", "--no-isolation", "--skip-dependency-check", "-o", at, source)
    run(sys.executable, "-m", "build", *words, env={**crossing, **flags})
    (made,) = at.glob("*.whl")
    if not made.name.endswith(f"-{ARM.tag}.whl"):
        raise Failure(f"{requirement}: {made.name} is not tagged {ARM.tag}")
    if requirement == PYNACL:  # it is compiled for the limited API, whatever its tag says when it is made like this
        retag = ("tags", "--remove", "--abi-tag", "abi3", made)
        run(sys.executable, "-m", "wheel", *retag, env={"SOURCE_DATE_EPOCH": commit_time()})
        (made,) = at.glob("*-abi3-*.whl")
    consistent(made, target)
    shutil.move(made, out / made.name)
    say(f"{made.name}: ok")
