"""One run of a load generator, read into numbers."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.ports import HOST, wait_listening
from tests.bench.process import Process, ProgramFailed, finish, run, start

GB = 1e9
_SLACK = 20.0  # seconds a run may take beyond its measured time before it counts as hung


@dataclass(frozen=True)
class Transfer:
    """What iperf3's receiver saw."""

    bytes: float
    seconds: float

    @property
    def gb_per_second(self) -> float:
        return self.bytes / self.seconds / GB


class Iperf:
    """An iperf3 test through a tunnel: the server is `target`, the visitor connects to `port`."""

    def __init__(self, target: int, port: int, seconds: int, *, streams: int, down: bool, skip: int = 0) -> None:
        self._target = target
        self._limit = seconds + skip + _SLACK
        self._argv = ["iperf3", "-c", HOST, "-p", str(port), "-t", str(seconds), "-P", str(streams), "-J"]
        self._argv += ["-R"] * down + ["-O", str(skip)] * bool(skip)

    @contextmanager
    def running(self) -> Iterator[Callable[[], Transfer]]:
        """Starts the test and gives a function that waits for its result."""
        with tempfile.TemporaryDirectory() as directory, self._server(Path(directory)), start(self._argv) as client:
            try:
                yield lambda: self._result(client)
            finally:
                client.kill()

    def run(self) -> Transfer:
        """One test from start to end."""
        with self.running() as result:
            return result()

    def _server(self, directory: Path) -> Process:
        argv = ["iperf3", "-s", "-1", "-B", HOST, "-p", str(self._target)]
        server = Process(argv, directory / "iperf3.log")
        try:
            wait_listening([self._target], server.check)
        except BaseException:
            server.stop()
            raise
        return server

    def _result(self, client: subprocess.Popen[str]) -> Transfer:
        answer = json.loads(finish(client, "iperf3", self._limit))
        if "error" in answer:
            raise ProgramFailed(f"iperf3: {answer['error']}")
        received = answer["end"]["sum_received"]
        return Transfer(received["bytes"], received["seconds"])


@dataclass(frozen=True)
class Requests:
    """What wrk counted."""

    count: int
    per_second: float


_WRK_TOTAL = re.compile(r"(\d+) requests in ")
_WRK_RATE = re.compile(r"Requests/sec:\s*([\d.]+)")
_WRK_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_TOLERATED_ERRORS = 0.01  # of all requests; more means that the tunnel does not do the work


def run_wrk(port: int, seconds: int, *, connections: int, close: bool = False, path: str = "/index.html") -> Requests:
    """Requests of a small page on kept-alive connections, or with a new connection for each.

    Raises ProgramFailed when more than one request in a hundred fails.
    """
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *(["-H", "Connection: close"] * close)]
    output = run([*argv, f"http://{HOST}:{port}{path}"], seconds + _SLACK)
    total, rate = _WRK_TOTAL.search(output), _WRK_RATE.search(output)
    if not total or not rate or not int(total[1]):
        raise ProgramFailed(f"wrk counted no request: {output.strip()[-300:]}")
    errors = _WRK_ERRORS.search(output)
    if errors and sum(map(int, errors.groups())) > _TOLERATED_ERRORS * int(total[1]):
        raise ProgramFailed(f"wrk: {errors[0]} in {total[1]} requests")
    return Requests(int(total[1]), float(rate[1]))


@dataclass(frozen=True)
class Latency:
    """Round trips of 64 bytes, in microseconds."""

    count: int
    p50: float
    p99: float


def run_ping(program: Path, port: int, seconds: float) -> Latency:
    """Round trips one after the other for so long."""
    count, p50, p99 = run([program, "ping", str(port), str(seconds)], seconds + _SLACK).split()
    return Latency(int(count), float(p50), float(p99))


def wait_echo(program: Path, port: int, check: Callable[[], None], timeout: float = 10.0) -> None:
    """Waits until a round trip through the tunnel works; raises ProgramFailed with the last failure."""
    deadline = time.monotonic() + timeout
    while True:
        check()
        try:
            run_ping(program, port, 0.01)
        except ProgramFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
