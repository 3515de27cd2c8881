"""Wheels as files: taken apart, put together again, and what is in them."""

import hashlib
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from .shell import run


def changed(wheel: Path, out: Path, change: Callable[[Path], None], epoch: str) -> Path:
    """The wheel in directory `out`, after `change` did its work on what was in it; RECORD is made anew.

    `epoch`: the time of all that is in it, in seconds.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        run(sys.executable, "-m", "wheel", "unpack", "-d", scratch, wheel)
        (tree,) = Path(scratch).iterdir()
        change(tree)
        run(sys.executable, "-m", "wheel", "pack", "-d", out, tree, env={"SOURCE_DATE_EPOCH": epoch})
    return out / wheel.name


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pure_parts(wheel: Path) -> dict[str, str]:
    """The digest of each member that no platform and no Python may change."""
    varying = (".so", ".pyd", ".dist-info/WHEEL", ".dist-info/RECORD", ".cdx.json")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith((*varying, "/"))]
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}
