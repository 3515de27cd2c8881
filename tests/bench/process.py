"""Processes that the benchmark starts; none outlives it, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.bench import procfs

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_GRACE = 2.0  # seconds between the polite signal and the other one
_TAIL = 600  # characters of a failed program's output worth showing


class ProgramFailed(RuntimeError):
    """A program ended early, took too long, or said that it could not do its work."""


def die_with_parent() -> None:
    """Run in the child before exec: it is killed when the benchmark dies without cleaning up."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Process:
    """A long-running program in a session of its own, its output in a file."""

    def __init__(self, argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.argv = [str(part) for part in argv]
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def check(self) -> None:
        """Raises ProgramFailed with the end of its output when it has ended."""
        if self._popen.poll() is not None:
            output = self.log.read_text(errors="replace")[-_TAIL:].strip()
            raise ProgramFailed(f"{Path(self.argv[0]).name} ended with {self._popen.returncode}: {output}")

    def kill(self) -> None:
        """SIGKILL at once, as a crash would."""
        self._popen.kill()
        self._popen.wait()

    def stop(self) -> None:
        """Ends the program and whatever it forked."""
        family = procfs.tree([self.pid]) if self._popen.poll() is None else []
        with suppress(ProcessLookupError):
            self._popen.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(_GRACE)
        for pid in family[1:]:
            _kill_member(pid, self.pid)
        self._popen.kill()
        self._popen.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _kill_member(pid: int, session: int) -> None:
    """Kills a descendant that still belongs to the session we opened: its number may have gone to another since."""
    with suppress(OSError):
        if os.getsid(pid) == session:
            os.kill(pid, signal.SIGKILL)


def run(argv: Sequence[str | Path], timeout: float) -> str:
    """Runs a program to its end and returns its standard output.

    Raises ProgramFailed when it fails or takes more than `timeout` seconds.
    """
    name = Path(str(argv[0])).name
    with start(argv) as popen:
        return finish(popen, name, timeout)


def start(argv: Sequence[str | Path]) -> subprocess.Popen[str]:
    """Starts a load generator whose output `finish` collects."""
    return subprocess.Popen(
        [str(part) for part in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def finish(popen: subprocess.Popen[str], name: str, timeout: float) -> str:
    """Waits for a load generator's end, at most `timeout` seconds; raises ProgramFailed."""
    try:
        output, errors = popen.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"{name} took more than {timeout:g} s") from None
    finally:
        popen.kill()
    if popen.returncode:
        raise ProgramFailed(f"{name} ended with {popen.returncode}: {(errors or output)[-_TAIL:].strip()}")
    return output
