"""The benchmark's own C programs, compiled when it starts."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench.process import run

SOURCES = Path(__file__).with_name("native")
_COMPILE_TIMEOUT = 60.0  # seconds


def build(name: str, into: Path) -> Path:
    """Compiles native/NAME.c with $CC or cc; raises ProgramFailed with the compiler's words."""
    binary = into / name
    run([os.environ.get("CC", "cc"), "-O2", "-Wall", "-o", binary, SOURCES / f"{name}.c"], _COMPILE_TIMEOUT)
    return binary
