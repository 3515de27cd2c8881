"""One rportd to a database: what is in memory has to be what is in there."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from rport.errors import UsageError

TAKEN = "another rportd works with it: stop that one, or give each its own --state-dir or --db"
ADVISORY = 0x72706F727464  # "rportd": PostgreSQL's number for a lock that this program alone asks for


@contextlib.contextmanager
def claimed(path: str) -> Iterator[None]:
    """The SQLite database at `path` is this process's until the block ends, however that is. Raises UsageError."""
    descriptor = _open(f"{path}.lock")
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"the database {path}: {TAKEN}") from None
        yield
    finally:
        os.close(descriptor)


def make_private(path: str) -> None:
    """SQLite would make the file readable by everybody, and those beside it as the file is. Raises UsageError."""
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        os.close(_made(path))
    except OSError as error:
        raise UsageError(f"the database {path}: {error.strerror}") from None


def _open(path: str) -> int:
    try:
        return _made(path)
    except OSError as error:
        raise UsageError(f"the database's lock {path}: {error.strerror}") from None


def _made(path: str) -> int:
    """A descriptor of the file, which is private when it is new; root's go to whose directory it is.

    Else a server that is not root could not start behind `sudo rportd db restore`.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    if os.geteuid() == 0:
        owner = os.stat(os.path.dirname(path) or ".")
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor
