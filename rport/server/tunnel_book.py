"""Tunnels by the API: the book of them, what is done to them, and what becomes of them by themselves."""

from typing import TYPE_CHECKING

from rport.remote import Remote
from rport.server.errors import ClientAway, SessionNotFound
from rport.server.inventory.changes import Changes
from rport.server.principal import Principal
from rport.server.store import Store
from rport.server.tunnels.clock import Clock
from rport.server.tunnels.deeds import GONE, TunnelDeeds
from rport.server.tunnels.reopening import Reopening
from rport.server.tunnels.table import Table
from rport.server.tunnels.tunnel import Properties

if TYPE_CHECKING:
    from rport.server.journal import Journal
    from rport.server.service import Service


class TunnelBook:
    """One per server: `table` has them, `deeds` are what users do."""

    def __init__(self, service: "Service", journal: "Journal", clients: Changes) -> None:
        self._service = service
        self.table = Table(service.inventory, service.ports_pool, journal)
        self._reopening = Reopening(self.table)
        self.deeds = TunnelDeeds(self.table, clients, self._reopening.again)
        self._clock = Clock(service, self.table, self.deeds)
        service.on_declared, service.on_undeclared = self.table.declared, self.table.undeclared

    async def load(self, store: Store) -> None:
        """Those that are stored, whose ports are taken from now on. Raises StoreUnavailable."""
        await self.table.load(store)

    async def put(self, who: Principal, session_id: str, remote: Remote) -> tuple[int, Remote]:
        """The original's way: a tunnel that goes with its session, its number there, and where it listens.

        Raises SessionNotFound, and what TunnelDeeds.open() does.
        """
        session = self._service.session(session_id)
        client = session.client
        if client is None or client.session is not session or not who.sees(client.tags):
            raise SessionNotFound(f"no session {session_id[:80]}")
        tunnel = await self.deeds.open(who, client, remote, Properties(), stored=False)
        if tunnel.live is None:
            raise ClientAway(GONE)
        return tunnel.live.number, tunnel.remote

    def start(self) -> None:
        self._clock.start()

    async def close(self) -> None:
        self._reopening.close()
        await self._clock.close()
