"""Who is connected and which ports they hold. Pure state: no loop, no sockets."""

from dataclasses import dataclass, field

from rport.remote import Remote


@dataclass(frozen=True)
class Tunnel:
    """One listening port; `port` is the real one where the remote asked for 0."""

    id: int
    remote: Remote
    port: int


@dataclass
class Entry:
    """An admitted session, as the API knows it. `id` is 64 hex digits, `user` empty without a login, `client` the id of
    the machine that it is. `key` is the name of the client key that it showed."""

    id: str
    version: str
    address: str
    user: str
    client: str
    tunnels: dict[int, Tunnel] = field(default_factory=dict)
    key: str = ""


class Registry:
    """Entries by id."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.total = 0  # that ever were

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        self.total += 1
        self._entries[entry.id] = entry

    def remove(self, session_id: str) -> None:
        self._entries.pop(session_id, None)

    def get(self, session_id: str) -> Entry | None:
        return self._entries.get(session_id)

    def list(self) -> list[Entry]:
        """In the order in which they came."""
        return [*self._entries.values()]
