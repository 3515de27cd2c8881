"""From SQLite to PostgreSQL: the rows of a copy, in place of what is there."""

import os
import tempfile
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from rport.errors import UsageError
from rport.server.store.copies import copy
from rport.server.store.database import Store
from rport.server.store.engine import url_of
from rport.server.store.schema import metadata

BATCH = 500  # rows that are held at once


async def move(file: str, store: Store) -> None:
    """`store` is claimed, and the copy sound. All or nothing. Raises UsageError, StoreFull and StoreUnavailable."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "copy.db")
        copy(file, path)
        await _upgrade(path)
        await store.upgrade()
        source = sa.create_engine(sa.URL.create("sqlite", database=path))
        try:
            async with store.write() as db:
                with source.connect() as saved:
                    await _replace(saved, db)
        except DBAPIError as error:
            words = str(error.orig).rpartition(": ")[2].partition("\n")[0]
            raise UsageError(f"{file} has a row that PostgreSQL does not take: {words}") from None
        finally:
            source.dispose()


async def _upgrade(path: str) -> None:
    store = Store(url_of(f"sqlite+aiosqlite:///{path}", ""))
    try:
        await store.upgrade()
    finally:
        await store.close()


async def _replace(saved: sa.Connection, db: AsyncConnection) -> None:
    await db.execute(sa.text(f"TRUNCATE {', '.join(metadata.tables)}"))
    for table in metadata.sorted_tables:
        for batch in _batches(saved, table):
            await db.execute(_insert(table), batch)
    for table, number in saved.execute(sa.text("SELECT name, seq FROM sqlite_sequence")):
        # No number is used twice, even of rows that are gone: whoever follows events goes on behind the last one.
        await db.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(table, "id"), max(number, 1))))


def _batches(saved: sa.Connection, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
    # JSON stays the text that it is: a null in it is another thing than none.
    columns = (sa.type_coerce(c, sa.Text).label(c.name) if _is_json(c) else c for c in table.columns)
    found = saved.execution_options(yield_per=BATCH).execute(sa.select(*columns))
    for rows in found.partitions():
        yield [{name: _plain(value) for name, value in row._mapping.items()} for row in rows]


def _insert(table: sa.Table) -> sa.Insert:
    texts = {c.name: sa.cast(sa.bindparam(c.name, type_=sa.Text), c.type) for c in table.columns if _is_json(c)}
    return sa.insert(table).values(texts) if texts else sa.insert(table)


def _is_json(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.JSON)


def _plain(value: Any) -> Any:
    """PostgreSQL's texts have no NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
