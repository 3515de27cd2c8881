"""What the client is doing, for whoever shows it: it is told what happens and knows nobody who looks."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

from rport.remote import Remote

Phase = Literal["starting", "connecting", "connected", "waiting", "stopping"]
Trust = Literal["", "pinned", "remembered", "new"]

# No dataclasses here: the code that they make would cost each client 0.1 MB.


class TunnelState:
    """`remote` has the real port once it is known. Neither up nor in trouble: the server has not answered yet."""

    __slots__ = ("offered", "remote", "trouble", "up")

    def __init__(self, remote: Remote, *, up: bool = False, trouble: str = "", offered: bool = False) -> None:
        self.remote = remote
        self.up = up
        self.trouble = trouble
        self.offered = offered  # asked for by the server


class Status:
    """Texts of the server's come as they are: whoever shows them escapes them."""

    def __init__(self, server: str = "") -> None:
        self.phase: Phase = "starting"
        self.server = server
        self.host = ""  # the server's, as the user wrote it
        self.proxy = ""
        self.fingerprint = ""
        self.trust: Trust = ""
        self.version = ""  # the server's
        self.session = ""  # its id
        self.trouble = ""  # why there is no connection
        self.tries = 0  # in vain, since there was one
        self.next_try = 0.0  # time.monotonic()
        self.since = time.monotonic()  # when the phase began
        self.tunnels: dict[int, TunnelState] = {}  # declared ones by reference, offered ones by -number
        self.watchers: list[Callable[[], None]] = []

    def line(self) -> str:
        """In short."""
        if self.phase == "stopping":
            return "Stopping"
        if self.phase == "connected":
            return f"Connected to {self.server}"
        return f"Not connected, trying again: {self.trouble}" if self.trouble else f"Connecting to {self.server}"

    def changed(self) -> None:
        """Tell those who watch."""
        for watcher in self.watchers:
            watcher()

    def enter(self, phase: Phase, **fields: Any) -> None:
        """A phase begins; what else is known then."""
        self.since = time.monotonic()
        self.tell(phase=phase, **fields)

    def tell(self, **fields: Any) -> None:
        """Something else is known."""
        for name, value in fields.items():
            setattr(self, name, value)
        self.changed()

    def declare(self, remotes: Iterable[Remote]) -> None:
        """These are asked for now; what there was is gone."""
        self.tunnels = {ref: TunnelState(remote) for ref, remote in enumerate(remotes)}
        self.changed()

    def up(self, key: int, remote: Remote, *, offered: bool = False) -> None:
        """A tunnel is there."""
        self.tunnels[key] = TunnelState(remote, up=True, offered=offered)
        self.changed()

    def down(self, key: int, remote: Remote, trouble: str) -> None:
        """A tunnel is not there, and why."""
        self.tunnels[key] = TunnelState(remote, trouble=trouble)
        self.changed()

    def drop(self, key: int) -> None:
        """A tunnel is there no more."""
        if self.tunnels.pop(key, None) is not None:
            self.changed()
