"""Copies of an SQLite database: made of one that is in use, looked at, and put in its place."""

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from rport.errors import UsageError
from rport.server.store.schema import REVISION, metadata

PROBLEMS_MAX = 10  # that are shown of a damaged one


def copy(source: str, to: str) -> None:
    """As it is at one moment, whoever writes meanwhile; one file, none of SQLite's beside it. Raises UsageError."""
    try:
        with _opened(source) as origin, closing(sqlite3.connect(to)) as saved:
            origin.backup(saved)
            saved.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise UsageError(f"{source} cannot be copied: {error}") from None


def look(path: str, name: str) -> tuple[str | None, list[str]]:
    """Its revision, None for tables that are not rportd's; and what is damaged in it. Raises UsageError of `name`."""
    try:
        with _opened(path) as connection:
            problems = [row[0] for row in connection.execute(f"PRAGMA integrity_check({PROBLEMS_MAX})")]
            orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(PROBLEMS_MAX)
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            revision = _revision(connection)
            return revision, [
                *(line for line in problems if line != "ok"),
                *(f"a row of {row[0]} belongs to nothing" for row in orphans),
                *missing(revision, {row[0] for row in tables}),
            ]
    except sqlite3.Error as error:
        raise UsageError(f"{name} is no database of rportd's, or damaged: {error}") from None


def missing(revision: str | None, tables: Collection[str]) -> list[str]:
    """What is not among the tables of a database that has all, by its revision."""
    return [f"the table {name} is missing" for name in metadata.tables if revision == REVISION and name not in tables]


def sound(path: str, name: str) -> str:
    """Its revision. Raises UsageError about `name` for what this rportd could not work with."""
    revision, problems = look(path, name)
    if revision is None:
        raise UsageError(f"{name} has no tables of rportd's")
    if problems:
        raise UsageError(f"{name} is damaged: {problems[0]}")
    refuse_newer(revision, name)
    return revision


def refuse_newer(revision: str, name: str) -> None:
    """Raises UsageError."""
    if revision > REVISION:
        raise UsageError(f"{name} is of a newer rportd, revision {revision}; update this one first")


def put_in_place(path: str, saved: str) -> None:
    """`saved`, of the same directory, becomes the database. At no moment is there half of one. Raises UsageError."""
    try:
        with open(saved, "rb+") as file:
            os.fsync(file.fileno())
        _fold(path)
        for left in (f"{path}-wal", f"{path}-shm"):  # of the old one: SQLite would take them for the new one's
            with contextlib.suppress(FileNotFoundError):
                os.unlink(left)
        os.replace(saved, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be replaced: {error.strerror}") from None


def _fold(path: str) -> None:
    """All of the old database into its one file, so that it is whole until the very moment that it goes."""
    with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # it may be the damaged one that is replaced


def _revision(connection: sqlite3.Connection) -> str | None:
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return None  # no such table
    return None if row is None else str(row[0])


@contextlib.contextmanager
def _opened(path: str) -> Iterator[sqlite3.Connection]:
    """For reading, with what was not folded into the file yet. Raises sqlite3.Error.

    A read-only disk will do: nobody changes it there, and nothing can be made beside it.
    """
    if os.access(path, os.W_OK) and os.access(os.path.dirname(path) or ".", os.W_OK):
        how = "mode=rw"  # of a file that is in use, the others beside it are taken care of
    else:
        how = "mode=ro" if os.path.exists(f"{path}-wal") else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?{how}", uri=True)) as connection:
        yield connection
