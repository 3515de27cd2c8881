"""What sessions change of their clients, written to the store behind them: many in one transaction, each once.

A client that comes and goes costs a row for each connection, of which few wait and few are kept, and one update
of its own for all that happened since the last write.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rport.server.errors import ServerError
from rport.server.inventory.client import Client
from rport.server.inventory.inventory import Inventory
from rport.server.inventory.rows import row_of, seen
from rport.server.plain import plain
from rport.server.store import Store, schema

if TYPE_CHECKING:
    from rport.server.session import ServerSession

PAUSE = 0.5  # seconds from one write to the next, in which a client's changes become one
BATCH = 500  # clients or connections in one transaction
WAITING_MAX = 20_000  # connections that wait for a database in trouble, some 500 octets each; the oldest are given up
FLAPS_MAX = 10  # connections of one client in one write: of one that comes and goes all the time, the last ones
KEPT = 100  # connections of one client that the store remembers
PRUNE_AFTER = 50  # more of them, before the oldest are deleted
TEXT_MAX = 300  # characters of a reason

log = logging.getLogger("rport")

_clients, _connections = schema.clients, schema.connections


class Records:
    """Fed by the inventory, read by the API once it was flushed."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store = store
        self.inventory = inventory
        self.lost = 0  # connections that were given up
        self._dirty: OrderedDict[str, Client] = OrderedDict()
        self._new: OrderedDict[str, dict[str, Any]] = OrderedDict()  # connections without a row, by session
        self._ended: OrderedDict[str, dict[str, Any]] = OrderedDict()  # what is to be written into rows
        self._flaps: dict[str, deque[str]] = {}  # sessions in _new, by client
        self._fresh: dict[str, int] = {}  # rows by client since its old ones were deleted
        self._wake = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        inventory.on_connected.append(self.connected)
        inventory.on_disconnected.append(self.disconnected)

    def start(self) -> None:
        self._writing = asyncio.get_running_loop().create_task(self._write_for_ever())

    async def close(self) -> None:
        """What waits is written, if that can be."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})
        with contextlib.suppress(ServerError):
            await self.flush()

    # --- what happens --------------------------------------------------------------------------------------------

    def touch(self, client: Client) -> None:
        """Something of it has changed."""
        if client.stable:
            self._dirty[client.id] = client
            self._wake.set()

    def connected(self, client: Client, session: "ServerSession") -> None:
        """A row for its history."""
        assert session.entry is not None
        if not client.stable:
            return
        self.touch(client)
        self._new[session.entry.id] = {
            "client": client.id,
            "session": session.entry.id,
            "address": client.address,
            "version": client.version,
            "since": client.since,
            "until": None,
            "reason": None,
        }
        waiting = self._flaps.setdefault(client.id, deque())
        waiting.append(session.entry.id)
        if len(waiting) > FLAPS_MAX:
            self._new.pop(waiting.popleft(), None)
            self.lost += 1
        if len(self._new) > WAITING_MAX:
            self._new.popitem(last=False)
            self.lost += 1

    def disconnected(self, client: Client, session: "ServerSession", reason: str) -> None:
        """Its row has an end."""
        assert session.entry is not None
        if not client.stable:
            return
        self.touch(client)
        end = {"until": client.last_seen, "reason": plain(reason, TEXT_MAX)}
        row = self._new.get(session.entry.id)
        if row is not None:
            row.update(end)
        else:
            self._ended[session.entry.id] = {"of": session.entry.id, **end}
            if len(self._ended) > WAITING_MAX:
                self._ended.popitem(last=False)

    # --- the store -----------------------------------------------------------------------------------------------

    async def save(self, db: AsyncConnection, client: Client) -> None:
        """In somebody's transaction: its row is there, for what refers to it. The caller marks it as `saved`, then."""
        if not client.saved:
            await db.execute(sa.insert(_clients), [row_of(client)])

    async def flush(self) -> None:
        """Write all that waits. Raises StoreFull and StoreUnavailable."""
        while self._dirty or self._new or self._ended:
            await self._flush()

    async def _write_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except ServerError:  # it is the store's to tell
                self._wake.set()
            except Exception:  # a mistake of ours, which must not be the last that is written
                log.exception("what clients did could not be saved")
            await asyncio.sleep(PAUSE)

    async def _flush(self) -> None:
        batch = _Batch()
        try:
            await self._write(batch)
        except BaseException:
            for client in batch.clients:
                self._dirty.setdefault(client.id, client)
            raise

    async def _write(self, batch: "_Batch") -> None:
        async with self.store.write(lambda: self._written(batch)) as db:
            # Looked at once nobody else writes: who was removed until then is left out, and so are his connections.
            batch.take(self)
            if batch.clients:
                await _write_clients(db, batch.clients)
            if batch.new:
                await db.execute(sa.insert(_connections), list(batch.new.values()))
            if batch.ended:
                change = sa.update(_connections).where(_connections.c.session == sa.bindparam("of"))
                await db.execute(change, [*batch.ended.values()])
            for client in batch.crowded:
                await prune(db, client)

    def _written(self, batch: "_Batch") -> None:
        for client in batch.clients:
            client.saved = True
        for session, row in batch.new.items():
            self._flaps.pop(row["client"], None)
            waiting = self._new.pop(session, None)
            if waiting is not None and waiting["until"] != row["until"]:  # it ended while it was written
                self._ended[session] = {"of": session, "until": waiting["until"], "reason": waiting["reason"]}
        for session in batch.ended:
            self._ended.pop(session, None)
        for id in batch.crowded:
            self._fresh.pop(id, None)


class _Batch:
    """What one transaction writes: copies, since the originals go on changing."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.new: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, dict[str, Any]] = {}
        self.crowded: list[str] = []

    def take(self, records: Records) -> None:
        dirty, waiting = records._dirty, records._new
        chosen = [dirty.popitem(last=False)[1] for _ in range(min(BATCH, len(dirty)))]
        self.clients = [client for client in chosen if records.inventory.get(client.id) is client]
        there = {client.id for client in self.clients}
        for session in [*waiting][:BATCH]:
            id = waiting[session]["client"]
            client = records.inventory.get(id)
            if client is None:
                del waiting[session]
            elif client.saved or id in there:
                self.new[session] = dict(waiting[session])
                records._fresh[id] = records._fresh.get(id, 0) + 1
        self.ended = {session: records._ended[session] for session in [*records._ended][:BATCH]}
        self.crowded = [id for id, count in records._fresh.items() if count >= PRUNE_AFTER]


async def _write_clients(db: AsyncConnection, clients: list[Client]) -> None:
    new = [row_of(client) for client in clients if not client.saved]
    known = [{"of": client.id} | seen(client) for client in clients if client.saved]
    if new:
        await db.execute(sa.insert(_clients), new)
    if known:
        await db.execute(sa.update(_clients).where(_clients.c.id == sa.bindparam("of")), known)


async def prune(db: AsyncConnection, client: str) -> None:
    """Of its connections, the last KEPT stay."""
    mine = _connections.c.client == client
    oldest = sa.select(_connections.c.id).where(mine).order_by(_connections.c.id.desc()).offset(KEPT).limit(1)
    number = (await db.execute(oldest)).scalar()
    if number is not None:
        await db.execute(sa.delete(_connections).where(mine, _connections.c.id <= number))
