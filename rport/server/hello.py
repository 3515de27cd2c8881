"""What a client says of itself first (PROTOCOL.md, section 8). Pure."""

from typing import NamedTuple

from rport import control
from rport.remote import CAPS, Remote

VERSION_SHOWN = 64  # characters of the client's version


class Hello(NamedTuple):
    """The password is never printed."""

    user: str
    password: str
    identity: str
    version: str
    caps: set[str]
    remotes: list[Remote]

    @classmethod
    def read(cls, message: control.Message) -> "Hello":
        """Raises ProtocolError."""
        theirs = control.get_list(message, "caps", [])
        return cls(
            control.get_str(message, "user", ""),
            control.get_str(message, "password", ""),
            control.get_str(message, "identity"),
            control.get_str(message, "version")[:VERSION_SHOWN],
            {cap for cap in CAPS if cap in theirs},
            [Remote.from_wire(item) for item in control.get_list(message, "remotes", [])],
        )

    def __repr__(self) -> str:
        return f"Hello({self.user!r}, ...)"
