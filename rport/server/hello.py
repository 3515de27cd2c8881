"""What a client says of itself first (PROTOCOL.md, section 8). Pure."""

from typing import NamedTuple

from rport import control
from rport.enrolment import SECRET_MAX
from rport.errors import ProtocolError
from rport.facts import Facts
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
    facts: Facts = Facts()

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
            Facts.from_wire(message),
        )

    def __repr__(self) -> str:
        return f"Hello({self.user!r}, ...)"


class Enrolment(NamedTuple):
    """Instead of a hello: a machine that has a code wants to be known by its key from now on.

    `public_key` is proved by the handshake, `address` is where it comes from. The secret is never printed.
    """

    secret: str
    public_key: bytes
    facts: Facts
    address: str
    version: str = ""

    @property
    def user(self) -> str:
        """As of a Hello: there is none."""
        return ""

    @classmethod
    def read(cls, message: control.Message, public_key: bytes | None, address: str) -> "Enrolment":
        """Raises ProtocolError."""
        secret = control.get_str(message, "code")
        if len(secret) > SECRET_MAX:
            raise ProtocolError(f"an enrolment code of {len(secret)} characters, {SECRET_MAX} are allowed")
        if public_key is None:
            raise ProtocolError("an enrolment without a client key")
        version = control.get_str(message, "version")[:VERSION_SHOWN]
        return cls(secret, public_key, Facts.from_wire(message), address, version)

    def __repr__(self) -> str:
        return f"Enrolment({self.address!r}, ...)"
