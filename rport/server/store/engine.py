"""How SQLAlchemy talks to the two databases, and what their errors mean here."""

import asyncio
import contextlib
import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from rport.errors import UsageError
from rport.server.errors import ServerError

FILE = "rportd.db"  # in the state directory
MEMORY = "memory"  # as `--db`: nothing outlives the process
READERS = 4  # connections for reading; SQLite's each have a thread
BUSY_TIMEOUT = 5.0  # seconds to wait for another process's write: a backup, or `rportd user add`
STATEMENT_TIMEOUT = 10.0  # seconds that a database on the network gets, so that one that hangs does not hang the API
WAL_KEPT = 4 << 20  # octets of SQLite's log that stay behind when it was written over: a burst's room is given back

# The pool tells of each connection that breaks, with a traceback; whoever wanted to use it is told in words.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

FULL = "the disk of the server's database is full; nothing was saved"


class StoreFull(ServerError):
    """There is no room for it: nothing was saved."""

    status = 507
    kind = "store-full"


class StoreUnavailable(ServerError):
    """The database cannot be written or reached now: nothing was saved."""

    status = 503
    kind = "store-unavailable"


def url_of(text: str | None, state_dir: str) -> sa.URL:
    """`--db`, else the file in the state directory. Raises UsageError, without the password that may be in `text`."""
    if text is None:
        return sa.URL.create("sqlite+aiosqlite", database=os.path.join(state_dir, FILE))
    if text == MEMORY:
        return sa.URL.create("sqlite+aiosqlite", database=":memory:")
    try:
        url = sa.make_url(text)
    except (SQLAlchemyError, ValueError):
        raise UsageError("--db: give sqlite+aiosqlite:////PATH or postgresql+asyncpg://USER@HOST/NAME") from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+asyncpg")
    if url.drivername == "sqlite":
        url = url.set(drivername="sqlite+aiosqlite")
    if url.drivername == "sqlite+aiosqlite":
        return _sqlite_url(url)
    if url.drivername == "postgresql+asyncpg":
        return _postgresql_url(url)
    raise UsageError(f"--db: {url.drivername} is not supported; give sqlite+aiosqlite or postgresql+asyncpg")


def _sqlite_url(url: sa.URL) -> sa.URL:
    if not url.database:
        raise UsageError("--db: name the file, as in sqlite+aiosqlite:////var/lib/rport/rportd.db")
    if url.host or url.username or url.port or url.query:
        raise UsageError("--db: SQLite takes a path alone, as in sqlite+aiosqlite:////var/lib/rport/rportd.db")
    return url


def _postgresql_url(url: sa.URL) -> sa.URL:
    """With libpq's name for `ssl`, which is what most people know, as the driver's own."""
    if "sslmode" in url.query and "ssl" not in url.query:
        url = url.update_query_dict({"ssl": url.query["sslmode"]}).difference_update_query(["sslmode"])
    if not set(url.query) <= {"host", "port", "ssl"}:
        raise UsageError("--db: only host=, port= and ssl= may stand behind the ?")
    try:
        found = connection_arguments(url).get("port", 5432)
    except (SQLAlchemyError, ValueError):
        raise UsageError("--db: the hosts and ports do not go together") from None
    for port in found if isinstance(found, list) else [found]:
        if port is not None and not 1 <= port <= 65535:
            raise UsageError(f"--db: port {port} is not from 1 to 65535")
    return url


def connection_arguments(url: sa.URL) -> dict[str, Any]:
    """What PostgreSQL's driver is given: host and port (several of them = lists), user, password, database, ssl."""
    return dict(url.get_dialect()().create_connect_args(url)[1])


def make_engine(url: sa.URL) -> AsyncEngine:
    """Raises UsageError where the driver for it is not installed."""
    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    arguments = {
        "timeout": STATEMENT_TIMEOUT,
        "command_timeout": STATEMENT_TIMEOUT,
        "server_settings": {"application_name": "rportd"},
    }
    try:
        return create_async_engine(
            url, pool_size=READERS + 2, max_overflow=0, pool_pre_ping=True, connect_args=arguments
        )
    except ImportError:
        raise UsageError("--db: PostgreSQL needs a driver: pip install 'rport[postgres]'") from None


def _sqlite(url: sa.URL) -> AsyncEngine:
    memory = url.database == ":memory:"
    pool: dict[str, Any] = {"poolclass": StaticPool} if memory else {"pool_size": READERS + 1, "max_overflow": 0}
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT}, **pool)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        cursor = connection.cursor()
        # WAL: who reads waits for nobody. FULL: what was acknowledged outlives a power cut, too.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"journal_size_limit={WAL_KEPT}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "handle_error")
    def stay(context: sa.engine.ExceptionContext) -> None:
        # Its thread does one thing behind the other, the next of which takes back what was begun. A database in memory
        # would be gone with the connection.
        if isinstance(context.original_exception, asyncio.CancelledError):
            context.is_disconnect = False

    return engine


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Database errors as what they mean here. What is a bug of ours stays what it is."""
    try:
        yield
    except DBAPIError as error:
        cause = (error.orig.__cause__ or error.orig) if error.orig is not None else error
        code = getattr(cause, "sqlite_errorcode", None)
        state = getattr(cause, "sqlstate", None) or ""  # PostgreSQL's, Appendix A of its manual
        if code == sqlite3.SQLITE_FULL or state == "53100":
            raise StoreFull(FULL) from None
        ours = isinstance(error, IntegrityError | ProgrammingError | DataError) or state[:2] == "22"
        if ours and code != sqlite3.SQLITE_READONLY:
            raise
        raise StoreUnavailable(f"the server's database cannot be used now: {_words(cause)}") from None
    except sa.exc.TimeoutError:
        raise StoreUnavailable("the server's database is too slow now; try again") from None
    except TimeoutError:
        raise StoreUnavailable(f"the server's database did not answer within {STATEMENT_TIMEOUT:g} s") from None
    except OSError as error:  # asyncpg cannot connect
        if error.errno == errno.ENOSPC:
            raise StoreFull(FULL) from None
        raise StoreUnavailable(f"the server's database cannot be reached: {error.strerror or error}") from None
    except Exception as error:
        if type(error).__module__.startswith("asyncpg"):  # of connecting, which SQLAlchemy does not wrap
            raise StoreUnavailable(f"the server's database cannot be reached: {_words(error)}") from None
        raise


def _words(cause: object) -> str:
    """The database's own words, one line of them."""
    return str(cause).partition("\n")[0][:200] or type(cause).__name__
