"""All tunnels that were opened through the API, in memory; those that clients declared are seen through it, too.

A stored tunnel holds its port for as long as it is in the book: while its client is away nobody else gets it.
"""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import sqlalchemy as sa

from rport.server.errors import TunnelNotFound
from rport.server.inventory import Client, Inventory
from rport.server.store import Store, schema
from rport.server.tunnels.listening import Live
from rport.server.tunnels.pool import Hold, Pool
from rport.server.tunnels.rows import tunnel_of
from rport.server.tunnels.tunnel import Properties, Tunnel

if TYPE_CHECKING:
    from rport.server.journal import Journal
    from rport.server.session import ServerSession

BY_CLIENT = "its client"  # who opened a declared one

log = logging.getLogger("rport")


class Table:
    """One per server. `timed`: those that are to be looked at each second."""

    def __init__(self, inventory: Inventory, pool: Pool, journal: "Journal") -> None:
        self.inventory = inventory
        self.pool = pool
        self.journal = journal
        self.timed: dict[str, Tunnel] = {}
        self._tunnels: dict[str, dict[str, Tunnel]] = {}  # by client, by id
        self._declared: dict[Live, Tunnel] = {}  # of those that somebody has asked for
        inventory.on_removed.append(self._client_removed)

    async def load(self, store: Store) -> None:
        """Raises StoreUnavailable."""
        async with store.read() as db:
            for row in (await db.execute(sa.select(schema.tunnels).order_by(schema.tunnels.c.created))).mappings():
                tunnel = tunnel_of(dict(row))
                self.pool.put(tunnel.hold)
                self.put(tunnel)

    # --- the table -----------------------------------------------------------------------------------------------

    def put(self, tunnel: Tunnel) -> None:
        """Its port is held already."""
        self._tunnels.setdefault(tunnel.client, {})[tunnel.id] = tunnel
        self.watch(tunnel)

    def watch(self, tunnel: Tunnel) -> None:
        """Its times have changed."""
        if tunnel.properties.timed or tunnel.ending:
            self.timed[tunnel.id] = tunnel
        else:
            self.timed.pop(tunnel.id, None)

    def has(self, tunnel: Tunnel) -> bool:
        """It was not closed meanwhile."""
        if tunnel.declared:
            return tunnel.live is not None and self._declared.get(tunnel.live) is tunnel
        return self._tunnels.get(tunnel.client, {}).get(tunnel.id) is tunnel

    def drop(self, tunnel: Tunnel, reason: str) -> None:
        """It is no more, and its port is free. Nothing, where it was dropped before."""
        if not self.has(tunnel) or tunnel.declared:
            return
        mine = self._tunnels[tunnel.client]
        del mine[tunnel.id]
        if not mine:
            del self._tunnels[tunnel.client]
        self.timed.pop(tunnel.id, None)
        self.shut(tunnel, reason)
        self.pool.release(tunnel.hold)

    def shut(self, tunnel: Tunnel, reason: str) -> None:
        """Nobody listens for it, and what it carried is cut; it stays in the table."""
        live = tunnel.live
        if live is not None:
            tunnel.rest()  # first: its end is known, and nothing to be told
            live.session.tunnels.close(live.number, reason)

    def stored(self, client: str) -> list[Tunnel]:
        """Those that come back with it."""
        return [tunnel for tunnel in self._tunnels.get(client, {}).values() if tunnel.stored]

    def __iter__(self) -> Iterator[Tunnel]:
        """All that were opened through the API."""
        for mine in self._tunnels.values():
            yield from mine.values()

    def of(self, client: Client) -> list[Tunnel]:
        """Its tunnels: those of the API in the order in which they were opened, then those that it declared."""
        declared = []
        if client.session is not None:
            declared = [self._seen(client, live) for live in client.session.tunnels.live.values() if live.declared]
        return [*self._tunnels.get(client.id, {}).values(), *declared]

    def get(self, client: Client, id: str) -> Tunnel:
        """Raises TunnelNotFound."""
        found = self._tunnels.get(client.id, {}).get(id)
        if found is None:
            found = next((tunnel for tunnel in self.of(client) if tunnel.declared and tunnel.id == id), None)
        if found is None:
            raise TunnelNotFound(f"{client} has no tunnel {id[:64]!r}")
        return found

    # --- what clients do -----------------------------------------------------------------------------------------

    def _seen(self, client: Client, live: Live) -> Tunnel:
        """One that was declared."""
        tunnel = self._declared.get(live)
        if tunnel is None:
            tunnel = self._declared[live] = Tunnel(
                id=live.hold.tunnel,
                client=client.id,
                hold=live.hold,
                properties=Properties(),
                stored=False,
                created=live.since,
                created_by=BY_CLIENT,
                declared=True,
                live=live,
            )
        return tunnel

    def declared(self, session: "ServerSession", live: Live) -> None:
        """A client has declared it, and it is listened for."""
        self.tell_opened(live.hold, BY_CLIENT)

    def undeclared(self, session: "ServerSession", live: Live, reason: str) -> None:
        """It is no more."""
        tunnel = self._declared.pop(live, None)
        if tunnel is not None:
            tunnel.live = None
        self.tell_closed(live.hold, reason)

    def live_ended(self, tunnel: Tunnel, reason: str, over: bool) -> None:
        """Its session ended, or has to do without it; whoever closes it has put it to rest before."""
        if tunnel.live is None:
            return
        tunnel.rest()
        self.tell_closed(tunnel.hold, reason)
        if not tunnel.stored:
            self.drop(tunnel, reason)
        elif not over:
            tunnel.error = reason

    def _client_removed(self, client: Client) -> None:
        for tunnel in [*self._tunnels.get(client.id, {}).values()]:
            if tunnel.live is not None:
                self.tell_closed(tunnel.hold, "the client was removed")
            self.drop(tunnel, "the client was removed")

    # --- what is told --------------------------------------------------------------------------------------------

    def tell_opened(self, hold: Hold, by: str) -> None:
        self.journal.tell("tunnel.opened", hold.client, **opened(hold, by))

    def tell_closed(self, hold: Hold, reason: str) -> None:
        self.journal.tell("tunnel.closed", hold.client, **closed(hold, reason))


def opened(hold: Hold, by: str) -> dict[str, object]:
    """The data of an event."""
    remote = hold.remote
    return {"tunnel": hold.tunnel, "lhost": remote.lhost, "lport": remote.lport, "target": remote.target, "by": by}


def closed(hold: Hold, reason: str) -> dict[str, object]:
    """The data of an event."""
    return {"tunnel": hold.tunnel, "lport": hold.remote.lport, "reason": reason[:300]}
