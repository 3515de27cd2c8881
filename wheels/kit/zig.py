"""The C compiler for every platform: zig, from PyPI."""

import shlex
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

from .targets import Platform

PROGRAM = str(distribution("ziglang").locate_file("ziglang/zig"))


def commands(platform: Platform, at: Path) -> dict[str, str]:
    """Scripts in `at` that compile for it: CC, CXX, AR, RANLIB."""
    at.mkdir(parents=True, exist_ok=True)
    words = {"CC": f"cc -target {platform.zig}", "CXX": f"c++ -target {platform.zig}", "AR": "ar", "RANLIB": "ranlib"}
    found = {}
    for name, rest in words.items():
        script = at / f"zig-{name.lower()}"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(PROGRAM)} {rest} "$@"\n')
        script.chmod(0o755)
        found[name] = str(script)
    return found


def caches(at: Path) -> Mapping[str, str]:
    """For the environment: nothing of an earlier build is used but what is in `at`."""
    return {"ZIG_GLOBAL_CACHE_DIR": str(at), "ZIG_LOCAL_CACHE_DIR": str(at)}
