"""Who is connected and which ports they hold. Pure state: no loop, no sockets."""

import ipaddress
from dataclasses import dataclass, field

from rport.remote import Remote


@dataclass(frozen=True)
class Tunnel:
    """One listening port; `port` is the real one where the remote asked for 0."""

    id: int
    remote: Remote
    port: int


@dataclass
class Session:
    """One admitted client. `id` is 64 hex digits, `connected_at` seconds since the epoch."""

    id: str
    number: int
    version: str
    address: str
    user: str | None
    identity: str = field(repr=False)
    connected_at: float
    tunnels: dict[int, Tunnel] = field(default_factory=dict)


class Registry:
    """Sessions by id."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._identities: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: Session) -> None:
        self._sessions[session.id] = session
        self._identities[session.identity] = session

    def remove(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None and self._identities.get(session.identity) is session:
            del self._identities[session.identity]

    def get(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def list(self) -> list[Session]:
        """In the order in which they came."""
        return [*self._sessions.values()]

    def find_by_identity(self, identity: str) -> Session | None:
        return self._identities.get(identity)

    def holder_of(self, lhost: str, lport: int) -> tuple[Session, Tunnel] | None:
        """Whose tunnel stands in the way of listening there; a wildcard address meets every address of its family."""
        for session in self._sessions.values():
            for tunnel in session.tunnels.values():
                if tunnel.port == lport and _overlap(tunnel.remote.lhost, lhost):
                    return session, tunnel
        return None


def _overlap(one: str, other: str) -> bool:
    try:
        a = ipaddress.ip_address("127.0.0.1" if one == "localhost" else one)
        b = ipaddress.ip_address("127.0.0.1" if other == "localhost" else other)
    except ValueError:
        return one == other
    return a == b or (a.version == b.version and (a.is_unspecified or b.is_unspecified))
