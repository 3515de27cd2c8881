"""A TCP relay with faults: freeze, delay, cut, corrupt the octet at an offset."""

import contextlib
import selectors
import socket
import threading
import time
from collections import deque

IDLE = 0.2  # seconds until it looks whether it was closed
HELD_MAX = 1 << 22  # octets under way; beyond that nothing is read


class Relay:
    """Carries connections from `self.port` to 127.0.0.1:`port`; `corrupt_at` counts octets towards the server, `delay`
    is in seconds and each way, `source` the address that it comes from.

    A `listener` may have been made in another network namespace: the relay joins the two.
    """

    def __init__(
        self,
        port: int,
        corrupt_at: int | None = None,
        listener: socket.socket | None = None,
        delay: float = 0.0,
        source: str = "",
    ) -> None:
        self._to = port
        self._corrupt_at = corrupt_at
        self._delay = delay
        self._source = (source, 0) if source else None
        self._running = threading.Event()
        self._running.set()
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to), source_address=self._source)
            except OSError:
                continue
            self._pairs.append((near, far))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            self._copy(near, far)

    def _copy(self, near: socket.socket, far: socket.socket) -> None:
        offset = held = 0
        ended = False
        under_way: deque[tuple[float, socket.socket, bytearray]] = deque()
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError, ValueError):
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while under_way or not ended:
                wait = under_way[0][0] - time.monotonic() if under_way else IDLE
                if ended or held > HELD_MAX:
                    time.sleep(max(wait, 0))  # the delay itself: nothing else is to be done
                    ready = []
                else:
                    ready = selector.select(max(wait, 0))
                for key, _ in ready:
                    self._running.wait()
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    data = bytearray(sock.recv(65536))
                    ended = ended or not data
                    if sock is near:
                        at = -1 if self._corrupt_at is None else self._corrupt_at - offset
                        if 0 <= at < len(data):
                            data[at] ^= 0x40
                        offset += len(data)
                    under_way.append((time.monotonic() + self._delay, key.data, data))
                    held += len(data)
                while under_way and under_way[0][0] <= time.monotonic():
                    _, sock, data = under_way.popleft()
                    self._running.wait()
                    sock.sendall(data)
                    held -= len(data)

    def freeze(self) -> None:
        """Forward nothing; connections stay open and are still accepted."""
        self._running.clear()

    def thaw(self) -> None:
        self._running.set()

    def cut(self) -> None:
        """End all connections that are there; new ones are carried."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()

    def close(self) -> None:
        self._closed = True
        self._running.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
