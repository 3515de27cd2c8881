"""What is done from time to time: that the server is there is written down, and what is too old goes."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

import sqlalchemy as sa

from rport.server.errors import ServerError
from rport.server.inventory.changes import Changes
from rport.server.inventory.client import Client
from rport.server.inventory.inventory import Inventory
from rport.server.inventory.records import KEPT, prune
from rport.server.inventory.start import ALIVE, set_fact
from rport.server.principal import Principal
from rport.server.store import Store, schema

ALIVE_EVERY = 30.0  # seconds: how exactly is known when a server was killed
SWEEP_EVERY = 600.0  # seconds: what is kept for days may stay some minutes longer

SELF = Principal("rportd", "admin", "")

log = logging.getLogger("rport")


class Upkeep:
    """`keep` gives how many seconds offline clients are kept, 0 = for ever."""

    def __init__(self, store: Store, inventory: Inventory, changes: Changes, keep: Callable[[], float]) -> None:
        self.store = store
        self.inventory = inventory
        self.changes = changes
        self.keep = keep
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(_repeat(self.be_alive, ALIVE_EVERY)),
            loop.create_task(_repeat(self.sweep, SWEEP_EVERY)),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(ServerError):
            await self.be_alive()

    async def be_alive(self) -> None:
        """Raises StoreFull and StoreUnavailable, as sweep() does."""
        async with self.store.write() as db:
            await set_fact(db, ALIVE, repr(time.time()))

    async def sweep(self) -> None:
        """Clients that were not here for too long, and connections that nobody asks for any more."""
        keep = self.keep()
        for client in self._old(time.time() - keep) if keep else ():
            if not client.connected:  # it may have come meanwhile
                await self.changes.remove(SELF, client, f"not seen for {keep / 86400:g} days")
        counts = sa.select(schema.connections.c.client).group_by(schema.connections.c.client)
        async with self.store.read() as db:
            crowded = (await db.execute(counts.having(sa.func.count() > KEPT))).scalars().all()
        for id in crowded:
            async with self.store.write() as db:
                await prune(db, id)

    def _old(self, before: float) -> list[Client]:
        """Managed ones are somebody's work, and stay until he removes them."""
        return [
            client
            for client in self.inventory
            if not client.connected
            and not client.managed
            and not self.changes.credentials.of(client)
            and (client.last_seen or client.created) < before
        ]


async def _repeat(work: Callable[[], object], pause: float) -> None:
    while True:
        with contextlib.suppress(ServerError):  # the database is in trouble: the next time
            await work()  # type: ignore[misc]
        await asyncio.sleep(pause)
