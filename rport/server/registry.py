"""Who is connected and which ports they hold. Pure state: no loop, no sockets."""

from dataclasses import dataclass, field

from rport.hosts import overlap
from rport.remote import Remote


@dataclass(frozen=True)
class Tunnel:
    """One listening port; `port` is the real one where the remote asked for 0."""

    id: int
    remote: Remote
    port: int


@dataclass
class Entry:
    """An admitted session, as the API knows it. `id` is 64 hex digits, `user` empty without a login.
    `key` is the name of the client key that it showed."""

    id: str
    version: str
    address: str
    user: str
    identity: str = field(repr=False)
    tunnels: dict[int, Tunnel] = field(default_factory=dict)
    key: str = ""


class Registry:
    """Entries by id and by identity."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._identities: dict[tuple[str, str], Entry] = {}
        self.total = 0  # that ever were

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        self.total += 1
        self._entries[entry.id] = entry
        self._identities[entry.identity, entry.user] = entry

    def remove(self, session_id: str) -> None:
        entry = self._entries.pop(session_id, None)
        if entry is not None and self._identities.get((entry.identity, entry.user)) is entry:
            del self._identities[entry.identity, entry.user]

    def get(self, session_id: str) -> Entry | None:
        return self._entries.get(session_id)

    def list(self) -> list[Entry]:
        """In the order in which they came."""
        return [*self._entries.values()]

    def find_by_identity(self, identity: str, user: str) -> Entry | None:
        """The latest."""
        return self._identities.get((identity, user))

    def holder_of(self, lhost: str, lport: int) -> tuple[Entry, Tunnel] | None:
        """Whose tunnel stands in the way of listening there; a wildcard address meets every address of its family."""
        for entry in self._entries.values():
            for tunnel in entry.tunnels.values():
                if tunnel.port == lport and overlap(tunnel.remote.lhost, lhost):
                    return entry, tunnel
        return None
