"""The benchmark's side of `tests.bench.swarm`, the program that runs many rport clients in one process.

What is expected of it: `python -m tests.bench.swarm PORT COUNT` connects COUNT clients with one tunnel each to the
server on loopback, prints a line `up` each time all tunnels are there and `down` each time none of them is any
more, reconnects as a client does, and ends on SIGTERM.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.process import ProgramFailed, die_with_parent

_TIMEOUT = 60.0  # seconds for all clients to get up or down
_END = 10.0  # seconds for an orderly end


class SwarmControl:
    """A running swarm."""

    def __init__(self, port: int, count: int) -> None:
        self._state = tempfile.TemporaryDirectory(prefix="rport-swarm-")
        self._errors = Path(self._state.name) / "stderr"
        with self._errors.open("wb") as errors:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.swarm", str(port), str(count)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "RPORT_STATE_DIR": self._state.name},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        assert self._popen.stdout is not None
        self._output = self._popen.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._text = b""

    def wait_up(self) -> None:
        """Waits until every client is connected; raises ProgramFailed."""
        self._wait_line(b"up")

    def wait_down(self) -> None:
        """Waits until no client is connected; raises ProgramFailed."""
        self._wait_line(b"down")

    def stop(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(_END)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._selector.close()
        self._output.close()
        self._state.cleanup()

    def _wait_line(self, wanted: bytes) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while (line := self._line(deadline)) != wanted:
            if line not in (b"up", b"down"):
                raise ProgramFailed(f"swarm said {line!r} instead of {wanted!r}")

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._text:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise ProgramFailed(f"swarm was silent for {_TIMEOUT:g} s")
            chunk = os.read(self._output.fileno(), 4096)
            if not chunk:
                raise ProgramFailed(f"swarm ended: {self._errors.read_text(errors='replace')[-600:].strip()}")
            self._text += chunk
        line, _, self._text = self._text.partition(b"\n")
        return line
