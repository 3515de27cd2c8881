"""A number in the database that everybody who changes users, tokens or cookies raises: who has another one in memory
reads them again. `rportd user add` reaches a running server so.

Whoever raises it has it locked until his transaction ends: what he looks at meanwhile is nobody else's to change.
"""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rport.server.store import schema

_NAME = "changes"
# Both databases speak this; a numeric type's name is SQLite's to interpret and PostgreSQL's to have.
_RAISE = sa.text(
    "INSERT INTO facts (name, value) VALUES (:name, '1') ON CONFLICT (name) "
    "DO UPDATE SET value = CAST(CAST(facts.value AS BIGINT) + 1 AS TEXT)"
)


async def raise_changes(db: AsyncConnection) -> None:
    """Nobody else gets past this until the transaction of `db` ends."""
    await db.execute(_RAISE, {"name": _NAME})


async def changes(db: AsyncConnection) -> int:
    """0 in a database that nobody has changed yet."""
    found = (await db.execute(sa.select(schema.facts.c.value).where(schema.facts.c.name == _NAME))).scalar()
    return int(found or 0)
