"""What a server finds in its store: clients, their credentials, and the sessions of one that was killed."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rport.server.credentials import Credential, Credentials
from rport.server.event import Event, event_row
from rport.server.inventory.inventory import Inventory
from rport.server.inventory.rows import client_of
from rport.server.journal import Journal
from rport.server.store import Store, schema

ALIVE = "alive"  # in `facts`: when this server, or the one before it, was last there
CLOSED = "clients_closed"  # in `facts`: there were credentials once
RESTARTED = "the server was restarted"


async def load(store: Store, journal: Journal, inventory: Inventory, credentials: Credentials) -> None:
    """Raises StoreUnavailable."""
    await close_open_connections(store, journal)
    async with store.read() as db:
        for row in (await db.execute(sa.select(schema.clients))).mappings():
            inventory.put(client_of(dict(row)))
        rows = (await db.execute(sa.select(schema.credentials).order_by(schema.credentials.c.created))).mappings()
        credentials.load((Credential(**row) for row in rows), await fact(db, CLOSED) is not None)


async def close_open_connections(store: Store, journal: Journal) -> None:
    """Sessions that nobody saw end: they did when the server was last there, which is told now."""
    connections, saved = schema.connections, list[Event]()
    async with store.write(lambda: journal.publish(saved)) as db:
        alive = float(await fact(db, ALIVE) or 0)
        open_ones = (await db.execute(sa.select(connections).where(connections.c.until.is_(None)))).mappings().all()
        if open_ones:
            ends = [{"of": row["id"], "until": max(alive, row["since"])} for row in open_ones]
            change = sa.update(connections).where(connections.c.id == sa.bindparam("of"))
            await db.execute(change.values(reason=RESTARTED), ends)
            await _set_last_seen(db, open_ones, alive)
            saved += await journal.insert(db, [_event(row) for row in open_ones])


async def _set_last_seen(db: AsyncConnection, rows: Any, alive: float) -> None:
    clients = schema.clients
    seen = {row["client"]: max(alive, row["since"]) for row in rows}
    change = sa.update(clients).where(clients.c.id == sa.bindparam("of"))
    await db.execute(change, [{"of": id, "last_seen": last} for id, last in seen.items()])


def _event(row: Any) -> dict[str, Any]:
    return event_row("client.disconnected", row["client"], {"session": row["session"], "reason": RESTARTED})


async def fact(db: AsyncConnection, name: str) -> str | None:
    """Its value; None = it was never set."""
    found: str | None = (await db.execute(sa.select(schema.facts.c.value).where(schema.facts.c.name == name))).scalar()
    return found


async def set_fact(db: AsyncConnection, name: str, value: str) -> None:
    """For the one that writes."""
    changed = await db.execute(sa.update(schema.facts).where(schema.facts.c.name == name).values(value=value))
    if not changed.rowcount:
        await db.execute(sa.insert(schema.facts).values(name=name, value=value))
