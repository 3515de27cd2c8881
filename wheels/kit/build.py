"""`wheels/build`: the source distribution and the wheels of a commit, and what must be true of them."""

import argparse
import os
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from . import armv7l, make, verify
from .shell import ROOT, Failure, say
from .targets import WHEELS
from .wheelfile import digest

SDIST, DEPENDENCIES = "sdist", "armv7l-dependencies"
WITHOUT_HEADERS = "cp312-manylinux2014_armv7l"  # that are to be had: this Python takes the catch-all
EPILOG = """\
examples:
  wheels/build                                   everything, into dist/
  wheels/build --list                            the names
  wheels/build sdist abi3-manylinux2014_x86_64   these two
  wheels/build 'cp313-*'                         all of one Python
  wheels/build --twice 'cp313-*'                 again elsewhere, from nothing, and compare
  wheels/build armv7l-dependencies               PyNaCl, cffi and msgpack for 32-bit ARM, into dist/armv7l-dependencies/

Needs a Debian machine, for headers of other Pythons; everything is kept in build/wheels.
"""


def chosen(patterns: list[str]) -> list[str]:
    """Names of targets, in their order. Raises Failure."""
    names = [SDIST, *(target.name for target in WHEELS), DEPENDENCIES]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise Failure(f"no target is called {pattern}; wheels/build --list shows them")
    return [name for name in names if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def build(names: Sequence[str], out: Path, place: str) -> tuple[list[Path], dict[str, str]]:
    """What was made, and by target why it could not be."""
    targets = [target for target in WHEELS if target.name in names]
    if not targets and SDIST not in names:
        return [], {}
    work = make.work_directory(place)
    source = make.sdist(out, work / "sdist")
    made, left_out = [source], dict[str, str]()
    workshop = make.Workshop(source, work)
    for target in targets:
        try:
            wheel = workshop.wheel(target, out)
        except Failure as error:
            left_out[target.name] = str(error)
            say(f"{target.name}: {error}")
            continue
        say(f"{wheel.name}: {wheel.stat().st_size >> 10} KiB")
        made.append(wheel)
    return made, left_out


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="wheels/build", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    parser.add_argument("target", nargs="*", help="names or patterns; everything if left out")
    parser.add_argument("-o", "--out", default=str(ROOT / "dist"), help="where to put them (dist/ in the clone)")
    parser.add_argument("--list", action="store_true", help="the targets' names")
    parser.add_argument("--twice", action="store_true", help="make them again from nothing; fail if a file differs")
    options = parser.parse_args()
    os.umask(0o022)
    try:
        names = chosen(options.target)
        if options.list:
            print(*names, sep="\n")
            return
        out = Path(os.environ.get("CALLER", "."), options.out).resolve()
        everything(names, out, options.twice)
    except Failure as error:
        sys.exit(f"wheels/build: {error}")


def everything(names: list[str], out: Path, twice: bool) -> None:
    made, left_out = build(names, out, "once")
    if len(made) > 1:
        say(f"{verify.alike(made[1:])} members are the same in {len(made) - 1} wheels")
    if DEPENDENCIES in names:
        armv7l.dependencies(out / DEPENDENCIES)
    if twice:
        again, _ = build(names, make.work_directory("twice-out"), "a-second-time")
        differing = [one.name for one, other in zip(made, again, strict=True) if digest(one) != digest(other)]
        if differing:
            raise Failure(f"made twice, these differ: {', '.join(differing)}")
        say(f"made twice, {len(made)} files are the same, octet by octet")
    for path in made:
        print(f"{digest(path)}  {path.name}")
    left_out.pop(WITHOUT_HEADERS, None)
    if left_out:
        lines = (f"{name}: {why.splitlines()[0]}" for name, why in left_out.items())
        raise Failure(f"{len(left_out)} targets failed: {'; '.join(lines)}")


if __name__ == "__main__":
    main()
