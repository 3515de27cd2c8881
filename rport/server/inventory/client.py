"""A machine as the server knows it, whether or not it is connected. Pure."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rport.errors import Refused
from rport.facts import Facts
from rport.server.acl import ANYWHERE, Acl
from rport.server.errors import ServerError

if TYPE_CHECKING:
    from rport.server.session import ServerSession

MANAGED = "managed"  # the owner of a client that comes in by credentials of the store alone

# Sessions that one client may begin at once, and a second after that. Each leaves rows in the database, two for each of
# its tunnels among them: of one that comes and goes all the time they would be so many that those of others are lost.
# Whose session lasts for five seconds comes back at once, so no honest client comes more often.
SESSIONS_BURST = 20
SESSIONS_RATE = 0.2


class ClientNotFound(ServerError):
    """There is none of that id, or none that is his who asks."""

    status = 404
    kind = "no-such-client"


class ClientExists(ServerError):
    """The id is taken."""

    status = 409
    kind = "client-exists"


class NotConnected(ServerError):
    """It is known, and not there."""

    status = 409
    kind = "not-connected"


@dataclass(slots=True, eq=False)
class Client:
    """Times are seconds since 1970. `owner` says by what it comes in: MANAGED, "user:NAME", "key:HEX", or "" where
    nobody has a login. One that is not `stable` has no id of its own, and is forgotten when it goes."""

    id: str
    owner: str
    created: float
    stable: bool = True
    saved: bool = False  # the store has its row
    name: str = ""
    named: bool = False  # through the API: what the client calls itself counts no more
    tags: tuple[str, ...] = ()  # given by an administrator
    note: str = ""
    listen: Acl | None = None  # None = anywhere
    facts: Facts = field(default=Facts(), repr=False)
    version: str = ""
    address: str = ""
    first_seen: float | None = None
    last_seen: float | None = None
    cloned: float | None = None
    session: "ServerSession | None" = field(default=None, repr=False)
    since: float = 0.0  # when the session began
    turns: float = SESSIONS_BURST  # sessions that it might have begun
    turns_at: float = 0.0  # then, on a clock that only grows

    @property
    def connected(self) -> bool:
        return self.session is not None

    @property
    def managed(self) -> bool:
        """It comes in by credentials of the store alone."""
        return self.owner == MANAGED

    @property
    def shown_name(self) -> str:
        """As it was named; else as it calls itself."""
        return (self.name if self.named else self.facts.name or self.facts.hostname or self.name) or self.id

    @property
    def rtt(self) -> float | None:
        """Seconds; None = not connected, or not measured yet."""
        return self.session.rtt or None if self.session is not None else None

    @property
    def acl(self) -> Acl:
        """Where it may have the server listen."""
        return ANYWHERE if self.listen is None else self.listen

    def begin(self, now: float) -> None:
        """Count a session that is to begin. Raises Refused where there were too many of late."""
        left = min(SESSIONS_BURST, self.turns + (now - self.turns_at) * SESSIONS_RATE)
        if left < 1:
            raise Refused("busy", f"{self} connects all the time; once every {1 / SESSIONS_RATE:g} s will do")
        self.turns, self.turns_at = left - 1, now

    def __str__(self) -> str:
        """For the log and for errors."""
        return f"client {self.id}"
