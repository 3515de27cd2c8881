"""Events for whoever listens: the last ones from memory, older ones from the store, new ones as they are saved.

Each is encoded once. A listener has a position, the number of the last event that was looked at for it; while the ring
does not reach back to it, pages come from the store.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Collection
from typing import NamedTuple

import sqlalchemy as sa

from rport.server.errors import ServerError
from rport.server.event import ADMIN_ALONE, UNSAVED, Event, event_row
from rport.server.journal import Journal
from rport.server.principal import Principal
from rport.server.store import schema

RING = 1000  # events in memory, some 1 KiB each: whoever comes back within seconds or minutes costs no query
LISTENERS_MAX = 256
LISTENERS_OF_ONE = 192  # of one user's, whose programs may have lost their heads: others still find a place
QUEUE_MAX = 1000  # events that wait for one that does not read; it comes back by number
PAGE = 500  # rows of one query
KEEP_ALIVE = 15.0  # seconds of silence, before proxies on the way take it for the end
TICK = 1.0  # seconds between two looks at who may still listen
AGAIN = b"retry: 2000\n\n"  # ms before a browser connects again; it also shows at once that the stream is open


class TooManyListeners(ServerError):
    """As many as there may be."""

    status = 503
    kind = "too-many-listeners"


class Wish(NamedTuple):
    """Which events somebody wants; empty = all that he may see."""

    who: Principal
    types: frozenset[str] = frozenset()
    client: str = ""


class Listener:
    """`ended` is set when nothing more comes."""

    def __init__(self, wish: Wish, position: int) -> None:
        self.wish = wish
        self.position = position
        self.ended = asyncio.Event()
        self.idle = 0.0  # seconds
        self._queue: list[bytes] = []
        self._wake = asyncio.Event()

    def put(self, octets: bytes) -> None:
        self._queue.append(octets)
        self.idle = 0.0
        if len(self._queue) > QUEUE_MAX:
            self.end()
        self._wake.set()

    def end(self) -> None:
        self.ended.set()
        self._wake.set()

    async def take(self) -> bytes:
        """All that came; empty at the end."""
        while not self._queue and not self.ended.is_set():
            self._wake.clear()
            await self._wake.wait()
        taken = b"".join(self._queue) if not self.ended.is_set() else b""
        self._queue.clear()
        return taken


class Events:
    """`tags_then` are those of a client that say who sees what happened to it at a time, None when there is no such
    client; `stands` says whether somebody may still do what he could."""

    def __init__(
        self,
        journal: Journal,
        tags_then: Callable[[str, float], Collection[str] | None],
        stands: Callable[[Principal], bool],
    ) -> None:
        self._journal = journal
        self._tags_then, self._stands = tags_then, stands
        self._ring: deque[tuple[Event, bytes]] = deque(maxlen=RING)
        self._behind: set[Listener] = set()  # those that still read from the store
        self._listeners: set[Listener] = set()
        self._open: Counter[str] = Counter()  # both, by user
        self._closed = False
        self._ticking: asyncio.TimerHandle | None = None
        journal.subscribers.append(self._publish)

    def __len__(self) -> int:
        """Listeners."""
        return self._open.total()

    def close(self) -> None:
        """All hear that it ends; they may come back to another process."""
        self._closed = True
        if self._ticking is not None:
            self._ticking.cancel()
        for listener in self._behind | self._listeners:
            listener.end()

    def sees(self, wish: Wish, event: Event) -> bool:
        if (wish.types and event.type not in wish.types) or (wish.client and event.client != wish.client):
            return False
        who = wish.who
        if event.type in ADMIN_ALONE and not who.at_least("admin"):
            return False
        if who.tags is None:
            return True
        tags = self._tags_then(event.client, event.at) if event.client is not None else None
        return tags is not None and who.sees(tags)

    # --- listening -----------------------------------------------------------------------------------------------

    def listen(self, wish: Wish, after: int | None) -> Listener:
        """From behind event number `after` on; None = from now on. Raises TooManyListeners."""
        if wish.who.kind != "local" and self._open[wish.who.name] >= LISTENERS_OF_ONE:
            raise TooManyListeners(f"you listen {LISTENERS_OF_ONE} times already; end some of it, or try again later")
        if len(self) >= LISTENERS_MAX:
            raise TooManyListeners(f"{LISTENERS_MAX} listen to events already; try again later")
        return Listener(wish, self._journal.newest if after is None else after)

    async def stream(self, listener: Listener) -> AsyncGenerator[bytes, None]:
        """What it is sent, until it is over. Raises StoreUnavailable."""
        name = listener.wish.who.name
        self._open[name] += 1
        self._begin(listener)
        try:
            yield AGAIN
            if gap := await self._gap(listener):
                yield gap
            while not listener.ended.is_set() and not self._covers(listener.position):
                yield await self._page(listener)
            self._attach(listener)
            while octets := await listener.take():
                yield octets
        finally:
            self._behind.discard(listener)
            self._listeners.discard(listener)
            self._open[name] -= 1
            self._open = +self._open

    async def _gap(self, listener: Listener) -> bytes:
        """Empty unless events behind its position are gone; then it is at the oldest. 0 asks for what is kept."""
        newest, asked = self._journal.newest, listener.position
        if not asked or (self._covers(asked) and asked <= newest):
            return b""
        async with self._journal.store.read() as db:
            oldest = (await db.execute(sa.select(sa.func.min(schema.events.c.id)))).scalar() or newest + 1
        if asked > newest:  # of another database than this one was
            listener.position = newest
        elif oldest > asked + 1:
            listener.position = oldest - 1
        else:
            return b""
        return _encoded(Event(listener.position, **event_row("gap", None, {"asked": asked, "oldest": oldest})))

    def _covers(self, position: int) -> bool:
        """Nothing behind it is in the store alone."""
        return position >= self._journal.newest or bool(self._ring and self._ring[0][0].id <= position + 1)

    async def _page(self, listener: Listener) -> bytes:
        """The next ones of the store, a comment where none is for him."""
        c, wish, newest = schema.events.c, listener.wish, self._journal.newest
        query = sa.select(schema.events).where(c.id > listener.position, c.id <= newest).order_by(c.id).limit(PAGE)
        if wish.types:
            query = query.where(c.type.in_(wish.types))
        if wish.client:
            query = query.where(c.client == wish.client)
        async with self._journal.store.read() as db:
            events = [Event(*row) for row in await db.execute(query)]
        listener.position = events[-1].id if len(events) == PAGE else newest
        return b"".join(_encoded(event) for event in events if self.sees(wish, event)) or b":\n\n"

    def _begin(self, listener: Listener) -> None:
        """From now on it is looked at whether he may still listen, however long he takes for the store's pages."""
        self._behind.add(listener)
        if self._closed:
            listener.end()
        elif self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _attach(self, listener: Listener) -> None:
        for event, octets in self._ring:
            if event.id > listener.position and self.sees(listener.wish, event):
                listener.put(octets)
        self._behind.discard(listener)
        self._listeners.add(listener)

    # --- telling -------------------------------------------------------------------------------------------------

    def _publish(self, events: list[Event]) -> None:
        for event in events:
            octets = _encoded(event)
            if event.id != UNSAVED:
                self._ring.append((event, octets))
            for listener in self._listeners:
                if self.sees(listener.wish, event):
                    listener.put(octets)

    def _tick(self) -> None:
        everybody = self._behind | self._listeners
        for listener in everybody:
            if not self._stands(listener.wish.who):
                listener.end()
        for listener in self._listeners:
            listener.idle += TICK
            if listener.idle >= KEEP_ALIVE and not listener.ended.is_set():
                listener.put(b":\n\n")
        again = bool(everybody) and not self._closed
        self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick) if again else None


def _encoded(event: Event) -> bytes:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.5. Without a number whoever resumes
    does so from the one before it."""
    number = f"id: {event.id}\n" if event.id != UNSAVED else ""
    return f"{number}event: {event.type}\ndata: {event.json}\n\n".encode()
