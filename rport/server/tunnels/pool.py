"""Which ports are whose, listened on or not. Pure: no loop, no sockets.

Whoever wants a port takes it here first, before anything that takes time; so of many that want one, one gets it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rport.hosts import overlap
from rport.remote import Remote
from rport.server.errors import NotAllowed, PortUnavailable, TunnelExists
from rport.server.tunnels.ranges import Ranges, has

if TYPE_CHECKING:
    from rport.server.settings import Settings

TUNNELS_MAX = 256  # per client, all that it has a port for: a control message holds no more


@dataclass(slots=True, eq=False)
class Hold:
    """`remote`, with the port as it is, belongs to tunnel `tunnel` of client `client`. `session` is the log's name of
    the session that listens for it; empty = nobody does."""

    remote: Remote
    client: str
    tunnel: str
    session: str = ""
    pending: bool = False  # the client was asked, and has not answered yet

    @property
    def shown(self) -> str:
        """For whoever may see that client."""
        if self.pending:
            return f"taken by tunnel {self.tunnel} of client {self.client}, which is being opened"
        how = "taken by" if self.session else "reserved for"
        return f"{how} tunnel {self.tunnel} of client {self.client}"

    def shown_to(self, client: str) -> str:
        """For another client, to whom ids of clients are nothing."""
        how = "taken by" if self.session or self.pending else "reserved for"
        whose = "this client" if client == self.client else self.session or "another client"
        return f"{how} another tunnel of {whose}"


class PortTaken(PortUnavailable):
    """Another tunnel has it; `hold` is whose."""

    def __init__(self, port: int, hold: Hold, client: str) -> None:
        super().__init__(f"port {port} is {hold.shown_to(client)}")
        self.port = port
        self.hold = hold


class Pool:
    """One per server. `own`: what the server listens on itself; it may change. `range`: where ports that the server
    picks are from; None = anywhere. `excluded`: ports that no tunnel gets."""

    def __init__(self, own: set[int], settings: "Settings") -> None:
        self.own = own
        self.reconfigure(settings)
        self._holds: dict[int, list[Hold]] = {}
        self._counts: Counter[str] = Counter()  # by client
        self._next = 0  # in the range, where the search for a port goes on

    def reconfigure(self, settings: "Settings") -> None:
        """For what is opened from now on."""
        self.range: range | None = settings.port_range
        self.excluded: Ranges = settings.exclude_ports or ()

    def holder(self, lhost: str, lport: int) -> Hold | None:
        """Whose tunnel stands in the way of listening there; a wildcard address meets every address of its family."""
        for hold in self._holds.get(lport, ()):
            if overlap(hold.remote.lhost, lhost):
                return hold
        return None

    def check_room(self, client: str) -> None:
        """Raises PortUnavailable."""
        if self._counts[client] >= TUNNELS_MAX:
            raise PortUnavailable(f"this client has {TUNNELS_MAX} tunnels already")

    def check(self, remote: Remote, client: str) -> None:
        """Whether a tunnel of that client may have it. Raises NotAllowed, TunnelExists, PortTaken, PortUnavailable."""
        port = remote.lport
        self.check_port(port)
        hold = self.holder(remote.lhost, port)
        if hold is not None:
            if hold.client == client and hold.session and _same(hold.remote, remote):
                raise TunnelExists("it is there already")
            raise PortTaken(port, hold, client)

    def check_port(self, port: int) -> None:
        """Raises NotAllowed, PortUnavailable."""
        if port in self.own:  # also where that is on another address: nobody shall pose as the API
            raise PortUnavailable(f"port {port} is the server's own")
        if has(self.excluded, port):
            raise NotAllowed(f"port {port} is not for tunnels: the server's --exclude-ports has it")

    def take(self, remote: Remote, client: str, tunnel: str) -> Hold:
        """As check(), and it is that tunnel's until released."""
        self.check_room(client)
        self.check(remote, client)
        return self.put(Hold(remote, client, tunnel))

    def put(self, hold: Hold) -> Hold:
        """Of one that was checked before, by this server or the one before it."""
        self._holds.setdefault(hold.remote.lport, []).append(hold)
        self._counts[hold.client] += 1
        return hold

    def release(self, hold: Hold) -> None:
        """It is free. Nothing, where it was before."""
        holds = self._holds.get(hold.remote.lport, [])
        if hold not in holds:
            return
        holds.remove(hold)
        if not holds:
            del self._holds[hold.remote.lport]
        self._counts[hold.client] -= 1
        if not self._counts[hold.client]:
            del self._counts[hold.client]

    def free(self, lhost: str, port: int) -> bool:
        """Nobody's, and not excluded."""
        return port not in self.own and not has(self.excluded, port) and self.holder(lhost, port) is None

    def candidates(self) -> Iterator[int]:
        """The ports of the range, each once, behind the one that was tried last: what was just closed rests."""
        ports = self.range or range(0)
        for _ in range(len(ports)):
            port = ports[self._next % len(ports)]
            self._next = (self._next + 1) % len(ports)
            yield port


def _same(one: Remote, other: Remote) -> bool:
    return (one.target, one.proxy) == (other.target, other.proxy)
