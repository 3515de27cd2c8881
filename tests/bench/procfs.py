"""Processor time and memory of process trees, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
# Fields of /proc/PID/stat counted from the one behind the command's closing parenthesis, see proc(5).
_PPID = 1
_TIMES = slice(11, 15)  # utime, stime, cutime, cstime
RESET_PEAK = "5"  # written to clear_refs, sets VmHWM back to VmRSS


def _stat(pid: int) -> list[str]:
    with suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def tree(roots: Iterable[int]) -> list[int]:
    """The given processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[_PPID]), []).append(int(entry.name))
    found: list[int] = []
    todo = list(roots)
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time in seconds of the trees, with the children that have ended and been waited for."""
    return sum(sum(map(int, _stat(pid)[_TIMES])) for pid in tree(roots)) / TICKS_PER_SECOND


def _status_kib(pid: int, field: str) -> int:
    with suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0  # gone meanwhile, or a zombie, which has no memory


def resident_mib(roots: Iterable[int]) -> float:
    """Resident memory of the trees in MiB; pages that forked processes share count in each."""
    return sum(_status_kib(pid, "VmRSS") for pid in tree(roots)) / 1024


def peak_mib(roots: Iterable[int]) -> float:
    """Sum of the peaks of resident memory in MiB since start or `reset_peak`."""
    return sum(_status_kib(pid, "VmHWM") for pid in tree(roots)) / 1024


def reset_peak(roots: Iterable[int]) -> None:
    """Lets the peaks begin anew; where the kernel does not allow it the peak since start remains."""
    for pid in tree(roots):
        with suppress(OSError):
            (PROC / str(pid) / "clear_refs").write_text(RESET_PEAK)
