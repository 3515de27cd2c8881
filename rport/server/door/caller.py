"""Who is at the other end of a connection, and whose request each one on it is: with --trusted-proxy that need not be
the TCP peer. Pure."""

from collections.abc import Sequence

from rport.server.door.fields import Headers
from rport.server.door.forwarded import client_of
from rport.server.door.preamble import read_preamble
from rport.server.networks import Network, Peer, is_within

EXTENSION = "rport.caller"  # of an ASGI scope: `source`, the address that a request is from, and `trusted`


class Caller:
    """One connection's. `origin` is where it comes from, `peer` for whom this request is; `trusted`: the origin's word
    on that is taken."""

    def __init__(self, peer: Peer, networks: Sequence[Network] = ()) -> None:
        self.peer = self.origin = peer
        self.relayed = False  # by a proxy that passes on bytes: what they say is not the proxy's word
        self._networks = networks
        self.trusted = is_within(peer[0], networks)
        self._held: bytes | None = b"" if self.trusted else None  # of what may become a preamble

    @property
    def undecided(self) -> bool:
        """Whether a preamble may still come: bytes go through strip() first."""
        return self._held is not None

    def strip(self, data: bytes) -> bytes:
        """What is HTTP of the next bytes; `peer` is another when a preamble said so. Raises ValueError."""
        data = (self._held or b"") + data
        preamble = read_preamble(data)
        if preamble is None:
            self._held = data
            return b""
        self._held = None
        if preamble.size:
            self.relayed = True
            self.peer = self.origin = preamble.client or self.origin
            self.trusted = preamble.client is not None and is_within(preamble.client[0], self._networks)
        return data[preamble.size :]

    def identify(self, headers: Headers) -> None:
        """Whose request this is: a proxy asks for many on one connection. Raises ValueError."""
        if self.trusted:
            self.peer = client_of(headers, self.origin, self._networks)
