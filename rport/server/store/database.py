"""The database that a server works with: one writer at a time, and nobody else's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rport.errors import UsageError
from rport.server.errors import ServerError
from rport.server.store.claim import ADVISORY, TAKEN, claimed, make_private
from rport.server.store.engine import StoreFull, StoreUnavailable, make_engine, translated
from rport.server.store.migrate import migrate
from rport.server.store.schema import REVISION
from rport.server.store.whole import follow, to_its_end

CLOSE_TIME = 2.0  # seconds to say goodbye to a database on the network
CLAIM_TRIES, CLAIM_RETRY = 20, 0.1  # seconds between; a connection's end is noticed within milliseconds


class Store:
    """One database. Whoever writes waits for the writer before him; nobody waits for readers."""

    def __init__(self, url: sa.URL) -> None:
        """Raises UsageError where the driver for it is not installed."""
        self.url = url
        self.sqlite = url.get_backend_name() == "sqlite"
        self.trouble = ""  # why the last write failed; empty = it did not
        self.on_trouble: Callable[[str], None] = lambda trouble: None  # it begins, or is over
        self._writing = asyncio.Lock()
        self._engine = make_engine(url)
        self._claim = contextlib.AsyncExitStack()
        self._holder: Any = None  # asyncpg's connection that holds PostgreSQL's lock

    @property
    def path(self) -> str | None:
        """The file that it is, where it is one."""
        return self.url.database if self.sqlite and self.url.database != ":memory:" else None

    @contextlib.asynccontextmanager
    async def write(self, then: Callable[[], None] = lambda: None) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed when the block ends, rolled back when it raises.

        `then` is called once it is saved, before anybody else writes: what is in memory changes in the same order.
        Who is cancelled meanwhile hears of that behind it. Raises StoreFull and StoreUnavailable, behind which nothing
        was saved.
        """
        async with self._writing:
            with self._troubles():
                await self._keep_claim()
                async with self._engine.connect() as db:
                    transaction = await db.begin()
                    yield db
                    cancelled = await to_its_end(transaction.commit())
                    self._went("")
                    follow(then)
            if cancelled is not None:
                raise cancelled

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """For queries. Raises StoreUnavailable."""
        with translated():
            async with self._engine.connect() as db:
                yield db

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            with translated():
                yield
        except (StoreFull, StoreUnavailable) as error:
            self._went(str(error))
            raise

    def _went(self, trouble: str) -> None:
        before, self.trouble = self.trouble, trouble
        if bool(before) != bool(trouble):
            self.on_trouble(trouble)

    async def claim(self) -> None:
        """It is this process's until close(). Raises UsageError when it is another's, or cannot be had."""
        if self.path is not None:
            make_private(self.path)
            self._claim.enter_context(claimed(self.path))
        elif not self.sqlite:
            with _at_start():
                await self._take()

    async def _take(self) -> None:
        """PostgreSQL's lock, held by a connection: it is free when the server goes, however it goes.

        Raises StoreUnavailable.
        """
        with contextlib.suppress(ServerError):
            await self._claim.aclose()
        db = await self._claim.enter_async_context(self.read())
        await db.execution_options(isolation_level="AUTOCOMMIT")
        for patience in range(CLAIM_TRIES, -1, -1):
            if (await db.execute(sa.select(sa.func.pg_try_advisory_lock(ADVISORY)))).scalar():
                break
            if not patience:
                await self._claim.aclose()
                raise StoreUnavailable(TAKEN)
            await asyncio.sleep(CLAIM_RETRY)  # of a server that was killed, PostgreSQL may not know yet
        self._holder = (await db.get_raw_connection()).driver_connection

    async def _keep_claim(self) -> None:
        """A PostgreSQL that was restarted has forgotten it. Raises StoreUnavailable when it is another's by now."""
        if self._holder is not None and self._holder.is_closed():
            await self._take()

    async def upgrade(self) -> tuple[str | None, str]:
        """Makes the tables, or brings them up to date: from which revision to which. Raises UsageError."""
        if self.path is not None:
            make_private(self.path)
        with _at_start():
            async with self.write() as db:
                return await db.run_sync(migrate), REVISION

    async def close(self) -> None:
        """A database that hangs is left alone after CLOSE_TIME."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIME):
                with contextlib.suppress(ServerError):
                    await self._claim.aclose()
                await self._engine.dispose()


@contextlib.contextmanager
def _at_start() -> Iterator[None]:
    """What the API would tell, told to whoever starts a program."""
    try:
        yield
    except ServerError as error:
        raise UsageError(f"--db: {error}") from None
