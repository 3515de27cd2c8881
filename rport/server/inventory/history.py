"""When a client was connected, read from the store."""

import contextlib
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from rport.server.cursors import row_behind
from rport.server.errors import ServerError
from rport.server.inventory.client import Client
from rport.server.inventory.records import Records
from rport.server.store import Store, schema


async def history(
    store: Store, records: Records, client: Client, limit: int, cursor: str | None
) -> tuple[list[Mapping[str, Any]], str | None]:
    """The newest first, and the cursor of the rest. Raises BadCursor and StoreUnavailable."""
    with contextlib.suppress(ServerError):  # what could not be written yet is not shown yet
        await records.flush()
    table = schema.connections
    query = sa.select(table).where(table.c.client == client.id).order_by(table.c.id.desc()).limit(limit + 1)
    if (behind := row_behind(cursor)) is not None:
        query = query.where(table.c.id < behind)
    async with store.read() as db:
        rows: list[Mapping[str, Any]] = [dict(row) for row in (await db.execute(query)).mappings()]
    return rows[:limit], str(rows[limit - 1]["id"]) if len(rows) > limit else None
