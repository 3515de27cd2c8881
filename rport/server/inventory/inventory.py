"""All machines, in memory: who is there, who was, and what changes when a session begins or ends.

No store and no loop: what is to be kept is told to those who asked for it, once it has happened.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rport.errors import Refused
from rport.facts import Facts, clean
from rport.server.inventory.client import Client, ClientNotFound
from rport.server.inventory.clones import Clones
from rport.server.inventory.identity import Shown
from rport.server.principal import Principal

if TYPE_CHECKING:
    from rport.server.session import ServerSession

# All that are kept, connected or not, some 3 KiB each: who may come in may call himself as he likes, each time anew. So
# one login or key has room for as many as he leaves for all others.
CLIENTS_MAX = 50_000

VERSION_MAX = 64  # characters

REPLACED = "the same client connected again"

log = logging.getLogger("rport")


class Inventory:
    """Clients by id. Who listens is told of a client with its session, and of why that ended."""

    def __init__(self) -> None:
        self.on_connected: list[Callable[[Client, ServerSession], None]] = []  # it was welcomed
        self.on_disconnected: list[Callable[[Client, ServerSession, str], None]] = []
        self.on_cloned: list[Callable[[Client, str], None]] = []  # with the other's address
        self.on_removed: list[Callable[[Client], None]] = []  # by somebody, or of age
        self._clients: dict[str, Client] = {}
        self._owned: Counter[str] = Counter()  # clients by owner
        self._clones = Clones()

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(self._clients.values())

    def get(self, id: str) -> Client | None:
        return self._clients.get(id)

    def visible(self, who: Principal, id: str) -> Client:
        """Raises ClientNotFound, also for one that is not his."""
        client = self._clients.get(id)
        if client is None or not who.sees(client.tags):
            raise ClientNotFound(f"no client {id[:64]!r}; GET /api/v1/clients lists them")
        return client

    def tags_of(self, id: str) -> tuple[str, ...] | None:
        """By which a scope sees it; None = there is no such client."""
        client = self._clients.get(id)
        return client.tags if client is not None else None

    def tags_then(self, id: str, at: float) -> tuple[str, ...] | None:
        """As tags_of(), for what happened at that time; None also where it was before this client: that was another,
        and whoever gives a new one its id must not look at what it did."""
        client = self._clients.get(id)
        return client.tags if client is not None and at >= client.created else None

    def list(self, who: Principal) -> Iterator[Client]:
        """Those that he sees."""
        return (client for client in self if who.sees(client.tags))

    @property
    def full(self) -> bool:
        """No client that was not here before has room."""
        return len(self._clients) >= CLIENTS_MAX

    # --- sessions ------------------------------------------------------------------------------------------------

    def identify(self, shown: Shown, managed: str | None) -> Client:
        """Whose a session is that may come in; `managed`: its credential is this client's.

        It is not in the table yet when it was never here. Raises Refused.
        """
        if managed is not None:
            client = self._clients.get(managed)
            if client is None:
                raise Refused("busy", "this client was removed at this moment; try again")
            if shown.id not in ("", managed):
                raise Refused("auth", f"this credential is that of client {managed}: leave out --id, or give that")
            return client
        client = self._clients.get(shown.client_id)
        if client is None:
            if self.full:
                raise Refused("busy", f"the server knows {CLIENTS_MAX} clients already, and takes no new one")
            if self._owned[shown.owner] >= CLIENTS_MAX - len(self):
                raise Refused(
                    "busy",
                    f"the server knows {self._owned[shown.owner]} clients of this login already, and keeps what room "
                    "is left for others",
                )
            return Client(shown.client_id, shown.owner, time.time(), shown.stable)
        if not shown.owns(client.owner):
            raise Refused(
                "auth",
                f"the id {client.id} belongs to another login or key: give another --id, or have that client removed",
            )
        return client

    def connect(
        self, client: Client, session: "ServerSession", facts: Facts, version: str, address: str, owner: str
    ) -> None:
        """`session` is the client's from now on; the one that it had has lost it. `owner`: who it is."""
        now = time.time()
        if client.session is not None:
            old, told = client.session, client.address
            self._end(client, now, REPLACED)
            self._watch_clones(client, old, session, told, address, now)
        self._leave(client)
        client.owner = client.owner or owner
        self._enter(client)
        client.facts, client.version, client.address = facts, clean(version, VERSION_MAX), address
        client.first_seen = client.first_seen or now
        client.last_seen = client.since = now
        client.session = session

    def greet(self, client: Client) -> None:
        """It was welcomed: who listens may ask it for something."""
        if client.session is not None:
            for call in self.on_connected:
                call(client, client.session)

    def disconnect(self, client: Client, session: "ServerSession", reason: str) -> None:
        """That session has ended. Nothing, where another took its place before."""
        if client.session is session:
            self._end(client, time.time(), reason)

    def _end(self, client: Client, now: float, reason: str) -> None:
        session = client.session
        assert session is not None
        client.session = None
        client.last_seen = now
        if not client.stable:
            self._leave(client)
        for call in self.on_disconnected:
            call(client, session, reason)

    def _watch_clones(
        self, client: Client, old: "ServerSession", new: "ServerSession", address: str, other: str, now: float
    ) -> None:
        if self._clones.taken_over(client.id, old.process, new.process, now):
            client.cloned = now
            if self._clones.news(client.id, now):
                log.warning(
                    "%s is two machines, at %s and at %s: each takes the session from the other; give each an identity "
                    "of its own",
                    client,
                    address,
                    other,
                    extra=new.tags(),
                )
                for call in self.on_cloned:
                    call(client, other)

    # --- what is changed through the API -------------------------------------------------------------------------

    def put(self, client: Client) -> None:
        self._enter(client)

    def remove(self, client: Client) -> None:
        """Its session has to be ended by whoever removes it."""
        if self._leave(client):
            self._clones.forget(client.id)
            for call in self.on_removed:
                call(client)

    # --- the table -----------------------------------------------------------------------------------------------

    def _enter(self, client: Client) -> None:
        self._clients[client.id] = client
        self._owned[client.owner] += 1

    def _leave(self, client: Client) -> bool:
        """Whether it was there."""
        if self._clients.get(client.id) is not client:
            return False
        del self._clients[client.id]
        self._owned[client.owner] -= 1
        if not self._owned[client.owner]:
            del self._owned[client.owner]
        return True
