"""The audit log, read: by filter, a page at a time, or all of it."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from rport.server.cursors import row_behind
from rport.server.errors import Unauthorized
from rport.server.event import encode
from rport.server.people import OVER
from rport.server.principal import Principal
from rport.server.store import Store, schema
from rport.server.times import rfc3339

PAGE = 500  # rows of one query, some 1 KiB each
SCANS = (
    20  # queries for one page of whoever sees few of its clients; it may be shorter, and goes on behind what was seen
)

_COLUMNS = schema.audit.c


class Sought(NamedTuple):
    """All that is given has to match; `since` and `until` are seconds since 1970, the former included."""

    who: Principal
    actor: str = ""
    action: str = ""
    client: str = ""
    since: float | None = None
    until: float | None = None
    text: str = ""

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        c, found = _COLUMNS, list[sa.ColumnElement[bool]]()
        if self.actor:  # "me" is "user me" and "token 3f.. of me"
            found.append(sa.or_(c.actor == self.actor, c.actor.endswith(f" {self.actor}", autoescape=True)))
        if self.action:  # "tunnel." is all that is done with tunnels
            begins = self.action.endswith(".")
            found.append(c.action.startswith(self.action, autoescape=True) if begins else c.action == self.action)
        if self.client:
            found.append(c.client == self.client)
        if self.since is not None:
            found.append(c.at >= self.since)
        if self.until is not None:
            found.append(c.at < self.until)
        if self.text:
            texts = (c.actor, c.source, c.subject, c.result)
            found.append(sa.or_(*(column.icontains(self.text, autoescape=True) for column in texts)))
        if self.who.tags is not None:
            found.append(c.client.is_not(None))
        return found


class AuditLog:
    """`tags_then` are those of a client that say who sees what was done to it at a time, None when there is no such
    client; `stands` says whether somebody may still do what he could."""

    def __init__(
        self,
        store: Store,
        tags_then: Callable[[str, float], Collection[str] | None],
        stands: Callable[[Principal], bool],
    ) -> None:
        self._store, self._tags_then, self._stands = store, tags_then, stands

    async def page(
        self, sought: Sought, limit: int, cursor: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """The newest first, and the cursor of the rest. Raises BadCursor and StoreUnavailable."""
        position, found = row_behind(cursor), list[dict[str, Any]]()
        size = limit + 1 if sought.who.tags is None else PAGE
        for _ in range(SCANS):
            below = [] if position is None else [_COLUMNS.id < position]
            rows = await self._rows(sought, below, _COLUMNS.id.desc(), size)
            for row in rows:
                if len(found) == limit:
                    return found, str(position)
                position = row["id"]
                if self._shows(sought.who, row):
                    found.append(shown(row))
            if len(rows) < size:
                return found, None
        return found, str(position)

    async def export(self, sought: Sought) -> AsyncGenerator[bytes, None]:
        """JSON lines, the oldest first, a part for each query. Raises StoreUnavailable; and Unauthorized once his
        credentials count no more: whoever reads slowly could else go on for hours."""
        position = 0
        while True:
            if not self._stands(sought.who):
                raise Unauthorized(OVER)
            rows = await self._rows(sought, [_COLUMNS.id > position], _COLUMNS.id, PAGE)
            lines = [f"{encode(shown(row))}\n" for row in rows if self._shows(sought.who, row)]
            yield "".join(lines).encode()
            if len(rows) < PAGE:
                return
            position = rows[-1]["id"]

    async def _rows(
        self, sought: Sought, more: list[sa.ColumnElement[bool]], order: Any, limit: int
    ) -> list[dict[str, Any]]:
        query = sa.select(schema.audit).where(*sought.conditions(), *more).order_by(order).limit(limit)
        async with self._store.read() as db:
            return [dict(row) for row in (await db.execute(query)).mappings()]

    def _shows(self, who: Principal, row: Mapping[str, Any]) -> bool:
        if who.tags is None:
            return True
        tags = self._tags_then(row["client"], row["at"])
        return tags is not None and who.sees(tags)


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """As the API shows it."""
    return {**row, "at": rfc3339(row["at"])}
