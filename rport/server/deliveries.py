"""What waits to be sent to webhooks, or was given up: rows of the store."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rport.server.event import Event
from rport.server.store import schema
from rport.server.webhook import DEAD_MAX, GIVEN_UP, WAITING_MAX, Webhook

CROWDED = f"more than {WAITING_MAX} deliveries waited"
TOO_LATE = "it was not taken within 24 hours"
NOTICE = "webhook.dead"  # events of this type that are given up are not told of: that would never end

_TABLE = schema.deliveries
_C = _TABLE.c


class Failed(NamedTuple):
    """A delivery that is to be tried again at `due`."""

    id: int
    due: float
    attempts: int
    status: int | None
    error: str


async def add(db: AsyncConnection, webhook: Webhook, events: Sequence[Event]) -> None:
    """They are due at once. Of too many the oldest are given up."""
    rows = [
        {
            "webhook": webhook.id,
            "event": event.id,
            "type": event.type,
            "body": event.json,
            "attempts": 0,
            "due": event.at,
            "created": event.at,
        }
        for event in events
    ]
    await db.execute(sa.insert(_TABLE), rows)
    over = webhook.waiting + len(rows) - WAITING_MAX
    if over > 0:
        oldest = sa.select(_C.id).where(*_waiting(webhook.id)).order_by(_C.id).limit(over).scalar_subquery()
        await db.execute(sa.update(_TABLE).where(_C.id.in_(oldest)).values(due=None, error=CROWDED))
        await bury(db, webhook.id)


async def due(db: AsyncConnection, webhook: str, now: float, limit: int) -> list[dict[str, Any]]:
    """In the order of their events."""
    query = sa.select(_TABLE).where(_C.webhook == webhook, _C.due <= now).order_by(_C.id).limit(limit)
    return [dict(row) for row in (await db.execute(query)).mappings()]


async def next_due(db: AsyncConnection, webhook: str) -> float | None:
    query = sa.select(sa.func.min(_C.due)).where(*_waiting(webhook))
    found: float | None = (await db.execute(query)).scalar()
    return found


async def first(db: AsyncConnection, webhook: str) -> dict[str, Any] | None:
    """The oldest that waits."""
    row = (await db.execute(sa.select(_TABLE).where(*_waiting(webhook)).order_by(_C.id).limit(1))).mappings().first()
    return None if row is None else dict(row)


async def settle(db: AsyncConnection, done: Sequence[int], failed: Sequence[Failed]) -> None:
    """Those that were taken go."""
    if done:
        await db.execute(sa.delete(_TABLE).where(_C.id.in_(done)))
    for one in failed:
        await db.execute(sa.update(_TABLE).where(_C.id == one.id).values(**one._asdict()))


async def give_up(db: AsyncConnection, webhook: str, now: float) -> list[int]:
    """All that have waited for too long, without a try each; those of them that are worth a notice."""
    late = (*_waiting(webhook), _C.created <= now - GIVEN_UP)
    gone = (await db.execute(sa.select(_C.id).where(*late, _C.type != NOTICE).order_by(_C.id))).scalars().all()
    await db.execute(sa.update(_TABLE).where(*late).values(due=None, error=sa.func.coalesce(_C.error, TOO_LATE)))
    return list(gone)


async def bury(db: AsyncConnection, webhook: str) -> None:
    """Of too many dead the oldest are forgotten."""
    dead = (_C.webhook == webhook, _C.due.is_(None))
    last = sa.select(_C.id).where(*dead).order_by(_C.id.desc()).offset(DEAD_MAX).limit(1).scalar_subquery()
    await db.execute(sa.delete(_TABLE).where(*dead, _C.id <= last))


async def count(db: AsyncConnection, webhook: str) -> tuple[int, int]:
    """Those that wait, and the dead."""
    query = sa.select(sa.func.count(), sa.func.count(_C.due)).where(_C.webhook == webhook)
    total, waiting = (await db.execute(query)).one()
    return waiting, total - waiting


async def page(
    db: AsyncConnection, webhook: str, state: str | None, limit: int, position: int | None
) -> list[dict[str, Any]]:
    """The newest first, below `position`."""
    query = sa.select(_TABLE).where(_C.webhook == webhook).order_by(_C.id.desc()).limit(limit)
    if state is not None:
        query = query.where(_C.due.is_(None) if state == "dead" else _C.due.is_not(None))
    if position is not None:
        query = query.where(_C.id < position)
    return [dict(row) for row in (await db.execute(query)).mappings()]


async def get(db: AsyncConnection, webhook: str, number: int) -> dict[str, Any] | None:
    row = (await db.execute(sa.select(_TABLE).where(_C.webhook == webhook, _C.id == number))).mappings().first()
    return None if row is None else dict(row)


async def again(db: AsyncConnection, number: int, now: float) -> None:
    """As if it were new."""
    values = {"due": now, "created": now, "attempts": 0, "status": None, "error": None}
    await db.execute(sa.update(_TABLE).where(_C.id == number).values(values))


async def remove(db: AsyncConnection, number: int) -> None:
    await db.execute(sa.delete(_TABLE).where(_C.id == number))


def _waiting(webhook: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _C.webhook == webhook, _C.due.is_not(None)
