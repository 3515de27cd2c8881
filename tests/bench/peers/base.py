"""What a peer is to the benchmark."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tests.bench import procfs
from tests.bench.ports import HOST, free_port, wait_listening
from tests.bench.process import Process, run

_SETTLE = 0.15  # seconds until helper processes that ended with their connections have been waited for
_SHORT = 10.0  # seconds for a helper program such as a key generator


@dataclass
class Running:
    """A peer at work. `ports` leads from a target's port to the port where visitors reach it."""

    ports: dict[int, int]
    server: list[Process] = field(default_factory=list)
    client: list[Process] = field(default_factory=list)

    @property
    def server_pids(self) -> list[int]:
        return [process.pid for process in self.server]

    @property
    def client_pids(self) -> list[int]:
        return [process.pid for process in self.client]

    def check(self) -> None:
        """Raises ProgramFailed when one of its programs has ended."""
        for process in self.server + self.client:
            process.check()

    def cpu_seconds(self) -> float:
        return procfs.cpu_seconds(self.server_pids + self.client_pids)


@contextmanager
def cpu_of(running: Running) -> Iterator[Callable[[], float]]:
    """Gives a function that tells the processor seconds used since the start of the block."""
    before = running.cpu_seconds()

    def used() -> float:
        time.sleep(_SETTLE)
        return running.cpu_seconds() - before

    yield used
    running.check()


class Launch:
    """Starts one instance of a peer: a directory for its files, and who is to be reached over which way."""

    def __init__(self, stack: ExitStack, directory: Path, targets: Sequence[int], way: Callable[[int], int]) -> None:
        self.directory = directory
        self.way = way  # from a listening port of the server to the port where the client finds it
        self.running = Running({target: free_port() for target in targets})
        self._stack = stack

    @property
    def tunnels(self) -> list[tuple[int, int]]:
        """(visitors' port, target's port) of each tunnel."""
        return [(visitor, target) for target, visitor in self.running.ports.items()]

    def server(self, *argv: str | Path, listens: int, env: Mapping[str, str] | None = None) -> None:
        """Starts a program of the visitors' side and waits until it listens on the port."""
        process = self._spawn(self.running.server, argv, env)
        wait_listening([listens], process.check)

    def client(self, *argv: str | Path, env: Mapping[str, str] | None = None) -> None:
        """Starts a program of the targets' side."""
        self._spawn(self.running.client, argv, env)

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """A configuration file in the instance's directory."""
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def run(self, *argv: str | Path) -> str:
        """A helper program's output."""
        return run(argv, _SHORT)

    def certificate(self) -> tuple[Path, Path]:
        """A certificate for HOST that vouches for itself, and its key."""
        cert, key = self.directory / "cert.pem", self.directory / "key.pem"
        self.run(
            *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-subj",
                "/CN=bench",
                "-addext",
                f"subjectAltName=DNS:localhost,IP:{HOST}",
                "-days",
                "2",
                "-keyout",
                key,
                "-out",
                cert,
            ),
        )
        return cert, key

    def callback(self, function: Callable[[], object]) -> None:
        """Called when the instance has been stopped."""
        self._stack.callback(function)

    def wait(self, ports: Iterable[int]) -> None:
        """Waits until the ports have listeners, or one of the programs has ended."""
        wait_listening(ports, self.running.check)

    def ready(self) -> Running:
        """Waits until visitors can connect to each tunnel."""
        self.wait(self.running.ports.values())
        return self.running

    def _spawn(self, side: list[Process], argv: Sequence[str | Path], env: Mapping[str, str] | None) -> Process:
        process = Process(argv, self.directory / f"{Path(argv[0]).name}-{len(side)}.log", env)
        self._stack.callback(process.stop)
        side.append(process)
        return process


class Peer:
    """A kind of tunnel."""

    name: ClassVar[str]
    label: ClassVar[str]
    programs: ClassVar[tuple[str, ...]] = ()
    over: ClassVar[str] = ""  # what is between the two, tls or nginx: measured in works of its own

    def missing(self) -> list[str]:
        """The programs it needs that are not on PATH."""
        return [program for program in self.programs if shutil.which(program) is None]

    def start(self, launch: Launch) -> Running:
        """Starts server and client, which reaches the server through `launch.way`; returns when tunnels are up."""
        raise NotImplementedError
