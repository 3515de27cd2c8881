"""licences.py rport|rportd TO FROZEN: the licence of each package and library in the tree FROZEN goes into TO.

Runs in the environment that it was frozen in. A package without a licence's text is an error: nothing goes out without.
"""

import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = {"rport": (), "rportd": ("server", "postgres")}
WORDS = re.compile(r"licen[cs]e|copying|notice|authors|sboms/", re.IGNORECASE)
COPYRIGHT = "/usr/share/doc/{}/copyright"


def closure(name: str, extras: tuple[str, ...], found: dict[str, Distribution]) -> None:
    """`name` and all that it needs here."""
    found[name] = dist = distribution(name)
    for text in dist.requires or ():
        need = Requirement(text)
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            key = re.sub(r"[-_.]+", "-", need.name).lower()
            if key not in found or need.extras:
                closure(key, tuple(need.extras), found)


def copy_of(dist: Distribution, to: Path) -> int:
    """How many texts there were."""
    count = 0
    for file in dist.files or ():
        if ".dist-info/" in str(file) and WORDS.search(str(file)):
            target = to / "/".join(part for part in file.parts[1:] if part not in ("licenses", "sboms"))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)
            count += 1
    return count


def debian_packages(frozen: Path) -> list[str]:
    """Those that the shared libraries of the system came from, which lie in the tree under their own names."""
    names = [path.name for path in (frozen / "lib").glob("lib*.so*")]
    listed = subprocess.run(
        ["dpkg", "--search", *(f"*/{name}" for name in names)], capture_output=True, text=True
    ).stdout
    return sorted({line.partition(":")[0] for line in listed.splitlines()})


def main() -> None:
    program, to, frozen = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    found: dict[str, Distribution] = {}
    closure("rport", EXTRAS[program], found)
    found["pyinstaller"] = distribution("pyinstaller")  # its loader starts the programs
    del found["rport"]
    found.pop("pycparser", None)  # needed to make bindings, not to use them
    to.mkdir(parents=True)
    for name, dist in found.items():
        if not copy_of(dist, to / name):
            sys.exit(f"licences.py: {name} {dist.version} brings no licence; find out under which it may be passed on")
    packages = [*debian_packages(frozen), "libuv1"]  # uvloop has libuv inside, and not its licence
    for name in packages:
        path = Path(COPYRIGHT.format(name))
        if path.exists():
            shutil.copyfile(path, to / f"{name}.copyright")
    lines = sorted(f"{name} {dist.version}\n" for name, dist in found.items())
    (to / "VERSIONS").write_text("".join(lines))


main()
