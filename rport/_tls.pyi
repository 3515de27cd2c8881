from ssl import MemoryBIO, SSLObject

from rport._pump import Link, Owner, Pump
from rport._seal import Seal

class TlsLink(Link):
    """As Link, over `tls`, whose handshake is done; `incoming` may hold octets already, `outgoing` none."""

    def __init__(
        self,
        sealer: Seal,
        opener: Seal,
        client: bool,
        pump: Pump,
        fd: int,
        owner: Owner,
        tls: SSLObject,
        incoming: MemoryBIO,
        outgoing: MemoryBIO,
    ) -> None: ...
