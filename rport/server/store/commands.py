"""`rportd db`: bring the database up to date, save it, put it back, look whether it is sound."""

import asyncio
import contextlib
import getpass
import os
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import sqlalchemy as sa

from rport.cli import Parser, complain
from rport.errors import RportError, UsageError
from rport.server.audit import audit_row
from rport.server.errors import ServerError
from rport.server.options import TABLE
from rport.server.settings import Settings, build
from rport.server.store import copies, schema
from rport.server.store.database import Store
from rport.server.store.engine import url_of
from rport.server.store.migrate import revision

_EPILOG = """\
The database is the one that rportd would use with the same --db, --state-dir and configuration file.

  upgrade          bring its tables to what this version wants, as rportd does at its start
  backup FILE      save a copy, also while rportd runs
  restore FILE     put a copy in its place; rportd must be stopped
  check            look whether it is sound: 0 = yes, 1 = no

examples:
  rportd db backup /var/backups/rportd-2026-01-31.db
  rportd db check --state-dir /var/lib/rportd
"""
_NAMES = ("config", "db", "state-dir")  # the options that say which database
_NEEDS_FILE = {"upgrade": False, "check": False, "backup": True, "restore": True}


def db_command(argv: Sequence[str]) -> int:
    """The exit code."""
    prog = "rportd db"
    p = Parser(prog=prog, usage=f"{prog} upgrade|backup FILE|restore FILE|check [options]",
               description="Look after the server's database.", epilog=_EPILOG)  # fmt: skip
    p.add_argument("verb", metavar="VERB", nargs="?", help="upgrade, backup, restore or check")
    p.add_argument("file", metavar="FILE", nargs="?", help="of backup and restore")
    for option in TABLE.options:
        if option.name in _NAMES:
            p.option(option.name, metavar=option.metavar, help=option.help)
    words = p.parse(argv)
    if words.verb not in _NEEDS_FILE or _NEEDS_FILE[words.verb] != bool(words.file):
        p.error(f"give upgrade, backup FILE, restore FILE or check; see {prog} --help")
    try:
        return asyncio.run(_VERBS[words.verb](open_store(words), words.file))
    except RportError as error:
        return complain(prog, error)


def open_store(words: Namespace) -> sa.URL:
    """Which database rportd would use. Raises UsageError."""
    settings: Settings = TABLE.load(words, build)
    return url_of(settings.db, settings.state_dir)


def _path(url: sa.URL) -> str | None:
    """Of SQLite's file. Raises UsageError for a database that ends with its process."""
    if url.get_backend_name() != "sqlite":
        return None
    if url.database == ":memory:":
        raise UsageError("--db memory: that database is gone when rportd ends; there is nothing to do")
    return url.database


def _existing(url: sa.URL) -> str | None:
    path = _path(url)
    if path is not None and not os.path.exists(path):
        raise UsageError(f"there is no database at {path}; rportd makes one at its first start")
    return path


@contextlib.asynccontextmanager
async def _opened(url: sa.URL) -> AsyncIterator[Store]:
    store = Store(url)
    try:
        yield store
    finally:
        await store.close()


async def _revision(store: Store) -> str | None:
    async with store.read() as db:
        return await db.run_sync(revision)


async def _look(store: Store) -> tuple[str | None, list[str]]:
    """As copies.look() does in a file."""
    async with store.read() as db:
        tables = await db.run_sync(lambda connection: sa.inspect(connection).get_table_names())
        found = await db.run_sync(revision)
    return found, copies.missing(found, tables)


async def _upgrade(url: sa.URL, file: str) -> int:
    path = _path(url)
    async with _opened(url) as store:
        if (path is None or os.path.exists(path)) and await _revision(store) == schema.REVISION:
            print(f"is at revision {schema.REVISION} already")
            return 0
        await store.claim()  # a server of another version may work with the old tables
        before, after = await store.upgrade()
    print(f"upgraded from {before or 'none'} to {after}")
    return 0


async def _backup(url: sa.URL, file: str) -> int:
    from rport.server.store.backup import backup

    octets = backup(url, _existing(url), file)
    await _note(url, file)
    print(f"saved in {file}, {octets} bytes; it holds secrets: keep it private")
    return 0


async def _note(url: sa.URL, file: str) -> None:
    """In the audit log. The copy is there, whether that can be written or not."""
    with contextlib.suppress(ServerError):
        async with _opened(url) as store:
            if await _revision(store) == schema.REVISION:
                row = audit_row(f"local {_user()}", "", "store.backup", file, "ok", None, {})
                async with store.write() as db:
                    await db.execute(sa.insert(schema.audit), [row])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        return str(os.getuid())


async def _restore(url: sa.URL, file: str) -> int:
    from rport.server.store.backup import restore

    found = await restore(url, _path(url), file)
    print(f"the database is what was saved in {file}, at revision {found}")
    return 0


async def _check(url: sa.URL, file: str) -> int:
    path = _existing(url)
    if path is not None:
        found, problems = copies.look(path, path)
    else:
        async with _opened(url) as store:
            found, problems = await _look(store)
    if found is None:
        problems.append("it has no tables of rportd's: run `rportd db upgrade`")
    elif found > schema.REVISION:
        problems.append(f"it is of a newer rportd, revision {found}; update this one")
    elif found != schema.REVISION:
        problems.append(f"it is at revision {found}, this version wants {schema.REVISION}: run `rportd db upgrade`")
    for problem in problems:
        print(problem)
    if not problems:
        print(f"sound, at revision {found}")
    return 1 if problems else 0


_VERBS: dict[str, Callable[[sa.URL, str], Coroutine[Any, Any, int]]] = {
    "upgrade": _upgrade, "backup": _backup, "restore": _restore, "check": _check,
}  # fmt: skip
