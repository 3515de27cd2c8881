"""Pythons on musl, compiled here from Debian's sources, since no registry has one; and the emulator.

Each is in a root as small as Alpine's: musl, busybox, and Python with OpenSSL, SQLite and zlib in it.
"""

import os
import platform as machine
import shutil
import tarfile
from pathlib import Path

from . import zig
from .debian import Depot
from .shell import CACHE, Failure, run, say
from .targets import PLATFORMS, Platform

SUITE = "bookworm"  # of the libraries
MUSL = "trixie"  # 1.2.5: 1.2.3 cannot load wheels with packed relocations, as greenlet has
# What configure cannot try: it runs nothing of what it compiles.
ANSWERS = ("ac_cv_file__dev_ptmx=yes", "ac_cv_file__dev_ptc=no", "ac_cv_buggy_getaddrinfo=no")
LEFT_OUT = "shared tests legacy engine dso aria bf camellia cast cmp cms ec2m gost idea md4 rc2 rc4 seed sm2 sm3 sm4 ts"
JOBS = f"-j{os.cpu_count()}"


def emulator(platform: Platform, root: Path) -> list[str | Path]:
    if not platform.qemu:
        return []
    if machine.machine() != "x86_64":
        raise Failure(f"{platform.arch} is emulated on x86_64 only")
    tools = Depot("bookworm", "amd64").unpack("qemu-user-static", needs=False)
    return [tools / f"usr/bin/qemu-{platform.qemu}-static", "-L", root]


def interpreter(root: Path, platform: Platform) -> tuple[list[str | Path], dict[str, str]]:
    start = emulator(platform, root) or [root / f"lib/ld-musl-{platform.arch}.so.1"]
    return [*start, root / "usr/bin/python3"], {"PYTHONHOME": str(root / "usr")}


def compiled(python: str, source: Path, native: Path, platform: Platform) -> Path:
    """The root with it; `native` is the same Python for this machine, which runs what it is compiled with."""
    root = CACHE / "musl" / f"{python}-{platform.arch}"
    if (root / "ready").exists():
        return root
    libraries = _libraries(platform)
    say(f"compiling Python {python} for musl on {platform.arch}: some minutes, once")
    shutil.rmtree(root, ignore_errors=True)
    work = _unpacked(source, root / "work")
    env = _tools(platform)
    # Another name for this machine than for the target, so nothing is run; and 3.11 takes the C library's from it.
    words = [f"--host={platform.arch}-linux-musl", "--build=x86_64-pc-linux-musl", f"--with-build-python={native}"]
    words += ["--prefix=/usr", "--disable-test-modules", "--without-ensurepip", f"--with-openssl={libraries}"]
    words += [f"CPPFLAGS=-I{libraries}/include", f"LDFLAGS=-s -L{libraries}/lib", "PKG_CONFIG=false"]
    words += [f"READELF={shutil.which('readelf')}"]  # a name alone is not believed
    words += [f"CPP={env['CC']} -E -D__DEFINED_va_list"]  # what 3.13 knows musl by, but zig has a stdarg.h of its own
    run("./configure", *words, *ANSWERS, cwd=work, env=env)
    setup = work / "Modules/Setup.stdlib"  # what configure found to be possible
    (work / "Modules/Setup.local").write_text(setup.read_text().replace("\n*shared*", "\n*static*", 1))
    setup.write_text("")
    run("make", JOBS, "python", "pybuilddir.txt", cwd=work, env=env)
    for data in work.glob("build/lib*/_sysconfigdata_*.py"):
        data.rename(work / "Lib" / data.name)
    (work / "Lib/lib-dynload").mkdir()
    for made, place in (("python", "usr/bin/python3"), ("Lib", f"usr/lib/python{python}")):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (work / made).rename(root / place)
    shutil.rmtree(root / "work")
    base = Depot(MUSL, platform.debian).unpack("musl", "busybox-static", needs=False)
    for found, place in (
        (next(base.glob("usr/lib/*/libc.so")), f"lib/ld-musl-{platform.arch}.so.1"),
        (base / "bin/busybox", "bin/busybox"),
    ):
        (root / place).parent.mkdir(exist_ok=True)
        shutil.copy(found, root / place)
    (root / "ready").touch()
    return root


def _libraries(platform: Platform) -> Path:
    """Static, and their symbols are not those of the program that they are in: a wheel may bring its own OpenSSL."""
    at = CACHE / "musl" / platform.arch
    if (at / "ready").exists():
        return at
    say(f"compiling OpenSSL, SQLite and zlib for musl on {platform.arch}: some minutes, once")
    shutil.rmtree(at, ignore_errors=True)
    depot, env = Depot(SUITE, "amd64"), _tools(platform)
    env["CFLAGS"] += " -fvisibility=hidden"
    zlib, sqlite, openssl = (
        _unpacked(depot.source(name), at / "work" / name) for name in ("zlib", "sqlite3", "openssl")
    )
    run("./configure", "--static", f"--prefix={at}", cwd=zlib, env=env)
    run("make", "install", cwd=zlib, env=env)
    here = _tools(PLATFORMS[0])
    run("make", "-f", "main.mk", "TOP=.", f"BCC={here['CC']}", "TCC=false", "sqlite3.c", cwd=sqlite, env=here)
    shutil.copy(sqlite / "sqlite3.h", at / "include")
    run(*env["CC"].split(), *env["CFLAGS"].split(), "-c", "sqlite3.c", cwd=sqlite)
    run(env["AR"], "rcs", at / "lib/libsqlite3.a", "sqlite3.o", cwd=sqlite)
    words = [f"linux-{platform.arch}", f"--prefix={at}", "--libdir=lib", "--openssldir=/etc/ssl"]
    run("./Configure", *words, *(f"no-{name}" for name in LEFT_OUT.split()), cwd=openssl, env=env)
    run("make", JOBS, "build_libs", cwd=openssl, env=env)
    run("make", "install_dev", cwd=openssl, env=env)
    shutil.rmtree(at / "work")
    (at / "ready").touch()
    return at


def _tools(platform: Platform) -> dict[str, str]:
    at = CACHE / "musl"
    tools = zig.commands(platform, at / "bin" / platform.tag)
    return {**tools, **zig.caches(at / "zig"), "CC": f"{tools['CC']} -dynamic", "CFLAGS": "-O1 -g0 -Wno-date-time"}


def _unpacked(archive: Path, at: Path) -> Path:
    with tarfile.open(archive) as opened:
        opened.extractall(at, filter="data")
    return next(path for path in at.iterdir() if (path / "configure").exists() or (path / "Configure").exists())
