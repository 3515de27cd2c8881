"""A copy of the database in one file, and back from it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

import sqlalchemy as sa

from rport.errors import UsageError
from rport.server.store import copies, dump
from rport.server.store.claim import claimed, make_private
from rport.server.store.database import Store
from rport.server.store.move import move
from rport.server.store.schema import REVISION


def backup(url: sa.URL, path: str | None, file: str) -> int:
    """Of the SQLite database at `path`, or the PostgreSQL one at `url`; its octets. Raises UsageError."""
    if os.path.lexists(file):
        raise UsageError(f"{file} is there already; name a new file")
    with _beside(file) as partial:
        if path is None:
            dump.dump(url, partial)
        else:
            copies.copy(path, partial)
            copies.sound(partial, path)  # what cannot be restored is no backup
        _place(partial, file)
    return os.path.getsize(file)


async def restore(url: sa.URL, path: str | None, file: str) -> str:
    """Which revision it is then. Raises UsageError, StoreFull and StoreUnavailable."""
    kind = _kind(file)
    if path is not None:
        if kind == dump.ARCHIVE:
            raise UsageError(f"{file} is of a PostgreSQL database; name one with --db")
        return _restore_file(path, file)
    store = Store(url)
    try:
        await store.claim()  # held to the end: no server starts meanwhile
        if kind == dump.ARCHIVE:
            return dump.load(url, file)
        copies.sound(file, file)
        await move(file, store)
        return REVISION
    finally:
        await store.close()


def _kind(file: str) -> bytes:
    """What it begins with."""
    try:
        with open(file, "rb") as start:
            return start.read(len(dump.ARCHIVE))
    except OSError as error:
        raise UsageError(f"the copy {file}: {error.strerror}") from None


def _restore_file(path: str, file: str) -> str:
    make_private(path)
    with claimed(path):
        partial = f"{path}.restoring"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)  # of one that was killed
        try:
            make_private(partial)
            copies.copy(file, partial)
            found = copies.sound(partial, file)
            copies.put_in_place(path, partial)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(partial)
    return found


@contextlib.contextmanager
def _beside(file: str) -> Iterator[str]:
    """A new and private file of the same directory, which is gone at the end, unless it has another name by then."""
    try:
        descriptor, partial = tempfile.mkstemp(".partial", f"{os.path.basename(file)}.", os.path.dirname(file) or ".")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None
    os.close(descriptor)
    try:
        yield partial
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)


def _place(partial: str, file: str) -> None:
    try:
        with open(partial, "rb+") as saved:
            os.fsync(saved.fileno())
        os.replace(partial, file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None
