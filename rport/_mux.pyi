CIPHERS: tuple[str, ...]

def preferred_ciphers() -> list[str]:
    """The ciphers in the order of their speed here, ChaCha20-Poly1305 last (PROTOCOL.md, section 3.2)."""

def constants() -> dict[str, int]:
    """The numbers of PROTOCOL.md that the core was compiled with."""

class Seal:
    """One direction's record protection (PROTOCOL.md, section 4)."""

    @property
    def number(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def octets(self) -> int: ...
    @property
    def keyed_at(self) -> float: ...
    def __init__(self, cipher: str, secret: bytes, now: float = 0.0) -> None:
        """`secret` has 32 octets. Raises ValueError for another length or an unknown cipher."""

    def seal_bytes(self, plaintext: bytes) -> bytes:
        """The next record, tag included."""

    def open_bytes(self, sealed: bytes) -> bytes:
        """The plaintext of the next record. Raises ProtocolError, and stays where it was, for anything else."""

    def rekey(self, now: float) -> None:
        """Go on with the next key of the chain; `now` in seconds."""

class Stream:
    """One carried connection, as the protocol sees it (PROTOCOL.md, section 7)."""

    @property
    def id(self) -> int: ...
    @property
    def tunnel(self) -> int: ...
    @property
    def ours(self) -> bool: ...
    @property
    def accepted(self) -> bool: ...
    @property
    def fin_sent(self) -> bool: ...
    @property
    def fin_received(self) -> bool: ...
    @property
    def gone(self) -> bool: ...
    @property
    def credit(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def allowance(self) -> int: ...

class Ring:
    @property
    def count(self) -> int: ...

class Mux:
    """The multiplexer: bytes in, bytes out; no socket, no loop, no clock."""

    record_limit: int
    @property
    def client(self) -> bool: ...
    @property
    def streams(self) -> dict[int, Stream]: ...
    @property
    def pending(self) -> int: ...
    @property
    def granted(self) -> int: ...
    @property
    def closing(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    @property
    def rtt(self) -> float: ...
    @property
    def data_in(self) -> int: ...
    @property
    def data_out(self) -> int: ...
    def set_record_limit(self, octets: int) -> None:
        """How much plaintext the peer may put into one record; small until it is authenticated."""

    def put_control(self, message: bytes) -> None:
        """Queue a packed control message. OverflowError beyond 64 unsent ones, ValueError beyond 64 KiB."""

    def put_ping(self) -> None: ...
    def put_close(self, code: int, reason: str = "") -> None: ...
