"""Which machine a session is of: by the credential that it came in by, its key, or the id that it tells. Pure.

An id that was once told belongs to whoever told it, which is said by his login or his key: nobody else gets the
tunnels of a machine by calling himself as it is called.
"""

import hashlib
from typing import NamedTuple

KEY_ID = 16  # hex digits of the id that a key gives: 64 bits, and it is proved by the whole key


def process_of(identity: str) -> str:
    """Of a hello's `identity`: as good for telling processes apart, of one size, and of no use to whoever reads it."""
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


class Shown(NamedTuple):
    """What a session has proved, and the `id` that it tells beside it. `process` as process_of() gives it."""

    user: str  # whose password was right
    key: bytes | None  # public
    id: str
    process: str

    @property
    def owner(self) -> str:
        """As whose a client is kept. The key is closer to the machine than a login that many may share."""
        if self.key is not None:
            return f"key:{self.key.hex()}"
        return f"user:{self.user}" if self.user else ""

    def owns(self, owner: str) -> bool:
        """Whether a client of that owner is his. What nobody owns is everybody's who is let in."""
        return not owner or owner == self.owner or (bool(self.user) and owner == f"user:{self.user}")

    @property
    def client_id(self) -> str:
        """The one that it tells, else the one of its key; else one that lasts as long as its process."""
        if self.id:
            return self.id
        if self.key is not None:
            return hashlib.sha256(self.key).hexdigest()[:KEY_ID]
        return hashlib.sha256(f"{len(self.owner)}:{self.owner}\0{self.process}".encode()).hexdigest()[:KEY_ID]

    @property
    def stable(self) -> bool:
        return bool(self.id) or self.key is not None
