"""What happened: audit entries and events, numbered by the store.

What the API does is written in the transaction that does it (`deed`). What sessions do is written behind them, many at
a time: they tell (`tell`, `note`) and go on. An event is published when it is saved, so that nobody sees a number that
a restart would use again.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rport.errors import UsageError
from rport.server.audit import OK, audit_row, log_entry
from rport.server.backlog import Backlog
from rport.server.errors import ServerError
from rport.server.event import UNSAVED, Event, event_row
from rport.server.principal import Principal
from rport.server.store import Store, schema
from rport.server.store.whole import follow
from rport.server.trouble import Trouble

_Row = tuple[sa.Table, dict[str, Any]]


class Deed:
    """A transaction in which somebody does something. `details` go into its audit entry."""

    def __init__(self) -> None:
        self.db: AsyncConnection
        self.events: list[dict[str, Any]] = []
        self.callbacks: list[Callable[[], None]] = []
        self.details: dict[str, Any] = {}

    def tell(self, type: str, client: str | None = None, **data: Any) -> None:
        """An event that is saved with it."""
        self.events.append(event_row(type, client, data))

    def then(self, callback: Callable[[], None]) -> None:
        """What changes in memory once it is saved, before anybody else writes."""
        self.callbacks.append(callback)


class Journal:
    """`subscribers` are called with each saved batch of events, in order; `savers` before that, in the transaction that
    saves it, for what must not be lost either."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.subscribers: list[Callable[[list[Event]], None]] = []
        self.savers: list[Callable[[AsyncConnection, list[Event]], Awaitable[None]]] = []
        self.told: Counter[str] = Counter()  # events by type
        self.logins_failed: Counter[str] = Counter()  # of `client`s, and at the `api`: not all of them are told
        self.newest = 0  # the number of the last event that was saved
        self._backlog: Backlog[_Row] = Backlog(self._save)
        self.trouble = Trouble(store, self.tell, self._alarm)

    async def start(self) -> None:
        """Raises StoreUnavailable."""
        async with self.store.read() as db:
            self.newest = (await db.execute(sa.select(sa.func.max(schema.events.c.id)))).scalar() or 0
        self._backlog.start()

    async def close(self) -> None:
        """What waits is written, if that can be."""
        self.trouble.close()
        await self._backlog.close()

    @property
    def waiting(self) -> int:
        """Rows that are not saved yet."""
        return len(self._backlog)

    @property
    def lost(self) -> int:
        """Rows that were given up."""
        return self._backlog.lost

    # --- behind what happens -------------------------------------------------------------------------------------

    def tell(self, type: str, client: str | None = None, **data: Any) -> None:
        """An event."""
        self.told[type] += 1
        self._backlog.put((schema.events, event_row(type, client, data)))

    def note(
        self, actor: str, source: str, action: str, subject: str, result: str, client: str | None = None, **details: Any
    ) -> None:
        """An audit entry. No secrets."""
        row = audit_row(actor, source, action, subject, result, client, details)
        log_entry(row)
        self._backlog.put((schema.audit, row))

    async def _save(self, batch: list[_Row]) -> None:
        events = [row for table, row in batch if table is schema.events]
        entries = [row for table, row in batch if table is schema.audit]
        saved: list[Event] = []
        async with self.store.write(lambda: self.publish(saved)) as db:
            if entries:
                await db.execute(sa.insert(schema.audit), entries)
            saved += await self.insert(db, events)

    # --- with what happens ---------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def deed(
        self, who: Principal, action: str, subject: str, client: str | None = None, **details: Any
    ) -> AsyncIterator[Deed]:
        """A transaction with its audit entry. A ServerError raised in it undoes it, and is the entry's result.

        Raises StoreFull and StoreUnavailable.
        """
        deed = Deed()
        saved: list[Event] = []
        entry: dict[str, Any] = {}

        def then() -> None:
            for callback in deed.callbacks:
                follow(callback)
            for row in deed.events:
                self.told[row["type"]] += 1
            log_entry(entry)
            self.publish(saved)

        try:
            async with self.store.write(then) as deed.db:
                yield deed
                entry |= audit_row(str(who), who.source, action, subject, OK, client, details | deed.details)
                await deed.db.execute(sa.insert(schema.audit), [entry])
                saved += await self.insert(deed.db, deed.events)
        except (ServerError, UsageError) as error:
            self.note(str(who), who.source, action, subject, str(error), client, **details | deed.details)
            raise

    async def insert(self, db: AsyncConnection, rows: list[dict[str, Any]]) -> list[Event]:
        """Events, for a transaction of somebody else's, who publishes them behind it."""
        if not rows:
            return []
        insert = sa.insert(schema.events).returning(schema.events.c.id, sort_by_parameter_order=True)
        numbers = (await db.execute(insert, rows)).scalars()
        saved = [Event(id=number, **row) for number, row in zip(numbers, rows, strict=True)]
        for save in self.savers:
            await save(db, saved)
        return saved

    def publish(self, events: list[Event]) -> None:
        """What is saved."""
        if events:
            self.newest = max(self.newest, events[-1].id)
            for subscriber in self.subscribers:
                follow(partial(subscriber, events))

    def _alarm(self, type: str, **data: Any) -> None:
        """At once, to whoever listens now: when it can be saved it is too late."""
        self.publish([Event(UNSAVED, **event_row(type, None, data))])
