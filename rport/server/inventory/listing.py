"""Clients by filter and order, a page at a time. Pure.

A cursor says behind which client a page ends, by what it was sorted by and its id: whoever comes or goes meanwhile
moves nobody else to another page.
"""

import asyncio
import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from rport.server import cursors
from rport.server.cursors import BadCursor
from rport.server.inventory.client import Client

TURN = 1000  # clients that are looked through at a time, in some 10 ms: tunnels wait meanwhile

_Place = tuple[bool, Any, str]


_KEYS: dict[str, Callable[[Client], Any]] = {  # None: not known, and last whichever way it is sorted
    "name": lambda client: client.shown_name.casefold(),
    "id": lambda client: client.id,
    "last_seen": lambda client: math.inf if client.connected else client.last_seen,
    "first_seen": lambda client: client.first_seen,
    "os": lambda client: client.facts.os or None,
    "rtt": lambda client: client.rtt,
    "address": lambda client: client.address or None,
}
SORTS = tuple(f"{sign}{name}" for name in _KEYS for sign in ("", "-"))


class Wanted(NamedTuple):
    """All that is given has to match; `tags` are those of administrators and the client's own."""

    tags: tuple[str, ...] = ()
    os: str = ""
    state: str | None = None
    text: str = ""

    def matches(self, client: Client) -> bool:
        facts = client.facts
        return (
            (not self.state or client.connected == (self.state == "connected"))
            and all(tag in client.tags or tag in facts.tags for tag in self.tags)
            and (not self.os or self.os.casefold() in (facts.os.casefold(), facts.os_version.casefold()))
            and (not self.text or self.text.casefold() in _texts(client))
        )


def _texts(client: Client) -> str:
    """All that is searched."""
    facts = client.facts
    texts = (client.id, client.shown_name, facts.hostname, client.address, client.note, facts.os_version)
    return "\n".join((*texts, *facts.addresses, *client.tags, *facts.tags)).casefold()


async def page_in_turns(
    clients: Sequence[Client], wanted: Wanted, sort: str, limit: int, cursor: str | None = None
) -> tuple[list[Client], str | None]:
    """As page(), and others have their turn between two parts of the clients. Raises BadCursor."""
    best: list[Client] = []
    for start in range(0, len(clients), TURN):
        best, _ = page([*best, *clients[start : start + TURN]], wanted, sort, limit + 1, cursor)
        await asyncio.sleep(0)
    return page(best, wanted, sort, limit, cursor)


def page(
    clients: Iterable[Client], wanted: Wanted, sort: str, limit: int, cursor: str | None = None
) -> tuple[list[Client], str | None]:
    """At most `limit` of those that match, and the cursor of the rest. `sort` is one of SORTS. Raises BadCursor."""
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    key = _KEYS[name]

    def place(value: Any, id: str) -> _Place:
        """Sorted by, so that what is not known comes last in either direction."""
        missing = value is None
        return (missing != descending, 0 if missing else value, id)

    chosen: Iterable[Client] = clients if wanted == Wanted() else filter(wanted.matches, clients)
    placed: Iterable[tuple[_Place, Client]] = ((place(key(client), client.id), client) for client in chosen)
    if cursor:
        placed = _behind(place(*_read(cursor, sort)), placed, descending)
    best = heapq.nlargest if descending else heapq.nsmallest  # of thousands, a page
    try:
        found = [client for _, client in best(limit + 1, placed, key=itemgetter(0))]
    except TypeError:
        raise BadCursor from None
    last = found[limit - 1] if len(found) > limit else None
    return found[:limit], cursors.write([sort, key(last), last.id]) if last is not None else None


def _behind(end: _Place, placed: Iterable[tuple[_Place, Client]], descending: bool) -> Iterator[tuple[_Place, Client]]:
    return (item for item in placed if (item[0] < end if descending else item[0] > end))


def _read(cursor: str, sort: str) -> tuple[Any, str]:
    """Sorted by what, and the id."""
    data = cursors.read(cursor)
    if not (len(data) == 3 and data[0] == sort and isinstance(data[2], str)):
        raise BadCursor
    if not isinstance(data[1], str | int | float | None):
        raise BadCursor
    return data[1], data[2]
