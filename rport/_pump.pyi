import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, type_check_only

from rport._mux import Mux, Stream
from rport._seal import Seal

@type_check_only
class Owner(Protocol):
    """Who is told what happens to a Link."""

    def on_control(self, data: bytes) -> None: ...
    def on_pong(self, rtt: float) -> None: ...
    def on_dial(self, conn: Conn, tunnel: int) -> None: ...
    def on_refused(self, tunnel: int, code: int, text: str) -> None: ...
    def on_goodbye(self, code: int, text: str) -> None: ...
    def on_closed(self, error: Exception | None) -> None: ...
    def on_stream(self, conn: Conn, peer: str) -> None: ...
    def on_stream_left(self, conn: Conn) -> None: ...

class Pool:
    @property
    def out(self) -> int: ...

class Pump:
    """Readiness in, copy loops out: everything one event loop carries."""

    @property
    def links(self) -> set[Link]: ...
    @property
    def descriptor_limit(self) -> int: ...
    @property
    def on_second(self) -> Callable[[float], None] | None:
        """Called once a second with the seconds by which the loop was late for it."""
    @on_second.setter
    def on_second(self, call: Callable[[float], None] | None) -> None: ...
    @property
    def buffers_out(self) -> int:
        """Big buffers in use now: 0 when everything is idle."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None: ...
    def close(self) -> None:
        """End every link without ceremony and leave the loop."""
    def traffic(self) -> tuple[int, int, int, int, int]:
        """Of all sessions that there are and were: streams; octets of payload in and out; of the carriers, in and out.

        In is what the peers sent.
        """

class Target:
    """Up to eight numeric addresses `(ip, port, scope)`, or a Unix socket's path; ValueError for anything else."""

    def __init__(self, addresses: Sequence[tuple[str, int, int]] | str) -> None: ...

class Conn(Stream):
    """A local socket, visitor's or target's, and what it has not taken yet."""

class Listener:
    """Accepts visitors on a listening descriptor that it takes over. `proxy`, 1 or 2: each target is told of its
    visitor by a header of that version of the PROXY protocol."""

    @property
    def link(self) -> Link: ...
    @property
    def tunnel(self) -> int: ...
    def __init__(self, link: Link, fd: int, tunnel: int, proxy: int = 0) -> None: ...
    def close(self) -> None:
        """Free the port; carried connections go on."""
    def set_sources(self, networks: Iterable[tuple[bytes, int]]) -> int:
        """Where visitors may come from: packed addresses with the prefix's length; none = anywhere.

        Cuts those that may not be there any more, and tells how many. ValueError for more than 256.
        """
    def set_connection_limit(self, limit: int) -> None:
        """So many visitors at a time, 0 = as many as come. Cuts nobody."""
    def set_rates(self, to_target: float, to_visitor: float) -> None:
        """Octets a second for all connections together, which share them evenly; 0 = as fast as it goes."""
    def figures(self) -> tuple[int, int, int, int, int, int, float]:
        """Connections now, and in all; those denied, and rejected; octets in (from the client) and out; seconds since
        the last of them, or since the beginning."""
    def connections(self) -> list[tuple[int, str, float, int, int]]:
        """Of each: the stream's number, the visitor's address, seconds since he came, octets in and out."""

class Link(Mux):
    """One session's carrier and the local sockets behind it. With `trace` the owner hears of each stream."""

    trace: bool

    @property
    def carrier_in(self) -> int: ...
    @property
    def carrier_out(self) -> int: ...
    @property
    def alive(self) -> bool: ...
    def __init__(self, sealer: Seal, opener: Seal, client: bool, pump: Pump, fd: int, owner: Owner) -> None: ...
    def start(self, early: bytes = b"") -> None:
        """Begin to carry; `early` is what had already come behind the handshake."""

    def wake(self) -> None:
        """Make what was queued go out at the end of this turn of the loop."""

    def control(self, message: bytes) -> None:
        """Send a packed control message; raises what put_control does."""

    def ping(self) -> None:
        """Measure the round trip: on_pong tells it."""

    def finish_session(self, code: int, reason: str = "") -> None:
        """Say CLOSE behind all that is queued. The link ends when the peer hangs up, or after two seconds."""

    def abort(self, error: Exception | None) -> None:
        """End the session at once and without CLOSE; `error` is what on_closed tells."""

    def set_target(self, tunnel: int, target: Target | None) -> None:
        """What OPEN frames for `tunnel` dial; None asks owner.on_dial each time."""

    def drop_target(self, tunnel: int) -> None:
        """OPEN frames for `tunnel` are refused from now on."""

    def dial(self, conn: Conn, target: Target) -> None:
        """The answer to on_dial."""

    def refuse_dial(self, conn: Conn, code: int, reason: str) -> None:
        """The other answer to on_dial."""

    def cut_tunnel(self, tunnel: int, code: int) -> None:
        """Reset every stream of `tunnel`, at both ends, whatever it still carries."""

    def cut_stream(self, stream: int, code: int) -> bool:
        """Reset one stream, at both ends; False when there is none of that number."""

    def busy(self) -> int:
        """How many connections are carried now, those included that only drain."""

    def silence(self) -> float:
        """Seconds since the last octet from the peer."""
