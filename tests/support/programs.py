"""The real programs in real processes, on free ports, stopped at the end whatever happens."""

import contextlib
import ctypes
import fcntl
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tests.support import warm

T = TypeVar("T")
DEADLINE = float(os.environ.get("RPORT_TEST_DEADLINE", "20"))  # seconds that a condition gets; a pass never takes it


def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Poll until `condition` gives something true; AssertionError naming `what` when it never does."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"never came true within {deadline:g} s: {what}")


class Program:
    """One process and the lines of its log.

    `wrap`: a command that ends by executing ours; `flags`: for Python; `pass_fds`: descriptors that it inherits;
    `cold`: the interpreter is started for it, as these three ask for anyway.
    """

    process: subprocess.Popen[str] | warm.Process

    def __init__(
        self,
        module: str,
        *argv: str,
        state: Path,
        env: dict[str, str] | None = None,
        wrap: Sequence[str] = (),
        flags: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        cold: bool = True,
    ) -> None:
        self.lines: list[str] = []
        defaults = {"RPORT_STATE_DIR": str(state), "RPORT_CONFIG": "none", "RPORT_ALLOW_ROOT": "yes"}
        surroundings = {**os.environ, **defaults, **(env or {})}
        for name in ("AUTH", "RPORT_AUTH", "RPORT_KEY", "PORT", "HOST"):
            if not env or name not in env:
                surroundings.pop(name, None)
        if cold or wrap or flags or pass_fds:
            self.process = subprocess.Popen(
                [*wrap, sys.executable, *flags, "-m", module, *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=surroundings,
                pass_fds=pass_fds,
            )
        else:
            self.process = warm.Process(module, argv, surroundings)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, pattern: str, count: int = 1, deadline: float = DEADLINE) -> re.Match[str]:
        """The `count`th match of `pattern` in the log."""

        def found() -> re.Match[str] | None:
            matches = list(re.finditer(pattern, self.log))
            return matches[count - 1] if len(matches) >= count else None

        try:
            match: re.Match[str] = until(found, f"{pattern!r} in the log", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log:\n{self.log}") from None
        return match

    def exit_code(self, deadline: float = DEADLINE) -> int:
        code = self.process.wait(deadline)
        self._reader.join(5)
        return code

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def descriptors(self) -> int:
        """Open ones, but for those of its database, of which there are as many as were ever asked for at once, and for
        directories, which it opens for a moment."""
        return sum("rportd.db" not in target and not os.path.isdir(target) for target in self._open_files())

    def _open_files(self) -> Iterator[str]:
        for entry in os.scandir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                yield os.readlink(entry)

    def resident(self) -> int:
        """Octets."""
        return self._memory("VmRSS")

    def peak(self) -> int:
        """The most octets that were ever resident."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")

    def _wait_for_begin(self, pattern: str) -> re.Match[str]:
        """As wait_for(), while nobody has the object yet who could stop it."""
        try:
            return self.wait_for(pattern)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Server(Program):
    """rportd on a free port (or `port`) of the loopback, or of `host`."""

    def __init__(
        self,
        state: Path,
        *argv: str,
        host: str = "127.0.0.1",
        port: int = 0,
        env: dict[str, str] | None = None,
        wrap: Sequence[str] = (),
        flags: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        cold: bool = False,
    ) -> None:
        words = ("--host", host, "-p", str(port), *argv)
        more: dict[str, Any] = {"wrap": wrap, "flags": flags, "pass_fds": pass_fds, "cold": cold}
        super().__init__("rport.server", *words, state=state, env=env, **more)
        self.port = int(self._wait_for_begin(r"Listening on \S+:(\d+)\.\.\.").group(1))

    @property
    def fingerprint(self) -> str:
        return self.wait_for(r"Fingerprint ([0-9a-f:]+)").group(1)

    def api(self, path: str, method: str = "GET", host: str | None = None, at: str = "127.0.0.1") -> tuple[int, Any]:
        """`host` is the field of that name; `at`, the address that is asked."""
        connection = http.client.HTTPConnection(at, self.port, timeout=15)
        try:
            connection.request(method, path, headers={"Host": host} if host else {})
            answer = connection.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if body else None
        finally:
            connection.close()

    def sessions(self) -> list[dict[str, Any]]:
        return list(self.api("/api/v1/sessions")[1])


class Client(Program):
    """rport, connected to `server`."""

    def __init__(
        self,
        server: Server | int,
        *argv: str,
        state: Path,
        wait: bool = True,
        env: dict[str, str] | None = None,
        wrap: Sequence[str] = (),
        flags: Sequence[str] = (),
        host: str = "127.0.0.1",
        cold: bool = False,
    ) -> None:
        port = server if isinstance(server, int) else server.port
        words = (f"{host}:{port}", *argv)
        super().__init__("rport.client", *words, state=state, env=env, wrap=wrap, flags=flags, cold=cold)
        if wait:
            self._wait_for_begin("Connected")

    def tunnel_port(self, count: int = 1) -> int:
        """The server's port of the `count`th tunnel that came up."""
        return int(self.wait_for(r"INFO Tunnel \S*:(\d+) => ", count).group(1))


class Target:
    """A TCP service on a free port or on `listener`: `serve(socket)` runs in a thread for each connection."""

    def __init__(self, serve: Callable[[socket.socket], None], listener: socket.socket | None = None) -> None:
        self._serve = serve
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.accepted = 0
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._sockets.append(sock)
            thread = threading.Thread(target=self._run, args=(sock,), daemon=True)
            thread.start()
            self._threads.append(thread)  # close() may join it from now on

    def _run(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            self._serve(sock)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


class Deaf:
    """A port where nobody answers: its queue is full, so the kernel drops whatever asks to come in."""

    def __init__(self) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self._fillers: list[socket.socket] = []
        while self._fits_one_more():
            assert len(self._fillers) < 100, "a queue without an end"

    def _fits_one_more(self) -> bool:
        try:
            self._fillers.append(socket.create_connection(("127.0.0.1", self.port), timeout=0.3))
        except TimeoutError:
            return False
        return True

    def dialling(self) -> int:
        """How many connections knock now."""
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        syn_sent = [line.split()[2] for line in lines if line.split()[3] == "02"]
        return sum(int(remote.partition(":")[2], 16) == self.port for remote in syn_sent)

    def wake(self) -> socket.socket:
        """Room for all; what knocks comes in when its kernel asks again, one to seven seconds after the first time."""
        self.listener.listen(512)
        self._leave()
        return self.listener

    def _leave(self) -> None:
        for sock in self._fillers:
            sock.close()

    def close(self) -> None:
        self._leave()
        self.listener.close()


CLONE_NEWNET = 0x40000000  # linux/sched.h
SIOCSIFFLAGS = 0x8914  # linux/sockios.h
IFF_UP = 1


class Machine:
    """A network namespace: another machine's loopback and ports. PermissionError without the rights for one."""

    def __init__(self) -> None:
        self._namespace = in_thread(self._make)

    def _make(self) -> int:
        enter_own_network()
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def wrap(self) -> tuple[str, ...]:
        """For programs that are to run on this machine."""
        return ("nsenter", f"--net=/proc/{os.getpid()}/fd/{self._namespace}")

    def run(self, call: Callable[[], T]) -> T:
        """What `call` gives there; sockets that it makes stay there."""

        def there() -> T:
            _namespace_call("setns", self._namespace, CLONE_NEWNET)
            return call()

        return in_thread(there)

    def close(self) -> None:
        os.close(self._namespace)


def enter_own_network() -> None:
    """For the calling thread and what it starts from now on: a loopback and ports of its own. Raises OSError."""
    _namespace_call("unshare", CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def in_thread(call: Callable[[], T]) -> T:
    """A thread has its own network namespace, so nothing needs to be put back."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def _namespace_call(name: str, *numbers: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[name](*numbers):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def descriptors(limit: int) -> tuple[str, ...]:
    """Wraps a program so that it may have no more open files than that."""
    return ("sh", "-c", 'ulimit -n "$0" && exec "$@"', str(limit))


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other side's end."""
    parts = []
    while data := sock.recv(65536):
        parts.append(data)
    return b"".join(parts)


def carry(port: int, amount: int) -> None:
    """That many octets through a tunnel to an echo, each way at the same time."""
    data = os.urandom(amount)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        came = read_all(sock)
        sender.join()
    assert hashlib.sha256(came).digest() == hashlib.sha256(data).digest()


def echo(sock: socket.socket) -> None:
    """Send everything back; end when the other side ends."""
    while data := sock.recv(262144):
        sock.sendall(data)


@contextlib.contextmanager
def closing_all() -> Iterator[Callable[[Any], Any]]:
    """`keep(thing)` returns the thing and stops or closes it at the end, last first."""
    kept: list[Any] = []

    def keep(thing: Any) -> Any:
        kept.append(thing)
        return thing

    try:
        yield keep
    finally:
        for thing in reversed(kept):
            (thing.stop if hasattr(thing, "stop") else thing.close)()
