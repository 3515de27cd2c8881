"""What happened long ago is forgotten, a little at a time."""

import asyncio
import logging
import time
from collections.abc import Callable

import sqlalchemy as sa

from rport.server.errors import ServerError
from rport.server.settings import Settings
from rport.server.store import Store, schema

EVERY = 3600.0  # seconds between two looks
EVENTS_MAX = 1_000_000  # some 400 MB, whoever comes and goes how often: then the oldest go before their time
BATCH = 1000  # rows that go in one transaction: other writers wait for no more

log = logging.getLogger("rport")


class Retention:
    """Of the audit log and of events, as the settings of the moment say."""

    def __init__(self, store: Store, settings: Callable[[], Settings]) -> None:
        self._store, self._settings = store, settings
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await self.forget(time.time())
            except ServerError as error:
                log.debug("Nothing old was deleted: %s", error)
            await asyncio.sleep(EVERY)

    async def forget(self, now: float) -> None:
        """What is older than it is kept at `now`. Raises StoreFull and StoreUnavailable."""
        settings = self._settings()
        for table, kept in ((schema.audit, settings.keep_audit), (schema.events, settings.keep_events)):
            if kept:
                await self._forget_before(table, now - kept)
        # Not the audit log: nobody shall be able to wash out what he did.
        await self._forget_all_but(schema.events, EVENTS_MAX)

    async def _forget_before(self, table: sa.Table, before: float) -> None:
        newest = sa.select(sa.func.max(table.c.id)).scalar_subquery()  # stays: it says how far the numbers are
        await self._delete(
            table, sa.select(table.c.id).where(table.c.at < before, table.c.id < newest).order_by(table.c.at)
        )

    async def _forget_all_but(self, table: sa.Table, count: int) -> None:
        newest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
        await self._delete(table, sa.select(table.c.id).where(table.c.id <= newest - count).order_by(table.c.id))

    async def _delete(self, table: sa.Table, rows: sa.Select[tuple[int]]) -> None:
        old, gone = rows.limit(BATCH), BATCH
        while gone == BATCH:
            async with self._store.write() as db:
                gone = (await db.execute(sa.delete(table).where(table.c.id.in_(old.scalar_subquery())))).rowcount
