"""The stage of one run: how long to measure, the targets, and the peers that have been started."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import native
from tests.bench.peers import Launch, Peer, Running
from tests.bench.targets import LongPaths, start_targets
from tests.bench.tools import wait_echo


@dataclass(frozen=True)
class Scale:
    """How much is measured; times in seconds."""

    rounds: int
    bulk: int
    requests: int
    ping: float
    loaded: int
    long_path: int
    long_path_skip: int  # start of a long-path run that does not count, see works/long_path.py
    heavy_rounds: int  # of the works whose rounds take long
    swarm_base: int  # idle clients before the measured ones
    swarm_more: int
    swarm_return: int  # clients that come back after a restart


FULL = Scale(
    rounds=3,
    bulk=4,
    requests=4,
    ping=2.0,
    loaded=4,
    long_path=6,
    long_path_skip=2,
    heavy_rounds=3,
    swarm_base=100,
    swarm_more=300,
    swarm_return=1000,
)
QUICK = Scale(
    rounds=2,
    bulk=1,
    requests=1,
    ping=0.5,
    loaded=2,
    long_path=1,
    long_path_skip=1,
    heavy_rounds=1,
    swarm_base=100,
    swarm_more=100,
    swarm_return=200,
)


class Setting:
    """Starts what is needed when it is first asked for, and ends everything on close."""

    def __init__(self, stack: ExitStack, scale: Scale) -> None:
        self.scale = scale
        self._stack = stack
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rport-bench-")))
        self.pingpong = native.build("pingpong", self.directory)
        self.targets = start_targets(stack, self.directory, self.pingpong)
        self.long_paths = LongPaths(stack, self.directory)
        self._shared: dict[str, tuple[ExitStack, Running]] = {}
        self._count = 0

    def shared(self, peer: Peer) -> Running:
        """The instance of a peer that works use in turn; it stays up between them."""
        if peer.name not in self._shared:
            own = self._stack.enter_context(ExitStack())
            running = self._start(own, peer, self.targets.all(), _same)
            try:
                wait_echo(self.pingpong, running.ports[self.targets.echo], running.check)
            except BaseException:
                own.close()
                raise
            self._shared[peer.name] = own, running
        return self._shared[peer.name][1]

    def discard(self, peer: Peer) -> None:
        """Ends the shared instance of a peer that failed, so that the next work starts another."""
        if peer.name in self._shared:
            self._shared.pop(peer.name)[0].close()

    @contextmanager
    def fresh(self, peer: Peer, targets: Sequence[int], way: Callable[[int], int] | None = None) -> Iterator[Running]:
        """A new instance of a peer, ended with the block."""
        with ExitStack() as own:
            yield self._start(own, peer, targets, way or _same)

    def launch(self, own: ExitStack, targets: Sequence[int] = (), way: Callable[[int], int] | None = None) -> Launch:
        """A directory and a place for the processes of an instance."""
        self._count += 1
        directory = self.directory / f"peer{self._count}"
        directory.mkdir(mode=0o755)
        return Launch(own, directory, targets, way or _same)

    def _start(self, own: ExitStack, peer: Peer, targets: Sequence[int], way: Callable[[int], int]) -> Running:
        with ExitStack() as undo:
            running = peer.start(self.launch(undo, targets, way))
            own.push(undo.pop_all())
        return running


def _same(port: int) -> int:
    return port
