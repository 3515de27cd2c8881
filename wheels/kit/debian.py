"""Debian's packages of other releases and processors, unpacked into a directory; nothing is installed.

The mirror is the one that this machine's apt is set up with.
"""

import hashlib
import os
import subprocess
from pathlib import Path

from .shell import CACHE, Failure, run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# An apt of its own: own lists, no installed packages, no root needed.
CONFIG = """\
APT::Architecture "{arch}"; APT::Architectures {{ "{arch}"; }}; APT::Install-Recommends "false"; APT::Sandbox::User "";
Dir::Etc::SourceList "{at}/sources.list"; Dir::Etc::SourceParts "/dev/null"; Dir::State "{at}/state";
Dir::State::status "{at}/status"; Dir::Cache "{at}/cache"; Debug::NoLocking "true"; Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
"""


def mirror() -> str:
    """Where this machine's own release comes from."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    own = release.get("VERSION_CODENAME", "").strip('"')
    for line in run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages").splitlines():
        site, _, name = line.partition(" ")
        if name == own and release.get("ID") == "debian":
            return site
    raise Failure("needs a Debian machine whose apt has lists of its own release: apt-get update")


class Depot:
    """The packages of one release for one processor, as of the first call; kept in build/wheels/debian."""

    def __init__(self, suite: str, arch: str) -> None:
        self.suite, self.arch = suite, arch
        self.at = CACHE / "debian" / f"{suite}-{arch}"
        self._env = {"APT_CONFIG": str(self.at / "apt.conf"), "LC_ALL": "C.UTF-8"}
        if not (self.at / "ready").exists():
            self._prepare()

    def _prepare(self) -> None:
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self.at / name).mkdir(parents=True, exist_ok=True)
        (self.at / "status").touch()
        (self.at / "apt.conf").write_text(CONFIG.format(arch=self.arch, at=self.at))
        site = mirror()
        sources = (f"{kind} [signed-by={KEYRING}] {site} {self.suite} main\n" for kind in ("deb", "deb-src"))
        (self.at / "sources.list").write_text("".join(sources))
        run("apt-get", "-qq", "update", env=self._env)
        (self.at / "ready").touch()

    def version(self, package: str) -> str:
        """That it has of a package. Raises Failure."""
        lines = run("apt-cache", "policy", package, env=self._env).splitlines()
        for line in lines:
            name, _, value = line.strip().partition(": ")
            if name == "Candidate" and value != "(none)":
                return value
        raise Failure(f"Debian {self.suite} has no {package} for {self.arch}")

    def unpack(self, *packages: str, needs: bool) -> Path:
        """A directory with these packages, and what they depend on if it `needs` that."""
        names = " ".join((*packages, str(needs)))
        root = self.at / "roots" / hashlib.sha256(names.encode()).hexdigest()[:12]
        if (root / "ready").exists():
            return root
        archives = self._with_needs(packages, root / "archives") if needs else self._alone(packages)
        for name in ("bin", "lib", "lib64"):  # merged, as today's Debian is
            (root / "usr" / name).mkdir(parents=True, exist_ok=True)
            if not (root / name).is_symlink():
                (root / name).symlink_to(f"usr/{name}")
        for archive in archives:
            _unpack(archive, root)
        (root / "ready").touch()
        return root

    def _alone(self, packages: tuple[str, ...]) -> list[Path]:
        at = self.at / "cache/alone"
        found = []
        for package in packages:
            (at / package).mkdir(parents=True, exist_ok=True)
            run("apt-get", "-qq", "download", package, cwd=at / package, env=self._env)
            found += sorted((at / package).glob("*.deb"))[-1:]
        return found

    def _with_needs(self, packages: tuple[str, ...], at: Path) -> list[Path]:
        (at / "partial").mkdir(parents=True, exist_ok=True)
        words = ["-qq", "-y", "--download-only", "-o", f"Dir::Cache::Archives={at}"]
        run("apt-get", *words, "install", *packages, env=self._env)
        return sorted(at.glob("*.deb"))

    def source(self, package: str) -> Path:
        """The upstream archive of a source package."""
        at = self.at / "cache/source" / package
        at.mkdir(parents=True, exist_ok=True)
        if not list(at.glob("*.orig.tar.*z*")):
            run("apt-get", "-qq", "--download-only", "source", package, cwd=at, env=self._env)
        return next(path for path in sorted(at.glob("*.orig.tar.*z*")) if path.suffix != ".asc")


def _unpack(archive: Path, root: Path) -> None:
    """Not `dpkg -x`, which puts directories where our links are."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as reader:
        tar = ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", os.fspath(root)]
        done = subprocess.run(tar, stdin=reader.stdout, capture_output=True, text=True)
    if done.returncode or reader.returncode:
        raise Failure(f"{archive.name} does not unpack: {done.stderr.strip()}")
