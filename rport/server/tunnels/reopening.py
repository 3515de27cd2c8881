"""Stored tunnels come back when their client does."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from rport.server.errors import ClientAway, ServerError
from rport.server.inventory import Client
from rport.server.tunnels.table import Table
from rport.server.tunnels.tunnel import Tunnel

if TYPE_CHECKING:
    from rport.server.session import ServerSession

AT_ONCE = 16  # offers that one client is asked at a time

log = logging.getLogger("rport")


class Reopening:
    """Asks each client for its own, and waits for nobody."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._tasks: set[asyncio.Task[None]] = set()
        table.inventory.on_connected.append(self._connected)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _connected(self, client: Client, session: "ServerSession") -> None:
        mine = [tunnel for tunnel in self.table.stored(client.id) if tunnel.live is None]
        if mine:
            self._spawn(self._reopen_all(client, session, mine))

    def again(self, client: Client) -> None:
        """It may have come back while one of its tunnels was being saved."""
        if client.session is not None:
            self._connected(client, client.session)

    async def _reopen_all(self, client: Client, session: "ServerSession", mine: list[Tunnel]) -> None:
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._reopen(client, session, tunnel, places) for tunnel in mine))

    async def _reopen(
        self, client: Client, session: "ServerSession", tunnel: Tunnel, places: asyncio.Semaphore
    ) -> None:
        def wanted() -> bool:
            there = self.table.has(tunnel) and tunnel.live is None and not tunnel.ending
            return there and client.session is session and not tunnel.hold.pending

        async with places:
            if not wanted():
                return
            try:
                offer = await session.tunnels.offer_again(tunnel.hold)
            except ClientAway:
                return
            except ServerError as error:
                if wanted():
                    self._failed(session, tunnel, str(error))
                return
        if not wanted():
            return offer.withdraw("it was closed meanwhile")
        live = offer.accept(tunnel.properties.limits, lambda reason, over: self.table.live_ended(tunnel, reason, over))
        if live is not None:
            tunnel.live, tunnel.error = live, ""
            self.table.tell_opened(tunnel.hold, tunnel.created_by)
        return None

    def _failed(self, session: "ServerSession", tunnel: Tunnel, reason: str) -> None:
        tunnel.error = reason
        about = session.tags(limit=session.name, tunnel=tunnel.remote)
        log.warning("%s: stored tunnel %s: %s", session.name, tunnel.remote, reason, extra=about)
        self.table.journal.tell("tunnel.failed", tunnel.client, tunnel=tunnel.id, reason=reason[:300])
