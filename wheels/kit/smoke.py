"""`wheels/smoke`: whether a wheel works, with every Python that it is for; the table of all of them."""

import argparse
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .shell import CACHE, ROOT, Failure, say
from .targets import ABI3, PLATFORMS, PYTHONS, WHEELS, of_wheel
from .trial import Result, trial
from .wheelfile import digest

RESULTS = ROOT / "wheels/RESULTS.md"
NOT_TRIED = "built and checked, not tried yet"
EPILOG = """\
examples:
  wheels/smoke dist/rport-0.1.0-cp311-cp311-manylinux2014_x86_64.whl
  wheels/smoke --python 3.13 dist/*abi3*.whl    of several Pythons, one
  wheels/smoke --all                            every wheel in dist/; writes wheels/RESULTS.md
  wheels/smoke --table                          writes it of what was tried so far

Wheels of other processors run under qemu-user, those for musl on musl. Their Pythons are fetched, or compiled, into
build/wheels.
"""
HEAD = """\
# What was tried

Written by `wheels/smoke`. Each row is a wheel in an environment of its own: the tests of published vectors, of
PROTOCOL.md's bytes, of HKDF and of the calls of libsodium, then a server, a client, and 64 MiB through a tunnel and
back, compared by SHA-256. `own`: the server ran from the wheel too; `native`: the client was tried with a server of the
wheel for this processor. All ran on x86_64, other processors under qemu-user.

| wheel | SHA-256 begins | Python | tests | server | 64 MiB | |
| --- | --- | --- | --- | --- | --- | --- |
"""


def rows(results: Sequence[Result]) -> str:
    cells = (
        (r.wheel, r.sha256, r.python, r.vectors, r.server, r.transfer, r.note.strip().rpartition("\n")[2])
        for r in results
    )
    return "".join("| " + " | ".join(row) + " |\n" for row in cells)


def native(wheels: Sequence[Path]) -> Path:
    """Of the wheels beside the given ones, the first for this processor. Raises Failure."""
    for directory in dict.fromkeys(wheel.parent for wheel in wheels):
        for abi in ("cp3??", ABI3):
            for found in sorted(directory.glob(f"*-{abi}-{PLATFORMS[0].tag}.whl")):
                return found
    raise Failure(
        f"a wheel for {PLATFORMS[0].tag} belongs beside it, for a server: wheels/build 'cp311-manylinux2014_x86_64'"
    )


def tried(wheels: Sequence[Path], only: str | None, remembered: bool) -> list[Result]:
    """`remembered`: only what is known already, nothing new."""
    results = []
    for wheel in wheels:
        for version in of_wheel(wheel.name).pythons:
            if only not in (None, version):
                continue
            result = known(wheel, version)
            if remembered:
                result = result or Result(of_wheel(wheel.name).name, version, note=NOT_TRIED)
            elif result is None or not passed(result):
                result = trial(wheel, version, native(wheels))
                remember(wheel, version, result)
            result.sha256 = digest(wheel)[:12]
            say(f"{result.wheel} on {version}: vectors {result.vectors}, 64 MiB {result.transfer}. {result.note}")
            results.append(result)
    return results


def memory(wheel: Path, version: str) -> Path:
    """Of the same file with the same Python: the whole table takes an hour, and need not begin again."""
    return CACHE / "results" / f"{digest(wheel)}-{version}.json"


def known(wheel: Path, version: str) -> Result | None:
    at = memory(wheel, version)
    return Result(**json.loads(at.read_text())) if at.exists() else None


def remember(wheel: Path, version: str, result: Result) -> None:
    at = memory(wheel, version)
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_text(json.dumps(asdict(result)))


def passed(result: Result) -> bool:
    return result.transfer == "ok" and not result.failed


def all_of(directory: Path) -> list[Path]:
    """In the order of the targets."""
    by_name = {of_wheel(path.name).name: path for path in directory.glob("*.whl")}
    wheels = [by_name[target.name] for target in WHEELS if target.name in by_name]
    if not wheels:
        raise Failure(f"no wheels in {directory}: run wheels/build")
    return wheels


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="wheels/smoke", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    parser.add_argument("wheel", nargs="*", type=Path)
    parser.add_argument("--all", action="store_true", help="those in dist/")
    parser.add_argument("--python", choices=PYTHONS, help="only with this one")
    parser.add_argument("--table", action="store_true", help="write RESULTS.md of what was tried so far")
    options = parser.parse_args()
    if (options.all or options.table) == bool(options.wheel):
        parser.error("give wheels, --all or --table")
    caller = Path(os.environ.get("CALLER", "."))
    try:
        wheels = (
            all_of(ROOT / "dist")
            if not options.wheel
            else [(caller / path).resolve(strict=True) for path in options.wheel]
        )
        results = tried(wheels, options.python, options.table)
    except (Failure, ValueError, OSError, zipfile.BadZipFile) as error:
        sys.exit(f"wheels/smoke: {error}")
    if not options.wheel and options.python is None:
        RESULTS.write_text(HEAD + rows(results))
    failed = sum(result.failed for result in results)
    well = sum(map(passed, results))
    print(f"{well} passed, {failed} failed, {len(results) - well - failed} not run")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
