CIPHERS: tuple[str, ...]

def preferred_ciphers() -> list[str]:
    """The ciphers in the order of their speed here, ChaCha20-Poly1305 last (PROTOCOL.md, section 3.2)."""

class Seal:
    """One direction's record protection (PROTOCOL.md, section 4)."""

    @property
    def number(self) -> int: ...
    @property
    def records(self) -> int: ...
    def __init__(self, cipher: str, secret: bytes) -> None:
        """`secret` has 32 octets. Raises ValueError for another length or an unknown cipher."""

    def seal_bytes(self, plaintext: bytes) -> bytes:
        """The next record, tag included."""

    def open_bytes(self, sealed: bytes) -> bytes:
        """The plaintext of the next record. Raises ProtocolError, and stays where it was, for anything else."""

    def rekey(self, now: float) -> None:
        """Go on with the next key of the chain; `now` in seconds."""
