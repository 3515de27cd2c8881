"""Processes of `rportd` and `rport` that skip the interpreter's start: forked from one that has imported all already.

Each is a process of its own that runs the program's `__main__` with its own arguments, environment and descriptors.
Importing takes most of a start, and the tests start hundreds. What a start itself does, with its arguments visible to
others, is tested with `cold=True`, which executes the interpreter as a user does.
"""

import array
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import IO, Any

SERVER = (
    "aiosqlite",
    "alembic.command",
    "asyncpg",
    "pydantic.v1",  # FastAPI looks at it
    "rport.notify",
    "rport.server.api.app",
    "rport.server.checks",
    "rport.server.cli",
    "rport.server.commands",
    "rport.server.door.certificates",
    "rport.server.door.secure",
    "rport.server.people_commands",
    "rport.server.plane",
    "rport.server.serve",
    "rport.server.service",
    "rport.server.session",
    "rport.server.store.commands",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "uvicorn.lifespan.off",
)
CLIENT = (
    "ipaddress",
    "rport.client.agent",
    "rport.client.cli",
    "rport.logs",
    "rport.notify",
    "rport.privileges",
)
MODULES = {"rport.server": SERVER, "rport.client": CLIENT}  # by program
_REQUEST = 1 << 17  # octets: arguments and environment


class Process:
    """As subprocess.Popen for `python -m MODULE ARGV...`, as far as tests need it. Output and errors go to `stdout`."""

    def __init__(self, module: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        request = json.dumps({"module": module, "argv": list(argv), "env": dict(env), "cwd": os.getcwd()}).encode()
        assert len(request) < _REQUEST, "more arguments than these tests have"
        output, outer = os.pipe()
        self._news, told = os.pipe()
        with _one_at_a_time:
            _mother(module, env.get("PYTHONPATH")).ask(request, (outer, told))
        os.close(outer)
        os.close(told)
        weakref.finalize(self, os.close, self._news)
        self._hearing = threading.Lock()
        self.stdout: IO[str] = open(output)  # noqa: SIM115 - the caller closes it
        self.returncode: int | None = None
        self.pid = self._hear()

    def _hear(self) -> int:
        numbers = array.array("i")
        numbers.frombytes(os.read(self._news, numbers.itemsize))
        return numbers[0]

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._news], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired([str(self.pid)], timeout or 0)
            with self._hearing:  # several threads may wait
                if self.returncode is None:
                    self.returncode = self._hear()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and we are about to be told
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class _Mother:
    """The process that the others are forked from. It ends when nobody can ask it any more."""

    def __init__(self, program: str, path: str | None) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _REQUEST)
        with theirs:
            subprocess.Popen(
                [sys.executable, "-m", __name__, program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **({} if path is None else {"PYTHONPATH": path})},
            )

    def ask(self, request: bytes, descriptors: tuple[int, ...]) -> None:
        socket.send_fds(self._requests, [request], descriptors)


_one_at_a_time = threading.Lock()


@functools.cache
def _mother(program: str, path: str | None) -> _Mother:
    """`path`: PYTHONPATH, by which the same import may give something else."""
    return _Mother(program, path)


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork at each request, and tell of each child's end. In a child: what it is to be; None when all is over."""
    children: dict[int, tuple[int, int]] = {}  # pidfd: pid, where its end is told
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != requests.fileno():
                poll.unregister(ready)
                _tell_end(ready, *children.pop(ready))
                continue
            request, descriptors, _, _ = socket.recv_fds(requests, _REQUEST, 2)
            if not request:
                return None
            output, told = descriptors
            pid = os.fork()
            if pid == 0:
                os.dup2(output, 1)
                os.dup2(output, 2)
                requests.detach()
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                wanted: dict[str, Any] = json.loads(request)
                return wanted
            os.close(output)
            os.write(told, array.array("i", [pid]).tobytes())
            pidfd = os.pidfd_open(pid)
            children[pidfd] = pid, told
            poll.register(pidfd, select.POLLIN)


def _tell_end(pidfd: int, pid: int, told: int) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(told, array.array("i", [os.waitstatus_to_exitcode(status)]).tobytes())
    os.close(told)
    os.close(pidfd)


def _main() -> None:
    for name in MODULES[sys.argv[1]]:
        importlib.import_module(name)
    with contextlib.suppress(ImportError):  # there are systems without it
        importlib.import_module("uvloop")
    assert threading.active_count() == 1, "a fork would lose the others"
    gc.freeze()
    wanted = _serve(socket.socket(fileno=int(sys.argv[2])))
    if wanted is None:
        return
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    sys.argv = [wanted["module"], *wanted["argv"]]
    runpy.run_module(wanted["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
