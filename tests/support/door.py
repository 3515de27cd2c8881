"""The front door on a free port, in a thread of its own, on either event loop."""

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from rport.channel import TlsChannel
from rport.server.door.front import make_protocol
from rport.server.door.gate import Gate
from rport.server.door.relay import Relays
from rport.server.door.rules import Rules
from rport.server.door.upgrade import Arrival
from tests.support.encrypted import EncryptedSocket
from tests.support.loops import LOOPS

PATIENCE = 20.0  # seconds; only a failing test takes them


@dataclass(frozen=True)
class Between:
    """What stands between a door's protocol and its sockets, and what its clients do first."""

    wrap: Callable[[type[Any]], Any]
    encrypt: Callable[[socket.socket], EncryptedSocket]


between: Between | None = None  # tests of such things put one in


@dataclass
class Door:
    """A running server."""

    port: int
    gate: Gate
    arrivals: queue.Queue[Arrival] = field(default_factory=queue.Queue)

    def connect_plainly(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def connect(self) -> Any:
        """A socket, or what is like one."""
        sock = self.connect_plainly()
        return sock if between is None else between.encrypt(sock)

    def arrival(self) -> Arrival:
        return self.arrivals.get(timeout=PATIENCE)

    def on_arrival(self, arrival: Arrival) -> None:
        channel: Any = arrival.channel
        channel.sock.settimeout(PATIENCE)  # blocking, so that a test can simply use it
        if isinstance(channel, TlsChannel):
            channel.sock = EncryptedSocket(channel.sock, channel.tls)  # type: ignore[assignment]
        self.arrivals.put(arrival)


@contextlib.contextmanager
def open_door(
    app: Any,
    loop: str,
    gate: Gate | None = None,
    timeout: float = PATIENCE,
    rules: Rules | None = None,
    relays: Relays | None = None,
) -> Iterator[Door]:
    """Serve `app` and take tunnels until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    door = Door(listener.getsockname()[1], gate or Gate())
    protocol = make_protocol(door.on_arrival, door.gate, timeout, rules, relays)
    if between is not None:
        protocol = between.wrap(protocol)
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=2,  # which is waited for where nothing else can end a connection
    )
    server = uvicorn.Server(config)

    def serve() -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(server.serve(sockets=[listener]))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield door
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        while not door.arrivals.empty():
            door.arrivals.get().channel.sock.close()


def read_head(sock: socket.socket) -> bytes:
    """One HTTP head, and not a byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, f"ended within a head: {head!r}"
        head += byte
    return head
